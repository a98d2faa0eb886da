"""Spherical harmonics as an operation: e3nn's, of zero vectors, and refused where arguments are wrong."""

import pytest
import torch
from e3nn import o3
from machine import needs_c

from erlangen import kernels
from erlangen.errors import UserError

NATIVE = pytest.param("native", marks=needs_c)


@pytest.mark.parametrize("backend", ["reference", NATIVE])
@pytest.mark.parametrize("normalization", ["component", "norm", "integral"])
@pytest.mark.parametrize("normalize", [True, False])
def test_they_are_e3nns(generator, backend, normalization, normalize):
    r = torch.randn(20, 3, generator=generator, dtype=torch.float64, requires_grad=True)
    kernel = kernels.get("spherical_harmonics", backend, lmax=6, normalize=normalize, normalization=normalization)
    ours, true = kernel(r), o3.spherical_harmonics(list(range(7)), r, normalize, normalization)
    torch.testing.assert_close(ours, true, rtol=1e-12, atol=1e-12)
    weight = torch.randn(ours.shape, generator=generator, dtype=torch.float64)
    (first,), (theirs,) = (torch.autograd.grad(y, r, weight, create_graph=True) for y in (ours, true))
    torch.testing.assert_close(first, theirs, rtol=1e-11, atol=1e-11)
    (second,), (theirs,) = (torch.autograd.grad(g.square().sum(), r) for g in (first, theirs))
    torch.testing.assert_close(second, theirs, rtol=1e-10, atol=1e-9)


@pytest.mark.parametrize("backend", ["reference", NATIVE, pytest.param("compiled", marks=pytest.mark.slow)])
def test_vectors_at_zero_and_at_the_poles_have_finite_derivatives(backend):
    r = torch.tensor([[0.0, 0, 0], [0, 2, 0], [0, -1, 0], [1, 1, 1]], dtype=torch.float64, requires_grad=True)
    Y = kernels.get("spherical_harmonics", backend, lmax=3)(r)
    assert Y[0].tolist() == [1] + 15 * [0]
    (gradient,) = torch.autograd.grad(Y.pow(3).sum(), r, create_graph=True)
    assert gradient[0].abs().max() == 0
    (second,) = torch.autograd.grad(gradient.square().sum(), r)
    assert gradient.isfinite().all()
    assert second.isfinite().all()


@pytest.mark.parametrize("backend", ["reference", NATIVE, "compiled"])
def test_no_edges_have_no_harmonics(backend):
    assert kernels.get("spherical_harmonics", backend, lmax=2)(torch.zeros(0, 3)).shape == (0, 9)


@pytest.mark.parametrize("backend", ["reference", NATIVE])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_nan_stays_in_its_edge(backend, axis):
    r = torch.ones(3, 3)
    r[1, axis] = torch.nan
    Y = kernels.get("spherical_harmonics", backend, lmax=2)(r)
    assert Y.isfinite().all(1).tolist() == [True, False, True]


def test_mistakes_are_named():
    for spec, r, why in (
        ({"lmax": 2}, torch.ones(3), r"r is \(3,\); give \(edges, 3\)"),
        ({"lmax": 2}, torch.ones(5, 4), r"r is \(5, 4\)"),
        ({"lmax": -1}, torch.ones(5, 3), "lmax=-1"),
        ({"lmax": 1, "normalization": "other"}, torch.ones(5, 3), "normalization must be one of"),
    ):
        with pytest.raises(UserError, match=why):
            kernels.get("spherical_harmonics", "reference", **spec)(r)
