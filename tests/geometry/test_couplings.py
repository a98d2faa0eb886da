"""Clebsch-Gordan and Gaunt coefficients: exact, e3nn's sign, and what their defining integrals say."""

from fractions import Fraction
from itertools import product

import pytest
import torch
from e3nn import o3

from erlangen.errors import UserError
from erlangen.geometry.clebsch_gordan import clebsch_gordan, signed_squares, wigner_3j
from erlangen.geometry.gaunt import gaunt, gaunt_tensor
from erlangen.geometry.rotations import random_rotations
from erlangen.geometry.s2grid import exact_resolution, grid_weights, to_grid_matrix
from erlangen.geometry.spherical_harmonics import spherical_harmonics
from erlangen.geometry.wigner import wigner_blocks


def triples(lmax):
    return [
        (l1, l2, l3)
        for l1, l2 in product(range(lmax + 1), repeat=2)
        for l3 in range(abs(l1 - l2), min(l1 + l2, lmax) + 1)
    ]


def test_agrees_with_e3nn(default_float64):
    for degrees in [*triples(4), (5, 6, 7), (6, 6, 1), (8, 3, 6), (7, 8, 2)]:
        torch.testing.assert_close(wigner_3j(*degrees), o3.wigner_3j(*degrees), atol=1e-14, rtol=0)


def test_squares_are_exactly_normalised():
    """For every m3 the squares sum to one, as rational numbers."""
    for l1, l2, l3 in [*triples(4), (8, 7, 6), (11, 11, 11)]:
        sums = dict.fromkeys(range(-l3, l3 + 1), Fraction(0))
        for (_, _, m3), square in signed_squares(l1, l2, l3).items():
            sums[m3] += abs(square)
        assert set(sums.values()) == {1}


@pytest.mark.parametrize(("l1", "l2"), [(1, 1), (2, 3), (4, 4), (8, 7)])
def test_couplings_are_orthonormal_and_complete(l1, l2):
    C = torch.cat([clebsch_gordan(l1, l2, l3) for l3 in range(abs(l1 - l2), l1 + l2 + 1)], -1).flatten(0, 1)
    eye = torch.eye((2 * l1 + 1) * (2 * l2 + 1), dtype=torch.float64)
    torch.testing.assert_close(C.T @ C, eye, atol=1e-14, rtol=0)
    torch.testing.assert_close(C @ C.T, eye, atol=1e-14, rtol=0)


def test_couplings_are_equivariant(generator):
    blocks = wigner_blocks(random_rotations(3, generator=generator), 8)
    for l1, l2, l3 in [*triples(3), (8, 6, 5), (4, 8, 7)]:
        C = clebsch_gordan(l1, l2, l3)
        turned = torch.einsum("nai,nbj,ijk->nabk", blocks[l1], blocks[l2], C)
        torch.testing.assert_close(turned, C @ blocks[l3][:, None], atol=1e-13, rtol=0)


def test_low_couplings_are_the_dot_and_cross_products(generator):
    u, v = torch.randn(2, 3, generator=generator, dtype=torch.float64)
    dot, cross = ((torch.einsum("abc,a,b->c", wigner_3j(1, 1, degree), u, v)) for degree in (0, 1))
    torch.testing.assert_close(dot.abs(), (u @ v).abs()[None] / 3**0.5)
    torch.testing.assert_close(cross, torch.linalg.cross(u, v) / 6**0.5)


def test_tables_cannot_be_spoilt_and_come_in_any_dtype():
    wigner_3j(1, 1, 2).zero_()
    gaunt(1, 1, 2).zero_()
    assert wigner_3j(1, 1, 2).norm() == pytest.approx(1)
    assert gaunt(1, 1, 2).norm() > 0.1
    assert wigner_3j(1, 1, 2, dtype=torch.float32).dtype == torch.float32
    assert wigner_3j(1, 1, 2, device="meta").device.type == "meta"


@pytest.mark.parametrize("degrees", [(1, 1, 3), (0, 1, 0), (-1, 1, 1), (4, 1, 2)])
def test_degrees_that_do_not_couple_are_user_errors(degrees):
    with pytest.raises(UserError, match="do not couple"):
        clebsch_gordan(*degrees)


# Gaunt


def test_gaunt_is_the_integral_of_three_harmonics():
    lmax = 4
    resolution = exact_resolution(3 * lmax)
    Y = to_grid_matrix(resolution, lmax, normalization="integral").flatten(0, 1)
    integral = torch.einsum("ga,gb,gc,g->abc", Y, Y, Y, grid_weights(resolution).flatten())
    torch.testing.assert_close(gaunt_tensor(lmax, lmax, lmax), integral, atol=1e-14, rtol=0)


def test_gaunt_expands_products_of_harmonics(generator):
    v = torch.randn(20, 3, generator=generator, dtype=torch.float64)
    low, mid, high = (spherical_harmonics(v, lmax, normalization="integral") for lmax in (3, 5, 8))
    expanded = torch.einsum("abc,nc->nab", gaunt_tensor(3, 5, 8), high)
    torch.testing.assert_close(expanded, low[:, :, None] * mid[:, None, :], atol=1e-13, rtol=0)


def test_gaunt_is_symmetric_and_a_multiple_of_wigner_3j():
    for l1, l2, l3 in [(2, 3, 5), (4, 4, 2), (6, 5, 3), (8, 8, 8)]:
        G, w = gaunt(l1, l2, l3), wigner_3j(l1, l2, l3)
        torch.testing.assert_close(G, gaunt(l3, l1, l2).permute(1, 2, 0), atol=1e-15, rtol=1e-14)
        torch.testing.assert_close(G, (G * w).sum() * w, atol=1e-15, rtol=1e-13)
        assert G[l1, l2, l3] > 0


def test_gaunt_vanishes_for_odd_sums_and_beyond_the_triangle():
    for degrees in [(1, 1, 1), (2, 3, 4), (1, 1, 4), (5, 1, 2)]:
        assert (gaunt(*degrees) == 0).all()
    eye = torch.eye(7, dtype=torch.float64)
    torch.testing.assert_close(gaunt(0, 3, 3)[0], eye / (4 * torch.pi) ** 0.5)
    with pytest.raises(UserError, match="lmax must be >= 0"):
        gaunt_tensor(1, -1, 1)
    with pytest.raises(UserError, match="must be >= 0"):
        gaunt(-1, 1, 2)
