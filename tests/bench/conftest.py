"""Nothing is compiled in these tests: they are about measuring, and compilation takes longer than all of them."""

import pytest

from erlangen.kernels import compiled


@pytest.fixture(autouse=True)
def _no_compiler(monkeypatch):
    monkeypatch.setenv("TORCH_COMPILE_DISABLE", "1")
    assert compiled.no_compiler() is not None
