"""A network on the points of a sphere: what it is, whichever way it is computed."""

import pytest
import torch
from torch.nn.functional import silu

from erlangen import kernels
from erlangen.errors import UserError
from erlangen.geometry.s2grid import from_grid_matrix, grid_points, grid_weights, to_grid_matrix
from erlangen.geometry.spherical_harmonics import spherical_harmonics
from erlangen.kernels.m_layout import m_rows, to_edge_frame
from erlangen.kernels.wigner import wigner

BACKENDS = [name for name, support in kernels.available("s2_mlp").items() if support.reason is None]


def features(rows: int, components: int, channels: int = 3, seed: int = 0) -> torch.Tensor:
    g = torch.Generator().manual_seed(seed)
    return torch.randn(rows, components, channels, generator=g, dtype=torch.float64)


@pytest.mark.parametrize("backend", BACKENDS)
def test_component_normalisation_is_that_of_the_pointwise_activation(backend: str) -> None:
    x = features(7, 16)
    want = kernels.get("s2_activation", "reference", lmax=3, kind="pointwise", resolution=(9, 12))(x)
    found = kernels.get("s2_mlp", backend, lmax=3, mmax=3, resolution=(9, 12))(x)
    torch.testing.assert_close(found, want, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_signal_of_degree_two_comes_out_as_its_integrals_say(backend: str) -> None:
    """Analysis by a finer grid than the operation's, of which it knows nothing."""
    x = 0.1 * features(2, 9, 1)
    found = kernels.get("s2_mlp", backend, lmax=2, mmax=2, resolution=(40, 41), normalization="integral")(x)
    points = grid_points((60, 90)).flatten(0, 1)
    Y = spherical_harmonics(points, 2, normalization="integral")
    area = grid_weights((60, 90)).flatten()
    want = torch.einsum("pk,p,npc->nkc", Y, area, silu(Y @ x))
    torch.testing.assert_close(found, want, rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("backend", BACKENDS)
def test_linear_layers_without_bias_commute_with_the_grid(backend: str) -> None:
    """Three layers on every point of the grid are the operation with the first and the last on the coefficients."""
    x = features(5, 16)
    first, second, third = (features(1, 3, 3, seed)[0] for seed in (1, 2, 3))
    grid = (8, 9)
    synthesis = to_grid_matrix(grid, 3, normalization="integral").flatten(0, 1)
    analysis = from_grid_matrix(grid, 3, normalization="integral").flatten(1)
    want = analysis @ (silu(silu(synthesis @ x @ first) @ second) @ third)
    op = kernels.get("s2_mlp", backend, lmax=3, mmax=3, resolution=grid, normalization="integral")
    torch.testing.assert_close(op(x @ first, second) @ third, want, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("normalization", ["component", "integral"])
def test_a_turn_about_the_axis_by_a_step_of_the_grid_is_exact(backend: str, normalization: str) -> None:
    """And with it the m-major layout is tested: the rows +m and -m turn as `to_edge_frame` turns them."""
    lmax, mmax, alpha = 3, 2, 8
    op = kernels.get(
        "s2_mlp", backend, lmax=lmax, mmax=mmax, resolution=(6, alpha), normalization=normalization, m_major=True
    )
    x, weight = features(4, (lmax + 1) ** 2), features(1, 3, 3)[0]
    angle = torch.tensor(2 * torch.pi / alpha, dtype=torch.float64)
    turn = torch.eye(3, dtype=torch.float64)
    turn[0, 0], turn[0, 2], turn[2, 0], turn[2, 2] = angle.cos(), angle.sin(), -angle.sin(), angle.cos()
    plain = wigner(torch.eye(3, dtype=torch.float64).expand(4, 3, 3), lmax=lmax)
    turned = wigner(turn.expand(4, 3, 3), lmax=lmax)
    rows = op(to_edge_frame(x, plain, lmax, mmax), weight)
    from_rows = kernels.get("rotate_scatter", "reference", lmax=lmax, mmax=mmax)
    out = from_rows(rows, torch.arange(4), plain, 4)
    want = to_edge_frame(out, turned, lmax, mmax)
    torch.testing.assert_close(op(to_edge_frame(x, turned, lmax, mmax), weight), want, rtol=1e-10, atol=1e-10)


def test_truncated_degrees_gain_what_they_lost() -> None:
    """A small signal through SiLU is halved; degree l > mmax gains (2l + 1) / (2 mmax + 1) on top."""
    lmax, mmax = 3, 1
    x = 1e-7 * features(6, m_rows(lmax, mmax))
    found = kernels.get("s2_mlp", "reference", lmax=lmax, mmax=mmax, resolution=(8, 8), m_major=True)(x)
    degree = torch.tensor([0, 1, 2, 3, *2 * [1, 2, 3]], dtype=torch.float64)[:, None]
    gain = (2 * degree + 1) / (2 * degree.clamp(max=mmax) + 1)
    torch.testing.assert_close(found[:, 1:], (0.5 * gain * x)[:, 1:], rtol=1e-4, atol=1e-13)


def test_many_rows_in_blocks_are_as_one() -> None:
    x, weight = features(900, 9, 16), features(1, 16, 16)[0]
    spec = {"lmax": 2, "mmax": 2, "resolution": (10, 10)}
    grads = []
    for backend in BACKENDS:
        a, w = x.clone().requires_grad_(), weight.clone().requires_grad_()
        out = kernels.get("s2_mlp", backend, **spec)(a, w)
        out.square().sum().backward()
        grads.append((out.detach(), a.grad, w.grad))
    for want, *others in zip(*grads, strict=True):
        for found in others:
            torch.testing.assert_close(found, want, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"lmax": 3, "mmax": 3, "resolution": (3, 9)}, "cannot hold degree 3"),
        ({"lmax": 3, "mmax": 3, "resolution": (9, 6)}, "at least 4 x 7"),
        ({"lmax": 3, "mmax": 4, "resolution": (9, 9)}, "mmax <= lmax"),
        ({"lmax": 3, "mmax": 3, "resolution": (9, 9), "normalization": "norm"}, "component, integral"),
        ({"lmax": 2, "mmax": 2, "resolution": (9, 9)}, "9, channels"),
    ],
)
def test_wrong_use_is_named(spec: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        kernels.get("s2_mlp", "reference", **spec)(features(2, 16))
