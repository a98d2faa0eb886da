"""Riemannian SGD on the Grassmann manifold, and optimisers that step together."""

import copy

import pytest
import torch
from torch.nn import Parameter

from erlangen.optim.joint import Joint
from erlangen.optim.riemannian import GrassmannSGD, geodesic, orthonormal, tangent


def basis(*shape: int) -> torch.Tensor:
    return torch.linalg.qr(torch.randn(*shape, dtype=torch.float64)).Q


def principal_angles(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return torch.linalg.svdvals(a.mT @ b).clamp(max=1).acos().flip(-1)


def test_a_geodesic_goes_as_far_as_its_velocity_says() -> None:
    """Its principal angles are the singular values of the velocity, while they are below a right angle."""
    s = basis(5, 9, 3)
    velocity = 0.3 * tangent(s, torch.randn_like(s))
    end = geodesic(s, velocity)
    torch.testing.assert_close(end.mT @ end, torch.eye(3, dtype=torch.float64).expand(5, 3, 3))
    torch.testing.assert_close(principal_angles(s, end), torch.linalg.svdvals(velocity), atol=1e-7, rtol=0)
    torch.testing.assert_close(geodesic(s, 0 * velocity), s)


def test_lines_turn_on_great_circles() -> None:
    """k = 1: s cos t + v sin t."""
    s = basis(6, 1)
    v = tangent(s, torch.randn_like(s))
    v /= v.norm()
    for t in (0.1, 1.0, 2.5):
        torch.testing.assert_close(geodesic(s, t * v), s * torch.tensor(t).cos() + v * torch.tensor(t).sin())


def test_rounding_is_taken_away_where_a_basis_stands() -> None:
    s = basis(4, 8, 3)
    torch.testing.assert_close(orthonormal(s), s)
    near = orthonormal(s + 1e-3 * torch.randn_like(s))
    assert (near - s).abs().max() < 1e-2
    torch.testing.assert_close(near.mT @ near, torch.eye(3, dtype=torch.float64).expand(4, 3, 3))


def test_a_step_is_the_one_of_the_algorithm() -> None:
    """Two steps of algorithm 1, written out for one subspace with dense projectors."""
    s = Parameter(basis(6, 2))
    optimizer = GrassmannSGD([s], lr=0.2, momentum=0.9)
    by_hand, momentum = s.detach().clone(), torch.zeros(6, 2, dtype=torch.float64)
    for _ in range(2):
        s.grad = torch.randn_like(s)
        projector = torch.eye(6, dtype=torch.float64) - by_hand @ by_hand.T
        momentum = 0.9 * projector @ momentum + projector @ s.grad
        u, angles, vt = torch.linalg.svd(momentum, full_matrices=False)
        by_hand = by_hand @ vt.T @ (0.2 * angles).cos().diag() @ vt - u @ (0.2 * angles).sin().diag() @ vt
        optimizer.step()
        torch.testing.assert_close(s.detach(), by_hand)


def test_it_finds_the_leading_eigenvectors() -> None:
    """The subspace on which a quadratic form is largest; it stays orthonormal to the last bit on the way."""
    eigenvectors = basis(8, 8)
    form = eigenvectors @ torch.tensor([9.0, 8, 7, 3, 2, 1, 0.5, 0], dtype=torch.float64).diag() @ eigenvectors.T
    s = Parameter(basis(8, 3))
    optimizer = GrassmannSGD([s], lr=0.02, momentum=0.9)
    for _ in range(400):
        optimizer.zero_grad()
        (-(s.mT @ form @ s).trace()).backward()
        optimizer.step()
        assert (s.mT @ s - torch.eye(3, dtype=torch.float64)).abs().max() < 1e-13
    assert principal_angles(s.detach(), eigenvectors[:, :3]).max() < 1e-6


def test_a_bad_momentum_is_refused() -> None:
    with pytest.raises(ValueError, match="momentum=1.0"):
        GrassmannSGD([Parameter(basis(4, 2))], lr=0.1, momentum=1.0)


def joint(weight: Parameter, s: Parameter) -> Joint:
    return Joint([torch.optim.Adam([weight], lr=0.1), GrassmannSGD([s], lr=0.05, momentum=0.5)])


def test_optimisers_together_step_as_they_would_alone_and_resume() -> None:
    weight, s = Parameter(torch.randn(4, 3, dtype=torch.float64)), Parameter(basis(4, 2))
    form = torch.randn(4, 4, dtype=torch.float64)

    def loss(w: Parameter, s: Parameter) -> torch.Tensor:
        return w.square().sum() + (s.mT @ form @ s).trace() + (w.T @ s).square().sum()

    def step(optimizer: Joint) -> None:
        def closure() -> torch.Tensor:
            optimizer.zero_grad()
            value = loss(weight, s)
            value.backward()
            return value

        optimizer.step(closure)

    twins = copy.deepcopy((weight, s))
    alone = [torch.optim.Adam([twins[0]], lr=0.1), GrassmannSGD([twins[1]], lr=0.05, momentum=0.5)]
    together = joint(weight, s)
    schedule = torch.optim.lr_scheduler.LambdaLR(together, lambda step: 0.5**step)
    for number in range(4):
        for optimizer, rate in zip(alone, (0.1, 0.05), strict=True):
            optimizer.param_groups[0]["lr"] = rate * 0.5**number
        if number == 2:  # as if from a checkpoint
            state, schedule_state = copy.deepcopy((together.state_dict(), schedule.state_dict()))
            together = joint(weight, s)
            schedule = torch.optim.lr_scheduler.LambdaLR(together, lambda step: 0.5**step)
            together.load_state_dict(state)
            schedule.load_state_dict(schedule_state)
        step(together)
        schedule.step()
        gradients = torch.autograd.grad(loss(*twins), twins)
        for twin, gradient, optimizer in zip(twins, gradients, alone, strict=True):
            twin.grad = gradient
            optimizer.step()
        assert torch.equal(weight, twins[0])
        assert torch.equal(s, twins[1])
