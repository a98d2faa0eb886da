"""What a machine may lack, as marks of the tests that need it."""

import pytest

from erlangen.kernels.native import no_compiler

needs_c = pytest.mark.skipif(no_compiler() is not None, reason="needs a C compiler")
