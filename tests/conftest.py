"""Shapes and types in signatures are checked at run time in every test, by jaxtyping and beartype."""

import os

from jaxtyping import install_import_hook

os.environ.setdefault("WANDB_MODE", "offline")
os.environ.setdefault("MPLBACKEND", "Agg")
hook = install_import_hook("erlangen", "beartype.beartype")

import pytest  # noqa: E402
import torch  # noqa: E402


@pytest.fixture(autouse=True)
def _quiet_threads():
    """One thread a test: two workers share two cores, and small tensors gain nothing from more."""
    torch.set_num_threads(1)
    torch.manual_seed(0)


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)
