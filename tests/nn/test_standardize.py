"""Standardised inputs have mean zero and variance one over the training split, whatever its batches."""

import pytest
import torch

from erlangen.nn.standardize import Standardize


@pytest.mark.parametrize(("axis", "shape"), [(1, (50, 3, 6, 5)), (-1, (50, 30, 3))])
def test_zero_mean_and_unit_variance_for_each_channel(axis: int, shape: tuple[int, ...]) -> None:
    scale = torch.tensor([0.1, 2.0, 30.0])
    x = torch.rand(shape).movedim(axis, -1) * scale + scale
    x = x.movedim(-1, axis)
    module = Standardize(3, axis)
    module.fit(x.split(17))
    y = module(x).movedim(axis, -1).flatten(0, -2).double()
    torch.testing.assert_close(y.mean(0), torch.zeros(3, dtype=torch.float64), atol=1e-4, rtol=0)
    torch.testing.assert_close(y.var(0, unbiased=False), torch.ones(3, dtype=torch.float64), atol=1e-4, rtol=0)


def test_batches_of_different_sizes_count_by_their_samples() -> None:
    x = torch.rand(100, 2, 4, 4)
    whole, parts = Standardize(2), Standardize(2)
    whole.fit([x])
    parts.fit([x[:3], x[3:90], x[90:]])
    torch.testing.assert_close(whole.mean, parts.mean)
    torch.testing.assert_close(whole.std, parts.std)


def test_a_constant_channel_is_only_shifted() -> None:
    x = torch.full((10, 1, 8, 8), 0.7)
    module = Standardize(1)
    module.fit([x])
    assert module(x).abs().max() < 1e-6


def test_a_checkpoint_brings_the_statistics_and_before_them_nothing_changes() -> None:
    x = torch.rand(10, 3, 4, 4)
    module, again = Standardize(3), Standardize(3)
    assert torch.equal(module(x), x)
    module.fit([x])
    again.load_state_dict(module.state_dict())
    assert torch.equal(again(x), module(x))
    assert not list(module.parameters())
