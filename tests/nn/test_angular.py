"""The angular basis: orthonormal on a ball, and accurate and smooth everywhere on it."""

import numpy as np
import pytest
import torch
from scipy.special import spherical_jn

from erlangen.errors import UserError
from erlangen.nn.angular import HIGHEST, AngularBasis, bessel_roots, spherical_bessel


def quadrature(low: float, high: float) -> tuple[torch.Tensor, torch.Tensor]:
    nodes, weights = np.polynomial.legendre.leggauss(80)
    half = (high - low) / 2
    return torch.from_numpy(low + half * (nodes + 1)), torch.from_numpy(half * weights)


def test_the_basis_is_orthonormal_on_a_ball() -> None:
    basis = AngularBasis(5.0, 7, 6)
    d, weight = quadrature(0, 5.0)
    radial = basis.radial(d)
    products = torch.einsum("dln,dlm,d->lnm", radial, radial, weight * d.square())
    torch.testing.assert_close(products, torch.eye(6, dtype=torch.float64).expand(7, 6, 6), atol=1e-11, rtol=0)
    cosine, weight = quadrature(-1, 1)
    angular = basis.angular(cosine)
    products = torch.einsum("al,ak,a->lk", angular, angular, 2 * torch.pi * weight)
    torch.testing.assert_close(products, torch.eye(7, dtype=torch.float64), atol=1e-12, rtol=0)


@pytest.mark.parametrize("degree", range(HIGHEST + 1))
def test_bessel_functions_are_those_of_scipy(degree: int) -> None:
    x = torch.cat([torch.linspace(0, 40, 4001, dtype=torch.float64), torch.tensor([1e-8, 1e-3], dtype=torch.float64)])
    expected = torch.from_numpy(spherical_jn(degree, x.numpy()))
    torch.testing.assert_close(spherical_bessel(x, degree), expected, atol=1e-13, rtol=1e-9)
    x.requires_grad_()
    (slope,) = torch.autograd.grad(spherical_bessel(x, degree).sum(), x)
    expected = torch.from_numpy(spherical_jn(degree, x.detach().numpy(), derivative=True))
    torch.testing.assert_close(slope, expected, atol=1e-12, rtol=1e-8)


def test_all_is_zero_at_the_cutoff() -> None:
    at_the_end = AngularBasis(3.0, 7, 6).radial(torch.tensor([3.0], dtype=torch.float64))
    assert at_the_end.abs().max() < 1e-10
    roots = bessel_roots(7, 6, dtype=torch.float64, device=torch.device("cpu"))
    assert (roots.diff(dim=1) > 3).all()  # none is left out twice, none comes twice
    assert (roots.diff(dim=0) > 0).all()


@pytest.mark.parametrize(("degrees", "count"), [(0, 2), (HIGHEST + 1, 2), (2, 0)])
def test_mistakes_are_named(degrees: int, count: int) -> None:
    with pytest.raises(UserError, match="AngularBasis"):
        AngularBasis(5.0, degrees, count)
