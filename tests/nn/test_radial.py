"""Radial functions against their definitions, at zero, at the cutoff and beyond, with the derivatives that forces need."""

import math

import pytest
import torch

from erlangen.errors import UserError
from erlangen.nn.radial import BesselBasis, GaussianBasis, PolynomialEnvelope


def test_gaussians_stand_at_even_distances() -> None:
    basis = GaussianBasis(1.0, 5.0, 9, 2.0).double()
    d = torch.tensor([0.0, 1.0, 2.25, 7.0], dtype=torch.float64)
    centers = [1 + 0.5 * k for k in range(9)]
    expected = [[math.exp(-((float(x) - mu) ** 2) / (2 * (2.0 * 0.5) ** 2)) for mu in centers] for x in d]
    torch.testing.assert_close(basis(d), torch.tensor(expected, dtype=torch.float64))


def test_bessel_functions_are_orthonormal_on_a_ball() -> None:
    """In three dimensions, so with the weight d^2."""
    d = torch.linspace(0, 3, 6001, dtype=torch.float64)
    values = BesselBasis(3.0, 5).double()(d)
    gram = torch.trapezoid(values[:, :, None] * values[:, None] * d[:, None, None] ** 2, d, dim=0)
    torch.testing.assert_close(gram, torch.eye(5, dtype=torch.float64), atol=1e-6, rtol=0)


def test_bessel_functions_are_zero_at_the_cutoff_and_have_their_limit_at_zero() -> None:
    basis = BesselBasis(3.0, 4).double()
    zero, end = basis(torch.tensor([0.0, 3.0], dtype=torch.float64))
    limit = [math.sqrt(2 / 3) * n * math.pi / 3 for n in range(1, 5)]
    torch.testing.assert_close(zero, torch.tensor(limit, dtype=torch.float64), rtol=1e-6, atol=0)
    torch.testing.assert_close(end, torch.zeros_like(end), atol=1e-6, rtol=0)


@pytest.mark.parametrize("distance", [0.0, 1e-3, 0.0095, 0.5, 2.9])
def test_derivatives_of_bessel_functions(distance: float) -> None:
    """First and second, at zero too, where those of sin(x) / x as it stands are NaN: -k^2 / 3 times the value."""
    basis = BesselBasis(3.0, 3).double()
    d = torch.tensor([distance], dtype=torch.float64, requires_grad=True)
    for n in range(3):
        (first,) = torch.autograd.grad(basis(d)[0, n], d, create_graph=True)
        (second,) = torch.autograd.grad(first, d)
        k = float(basis.frequencies[n])
        scale, x = math.sqrt(2 / 3) * k, k * distance
        expected = (
            (0.0, -(k**2) * scale / 3)
            if x == 0
            else (
                scale * k * (math.cos(x) / x - math.sin(x) / x**2),
                scale * k**2 * (-math.sin(x) / x - 2 * math.cos(x) / x**2 + 2 * math.sin(x) / x**3),
            )
        )
        assert first.item() == pytest.approx(expected[0], rel=1e-7, abs=1e-7)
        assert second.item() == pytest.approx(expected[1], rel=1e-4, abs=1e-4)


@pytest.mark.parametrize("exponent", [2, 5, 6])
def test_the_envelope_ends_smoothly(exponent: int) -> None:
    """1 at zero; value and two derivatives vanish at the cutoff from within, and beyond everything does."""
    envelope = PolynomialEnvelope(2.0, exponent)
    assert envelope(torch.zeros(1)).item() == 1
    for distance, tolerance in ((2 - 1e-6, 1e-4), (2.0, 0.0), (3.0, 0.0)):
        d = torch.tensor([distance], dtype=torch.float64, requires_grad=True)
        value = envelope(d)
        (first,) = torch.autograd.grad(value.sum(), d, create_graph=True)
        (second,) = torch.autograd.grad(first.sum(), d)
        for derivative in (value, first, second):
            assert derivative.abs().item() <= tolerance
    inside = envelope(torch.linspace(0, 2, 50, dtype=torch.float64))
    assert (inside.diff() < 0).all()


@pytest.mark.parametrize(
    "make",
    [
        lambda: GaussianBasis(2.0, 1.0, 8, 1.0),
        lambda: GaussianBasis(0.0, 1.0, 1, 1.0),
        lambda: GaussianBasis(0.0, 1.0, 8, 0.0),
        lambda: BesselBasis(0.0, 8),
        lambda: BesselBasis(5.0, 0),
        lambda: PolynomialEnvelope(-1.0, 5),
        lambda: PolynomialEnvelope(5.0, 1),
    ],
)
def test_mistakes_are_named(make) -> None:
    with pytest.raises(UserError, match="GaussianBasis|BesselBasis|PolynomialEnvelope"):
        make()
