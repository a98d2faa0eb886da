"""Riemannian SGD on the hyperboloid: plain SGD without curvature, geodesics with it."""

import math

import pytest
import torch
from torch import nn

from erlangen.geometry.hyperbolic import lorentz
from erlangen.optim.lorentz import LorentzSGD, near


def point(*values: float) -> nn.Parameter:
    return nn.Parameter(torch.tensor(values, dtype=torch.float64))


def test_without_curvature_it_is_sgd_with_nesterov_momentum() -> None:
    ours, plain, goal = point(1.0, -2.0), point(1.0, -2.0), torch.tensor([3.0, 0.5], dtype=torch.float64)
    for parameter, optimizer in (
        (ours, LorentzSGD([ours], 0.1, 0.9, 1e-10)),
        (plain, torch.optim.SGD([plain], 0.1, 0.9, nesterov=True)),
    ):
        for _ in range(10):
            optimizer.zero_grad()
            (parameter - goal).pow(4).sum().mul(0.01).backward()
            optimizer.step()
    torch.testing.assert_close(ours, plain, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("c", [0.3, 1.0])
def test_a_step_goes_along_the_geodesic(c: float) -> None:
    """The gradient of half the squared distance points straight away: a step of one without momentum arrives."""
    start, goal = point(0.5, -1.0, 2.0), lorentz.lift(torch.tensor([1.0, 1.0, -0.3], dtype=torch.float64), c)
    for lr in (0.25, 1.0):
        space = nn.Parameter(start.detach().clone())
        before = lorentz.lift(space.detach(), c)
        (lorentz.distance(lorentz.lift(space, c), goal, c).square() / 2).backward()
        LorentzSGD([space], lr, 0.0, c).step()
        after = lorentz.lift(space.detach(), c)
        torch.testing.assert_close(lorentz.distance(before, after, c), lr * lorentz.distance(before, goal, c))
        torch.testing.assert_close(
            lorentz.distance(after, goal, c), (1 - lr) * lorentz.distance(before, goal, c), atol=1e-7, rtol=0
        )


def test_it_finds_the_centroid_with_momentum_and_from_a_checkpoint() -> None:
    points, c = lorentz.lift(torch.randn(7, 3, dtype=torch.float64), 1.0), 1.0
    space = point(2.0, 2.0, -2.0)
    optimizer = LorentzSGD([space], 0.02, 0.9, c)
    for step in range(200):
        optimizer.zero_grad()
        difference = points - lorentz.lift(space, c)
        lorentz.inner(difference, difference).mean().backward()
        optimizer.step()
        if step == 20:
            state = optimizer.state_dict()
            optimizer = LorentzSGD([space], 0.02, 0.9, c)
            optimizer.load_state_dict(state)
    torch.testing.assert_close(lorentz.lift(space.detach(), c), lorentz.centroid(points, c), atol=1e-6, rtol=1e-6)


def test_wrong_options_are_refused() -> None:
    for lr, momentum, c in ((-0.1, 0.9, 1.0), (0.1, 1.0, 1.0), (0.1, 0.9, 0.0)):
        with pytest.raises(ValueError, match="must not be negative"):
            LorentzSGD([point(0.0)], lr, momentum, c)


def test_no_step_goes_beyond_what_single_precision_can_tell() -> None:
    space = nn.Parameter(torch.tensor([1.0, 2.0]))
    optimizer = LorentzSGD([space], 1e6, 0.9, 1.0)
    for _ in range(50):
        optimizer.zero_grad()
        (1e3 * space.sum()).backward()
        optimizer.step()
    reach = math.asinh(space.detach().norm())
    assert reach == pytest.approx(10)
    assert near(torch.tensor([0.3, 0.4]), 1.0).tolist() == pytest.approx([0.3, 0.4])
