"""Shapes and types in signatures are checked at run time in every test, by jaxtyping and beartype."""

import getpass
import os
import tempfile
from pathlib import Path

from jaxtyping import install_import_hook

os.environ.setdefault("WANDB_MODE", "offline")
os.environ.setdefault("MPLBACKEND", "Agg")
hook = install_import_hook("erlangen", "beartype.beartype")

import hypothesis  # noqa: E402
import pytest  # noqa: E402
import torch  # noqa: E402

hypothesis.settings.register_profile("erlangen", deadline=None)  # a busy machine is no error
hypothesis.settings.load_profile("erlangen")


@pytest.fixture(autouse=True)
def _quiet_threads():
    """One thread a test: two workers share two cores, and small tensors gain nothing from more."""
    torch.set_num_threads(1)
    torch.manual_seed(0)


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@pytest.fixture
def default_float64():
    """e3nn makes its tables in the default dtype: comparisons to 1e-12 need it to be float64."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


@pytest.fixture(scope="session")
def qm9_root() -> Path:
    """A data folder with QM9's cache, made once (about 5 s) and shared by all test processes of this user."""
    from erlangen.datamodules.files.cache import cached_arrays
    from erlangen.datamodules.files.qm9 import read_qm9pack

    root = Path(tempfile.gettempdir()) / f"erlangen-tests-{getpass.getuser()}"
    cached_arrays(root / "qm9" / "cache-qm9pack", read_qm9pack)
    return root
