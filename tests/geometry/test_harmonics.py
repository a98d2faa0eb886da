"""Spherical harmonics are e3nn's, satisfy the identities that define them, and are smooth where angles are not."""

import math

import pytest
import torch
from e3nn import o3
from torch.autograd import gradcheck, gradgradcheck

from erlangen.errors import UserError
from erlangen.geometry.rotations import random_orthogonal, unit_vectors
from erlangen.geometry.spherical_harmonics import NORMALIZATIONS, spherical_harmonics
from erlangen.geometry.wigner import rotate, wigner_blocks


@pytest.fixture
def vectors(generator):
    poles = torch.cat([torch.eye(3, dtype=torch.float64), -torch.eye(3, dtype=torch.float64)])
    return torch.cat([1.3 * torch.randn(40, 3, generator=generator, dtype=torch.float64), poles])


@pytest.mark.parametrize("normalization", NORMALIZATIONS)
@pytest.mark.parametrize("normalize", [True, False])
def test_agrees_with_e3nn_to_degree_11(vectors, normalize, normalization):
    ours = spherical_harmonics(vectors, 11, normalize=normalize, normalization=normalization)
    theirs = o3.spherical_harmonics(list(range(12)), vectors, normalize, normalization)
    for degree in range(12):
        block = slice(degree**2, (degree + 1) ** 2)
        error = (ours[:, block] - theirs[:, block]).abs().max() / theirs[:, block].abs().max()
        assert error < 1e-13


def test_closed_forms_of_low_degrees(vectors):
    x, y, z = vectors.unbind(-1)
    expected = [
        torch.ones_like(x),
        *(math.sqrt(3) * v for v in (x, y, z)),
        *(math.sqrt(15) * v for v in (x * z, x * y)),
        math.sqrt(5) * (y**2 - (x**2 + z**2) / 2),
        *(math.sqrt(15) * v for v in (y * z, (z**2 - x**2) / 2)),
    ]
    torch.testing.assert_close(spherical_harmonics(vectors, 2, normalize=False), torch.stack(expected, -1))


@pytest.mark.parametrize(("lmax", "tolerance"), [(11, 1e-14), (60, 1e-13)])
def test_addition_theorem(vectors, lmax, tolerance):
    """sum_m Y_lm(a) Y_lm(b) = (2l + 1) P_l(a . b), with Legendre's P_l by its own recurrence."""
    a, b = unit_vectors(vectors[:23]), unit_vectors(vectors[23:])
    Ya, Yb = spherical_harmonics(a, lmax), spherical_harmonics(b, lmax)
    cosine = (a * b).sum(-1)
    previous, legendre = torch.zeros_like(cosine), torch.ones_like(cosine)
    for degree in range(lmax + 1):
        block = slice(degree**2, (degree + 1) ** 2)
        error = (Ya[:, block] * Yb[:, block]).sum(-1) / (2 * degree + 1) - legendre
        assert error.abs().max() < tolerance
        step = ((2 * degree + 1) * cosine * legendre - degree * previous) / (degree + 1)
        previous, legendre = legendre, step


def test_polynomials_are_homogeneous_and_harmonic(vectors):
    lmax = 6
    degrees = torch.repeat_interleave(torch.arange(lmax + 1), 2 * torch.arange(lmax + 1) + 1)
    Y = spherical_harmonics(vectors, lmax, normalize=False)
    torch.testing.assert_close(
        spherical_harmonics(-1.7 * vectors, lmax, normalize=False), (-1.7) ** degrees.double() * Y
    )
    for component in (5, 11, 19, 24, 40):
        hessian = torch.autograd.functional.hessian(
            lambda v, c=component: spherical_harmonics(v, lmax, normalize=False)[c], vectors[0]
        )
        assert hessian.abs().max() > 0.1
        assert hessian.trace().abs() < 1e-12 * hessian.abs().max()


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-13), (torch.float32, 1e-5)])
def test_harmonics_rotate_and_reflect_with_wigner_matrices(generator, vectors, dtype, tolerance):
    lmax = 8
    Q = random_orthogonal(len(vectors), generator=generator)
    turned = (Q @ vectors[..., None]).squeeze(-1)
    Y, turned_Y = (spherical_harmonics(v.to(dtype), lmax) for v in (vectors, turned))
    error = rotate(Y[..., None], wigner_blocks(Q.to(dtype), lmax)).squeeze(-1) - turned_Y
    assert error.abs().max() / Y.abs().max() < tolerance


def test_float32_is_accurate(vectors):
    reference = spherical_harmonics(vectors.float().double(), 8)
    assert (spherical_harmonics(vectors.float(), 8) - reference).abs().max() / reference.abs().max() < 2e-6
    weights = torch.linspace(-1, 1, 81, dtype=torch.float64)
    gradients = []
    for dtype in (torch.float32, torch.float64):
        v = vectors.float().to(dtype).requires_grad_()
        gradients += torch.autograd.grad(
            spherical_harmonics(v, 8) @ weights.to(dtype), v, torch.ones(len(v), dtype=dtype)
        )
    single, double = gradients
    assert (single - double).abs().max() / double.abs().max() < 1e-5


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_stays_in_its_dtype(vectors, dtype):
    Y = spherical_harmonics(vectors.to(dtype), 3)
    assert Y.dtype == dtype
    reference = spherical_harmonics(vectors.to(dtype).double(), 3)
    assert (Y - reference).abs().max() < 10 * torch.finfo(dtype).eps * reference.abs().max()


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("v", [[0.3, -1.0, 0.5], [0.0, 1, 0], [0, -1, 0], [1, 0, 0], [1e-5, 1, 0]])
def test_derivatives_also_at_the_poles(v, normalize):
    v = torch.tensor(v, dtype=torch.float64, requires_grad=True)
    assert gradcheck(lambda v: spherical_harmonics(v, 5, normalize=normalize), v)
    assert gradgradcheck(lambda v: spherical_harmonics(v, 3, normalize=normalize), v)


def test_zero_vectors_have_the_constant_only_and_finite_derivatives():
    zero = torch.zeros(1, 3, dtype=torch.float64, requires_grad=True)
    constant = torch.tensor([[1.0] + 24 * [0.0]], dtype=torch.float64)
    for normalize in (True, False):
        assert torch.equal(spherical_harmonics(zero, 4, normalize=normalize), constant)

    def jacobian(normalize):
        return torch.autograd.functional.jacobian(
            lambda v: spherical_harmonics(v, 4, normalize=normalize)[0], zero, create_graph=True
        )[:, 0]

    assert (jacobian(True) == 0).all()
    expected = torch.zeros(25, 3, dtype=torch.float64)
    expected[1:4] = math.sqrt(3) * torch.eye(3, dtype=torch.float64)
    torch.testing.assert_close(jacobian(False), expected)
    for normalize in (True, False):
        (second,) = torch.autograd.grad(jacobian(normalize).square().sum(), zero, allow_unused=normalize)
        assert second is None or second.isfinite().all()


def test_shapes_at_the_edges():
    assert spherical_harmonics(torch.zeros(0, 3), 4).shape == (0, 25)
    assert spherical_harmonics(torch.ones(3), 0).shape == (1,)
    assert spherical_harmonics(torch.ones(2, 5, 3), 2).shape == (2, 5, 9)


def test_bad_arguments_are_user_errors():
    with pytest.raises(UserError, match="lmax must be >= 0, got -1"):
        spherical_harmonics(torch.ones(3), -1)
    with pytest.raises(UserError, match="normalization must be one of .* got 'e3nn'"):
        spherical_harmonics(torch.ones(3), 1, normalization="e3nn")
