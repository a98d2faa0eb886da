"""Grids on the sphere: exact quadrature up to the stated degree and not beyond, exact transforms both ways."""

import math

import pytest
import torch
from e3nn import o3

from erlangen.errors import UserError
from erlangen.geometry.gaunt import gaunt_tensor
from erlangen.geometry.s2grid import (
    exact_resolution,
    from_grid_matrix,
    grid_points,
    grid_weights,
    to_grid_matrix,
    truncated_components,
)
from erlangen.geometry.spherical_harmonics import NORMALIZATIONS, spherical_harmonics


def integrals(resolution, degree):
    """The quadrature of every harmonic up to the degree; only the first should not vanish."""
    Y = spherical_harmonics(grid_points(resolution), degree, normalization="integral")
    return (Y * grid_weights(resolution)[..., None]).sum((0, 1))


@pytest.mark.parametrize("degree", [0, 1, 2, 5, 12, 33])
def test_quadrature_is_exact_to_its_degree(degree):
    resolution = exact_resolution(degree)
    assert resolution == (degree // 2 + 1, degree + 1)
    expected = torch.zeros((degree + 1) ** 2, dtype=torch.float64)
    expected[0] = math.sqrt(4 * math.pi)
    torch.testing.assert_close(integrals(resolution, degree), expected, atol=1e-13, rtol=0)


def test_quadrature_is_exact_no_further():
    for degree in (3, 5, 11):
        beyond = integrals(exact_resolution(degree), degree + 1)[(degree + 1) ** 2 :]
        assert beyond.abs().max() > 1e-2


def test_monomials_have_their_closed_form_integrals():
    """The integral of x^2a y^2b z^2c is 2 G(a+1/2) G(b+1/2) G(c+1/2) / G(a+b+c+3/2)."""
    points, weights = grid_points((6, 11)), grid_weights((6, 11))
    for a, b, c in [(0, 0, 0), (1, 2, 0), (2, 1, 1), (0, 5, 0), (1, 1, 3)]:
        quadrature = (weights * points[..., 0] ** (2 * a) * points[..., 1] ** (2 * b) * points[..., 2] ** (2 * c)).sum()
        numerator = 2 * math.gamma(a + 0.5) * math.gamma(b + 0.5) * math.gamma(c + 0.5)
        assert quadrature.item() == pytest.approx(numerator / math.gamma(a + b + c + 1.5), rel=1e-13)


def test_points_run_from_the_pole_and_from_z_towards_x():
    points, weights = grid_points((5, 8)), grid_weights((5, 8))
    beta = torch.acos(points[:, 0, 1])
    assert (beta.diff() > 0).all()
    alpha = torch.arange(8, dtype=torch.float64) * (2 * math.pi / 8)
    torch.testing.assert_close(points, o3.angles_to_xyz(*torch.meshgrid(alpha, beta, indexing="xy")))
    assert (weights > 0).all()
    assert weights.sum().item() == pytest.approx(4 * math.pi)


@pytest.mark.parametrize("normalization", NORMALIZATIONS)
@pytest.mark.parametrize(("lmax", "mmax"), [(0, None), (1, 1), (4, None), (6, 2), (8, 0), (12, None)])
def test_round_trip_is_exact(lmax, mmax, normalization):
    resolution = exact_resolution(2 * lmax, 2 * (lmax if mmax is None else mmax))
    to_grid = to_grid_matrix(resolution, lmax, mmax, normalization)
    from_grid = from_grid_matrix(resolution, lmax, mmax, normalization)
    kept = len(truncated_components(lmax, mmax))
    assert from_grid.shape == (kept, *resolution)
    eye = torch.eye(kept, dtype=torch.float64)
    torch.testing.assert_close(from_grid.flatten(1) @ to_grid.flatten(0, 1), eye, atol=1e-13, rtol=0)


def test_round_trip_in_float32():
    resolution = exact_resolution(16)
    to_grid = to_grid_matrix(resolution, 8, dtype=torch.float32).flatten(0, 1)
    from_grid = from_grid_matrix(resolution, 8, dtype=torch.float32).flatten(1)
    assert (from_grid @ to_grid - torch.eye(81)).abs().max() < 2e-6


def test_too_coarse_a_grid_is_not_exact():
    to_grid = to_grid_matrix((4, 9), 4).flatten(0, 1)
    from_grid = from_grid_matrix((4, 9), 4).flatten(1)
    assert (from_grid @ to_grid - torch.eye(25, dtype=torch.float64)).abs().max() > 0.1


def test_to_grid_evaluates_the_harmonics(generator):
    x = torch.randn(16, generator=generator, dtype=torch.float64)
    values = to_grid_matrix((3, 5), 3, normalization="norm") @ x
    torch.testing.assert_close(values, spherical_harmonics(grid_points((3, 5)), 3, normalization="norm") @ x)


def test_products_project_exactly_at_three_times_the_degree(generator):
    lmax = 3
    x, y = torch.randn(2, 16, generator=generator, dtype=torch.float64)
    resolution = exact_resolution(3 * lmax)
    to_grid = to_grid_matrix(resolution, lmax, normalization="integral")
    from_grid = from_grid_matrix(resolution, lmax, normalization="integral")
    product = from_grid.flatten(1) @ ((to_grid @ x) * (to_grid @ y)).flatten()
    torch.testing.assert_close(product, torch.einsum("abc,a,b->c", gaunt_tensor(lmax, lmax, lmax), x, y))


def test_truncation_keeps_low_orders_in_order():
    assert truncated_components(3, 1) == [0, 1, 2, 3, 5, 6, 7, 11, 12, 13]
    assert truncated_components(2) == list(range(9))
    full = to_grid_matrix((4, 7), 3)
    assert torch.equal(to_grid_matrix((4, 7), 3, 1), full[..., truncated_components(3, 1)])


def test_bad_arguments_are_user_errors():
    with pytest.raises(UserError, match="mmax must be from 0 to lmax = 2, got 3"):
        to_grid_matrix((3, 5), 2, 3)
    with pytest.raises(UserError, match="at least 1 x 1 points, got 0 x 5"):
        grid_points((0, 5))
    with pytest.raises(UserError, match="normalization must be one of"):
        from_grid_matrix((3, 5), 2, normalization="unit")
    with pytest.raises(UserError, match="0 <= order <= degree"):
        exact_resolution(2, 3)
    with pytest.raises(UserError, match="lmax must be >= 0"):
        truncated_components(-1)
