"""e3nn computes its matrices in the default dtype: comparisons to 1e-12 need it to be float64."""

import pytest
import torch


@pytest.fixture
def default_float64():
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)
