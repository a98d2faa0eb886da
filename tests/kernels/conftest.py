"""Kernels are compiled in these tests, and jaxtyping's import hook would be traced along with them."""

import jaxtyping
import pytest
import torch


@pytest.fixture(scope="module", autouse=True)  # and no longer: tests elsewhere switch the checks themselves
def _no_type_checks_while_tracing():
    """The import hook checks types at every call, but not where torch.compile reads the code instead of running it."""
    config = type(jaxtyping.config)
    config.jaxtyping_disable = property(lambda self: torch.compiler.is_compiling(), lambda self, value: None)
    yield
    del config.jaxtyping_disable
    jaxtyping.config.jaxtyping_disable = False
