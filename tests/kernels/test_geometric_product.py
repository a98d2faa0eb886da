"""The geometric product: symmetry under versors, known algebras, and the compiled form against the dense one, loops in C."""

import pytest
import torch
from machine import needs_c

from erlangen import kernels
from erlangen.errors import UserError
from erlangen.geometry.clifford import blades, grade_involution, reverse
from erlangen.kernels.geometric_terms import unrolled

SIGNATURES = [(3, 0, 1), (2, 0, 0), (3, 0, 0), (5, 0, 0), (3, 1, 0)]


def product(signature, backend="reference"):
    return kernels.get("geometric_product", backend, signature=signature)


def randn(generator, signature, *shape):
    return torch.randn(2 ** sum(signature), *shape, generator=generator, dtype=torch.float64)


def vector(generator, signature, shape):
    """A unit vector of the positive generators, which come after the null ones."""
    positive, _, null = signature
    x = torch.zeros(2 ** sum(signature), *shape, dtype=torch.float64)
    values = torch.randn(positive, *shape, generator=generator, dtype=torch.float64)
    x[1 + null : 1 + null + positive] = values / values.norm(dim=0)
    return x


@pytest.mark.parametrize("signature", SIGNATURES)
@pytest.mark.parametrize(("dtype", "bound"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
def test_it_is_equivariant_under_rotations_and_reflections(generator, signature, dtype, bound):
    """x -> V x V~ with V a product of unit vectors, and x -> V x^ V~ for an odd number of them, x^ the grade involution."""
    times = product(signature)
    x, y = (randn(generator, signature, 3).to(dtype) for _ in range(2))
    u, v = (vector(generator, signature, (3,)).to(dtype) for _ in range(2))
    rotor = times(u, v)

    def turn(z):
        return times(times(rotor, z), reverse(rotor, signature))

    def reflect(z):
        return times(times(u, grade_involution(z, signature)), u)

    for act in (turn, reflect):
        expected = act(times(x, y))
        assert (times(act(x), act(y)) - expected).abs().max() <= bound * expected.abs().max()
    assert (turn(x) - x).abs().max() > 0.1


def test_projective_translations_are_a_symmetry_too(generator):
    signature = (3, 0, 1)
    times = product(signature)
    translator = torch.zeros(16, 2, dtype=torch.float64)
    translator[0] = 1
    translator[5:8] = torch.randn(3, 2, generator=generator, dtype=torch.float64)  # e01, e02, e03
    x, y = (randn(generator, signature, 2) for _ in range(2))

    def act(z):
        return times(times(translator, z), reverse(translator, signature))

    torch.testing.assert_close(times(translator, reverse(translator, signature))[0], torch.ones(2).double())
    torch.testing.assert_close(times(act(x), act(y)), act(times(x, y)), atol=1e-10, rtol=0)
    assert (act(x) - x).abs().max() > 0.1


def test_small_algebras_are_complex_numbers_and_real_numbers(generator):
    x, y = randn(generator, (0, 1, 0), 4), randn(generator, (0, 1, 0), 4)
    z = torch.complex(*x) * torch.complex(*y)
    torch.testing.assert_close(product((0, 1, 0))(x, y), torch.stack([z.real, z.imag]))
    torch.testing.assert_close(product((0, 0, 0))(x[:1], y[:1]), x[:1] * y[:1])


@pytest.mark.parametrize("signature", SIGNATURES)
def test_vectors_multiply_to_scalar_product_and_wedge(generator, signature):
    u = vector(generator, signature, (3,))
    expected = torch.zeros_like(u)
    expected[0] = 1
    torch.testing.assert_close(product(signature)(u, u), expected)


@pytest.mark.parametrize("signature", SIGNATURES)
@pytest.mark.parametrize("shape", [(1,), (7,), (3, 2)])
def test_unrolled_terms_give_the_same_sum(generator, signature, shape):
    x, y = randn(generator, signature, *shape), randn(generator, signature, *shape)
    torch.testing.assert_close(unrolled(signature)(x, y), product(signature)(x, y), atol=1e-13, rtol=0)


def test_the_compiled_product_of_the_smallest_algebra(generator):
    x, y = randn(generator, (0, 1, 0), 3, 2), randn(generator, (0, 1, 0), 3, 2)
    compiled = product((0, 1, 0), "compiled")
    torch.testing.assert_close(compiled(x, y), product((0, 1, 0))(x, y))
    assert compiled.choice.ran == {"geometric_product": "compiled"}
    assert compiled(x[:, :0], y[:, :0]).shape == (2, 0, 2)


FAST = [
    pytest.param("compiled", marks=pytest.mark.slow),
    pytest.param("native", marks=needs_c),
]


@pytest.mark.parametrize("backend", FAST)
@pytest.mark.parametrize("signature", [(3, 0, 1), (3, 0, 0)])
def test_fast_products_take_any_trailing_shape_and_are_differentiable_twice(generator, signature, backend):
    fast = product(signature, backend)
    for shape in ((), (5,), (3, 4), (2, 3, 4), (0, 4)):
        x, y = (randn(generator, signature, *shape).requires_grad_() for _ in range(2))
        torch.testing.assert_close(fast(x, y), product(signature)(x, y))
    x, y = (randn(generator, signature, 2).requires_grad_() for _ in range(2))
    assert torch.autograd.gradcheck(fast, (x, y), fast_mode=True)
    assert torch.autograd.gradgradcheck(fast, (x, y), fast_mode=True)


@needs_c
@pytest.mark.parametrize("columns", [2**18, 2**18 + 16, 2**18 + 5])
def test_the_product_in_c_of_more_than_caches_hold(generator, columns):
    x, y = (randn(generator, (2, 0, 1), columns).float() for _ in range(2))
    whole = product((2, 0, 1), "native")(x, y)
    parts = [product((2, 0, 1), "native")(a, b) for a, b in zip(x.split(1000, 1), y.split(1000, 1), strict=True)]
    assert torch.equal(whole, torch.cat(parts, 1))


@needs_c
def test_the_product_in_c_is_not_written_out_for_too_many_generators(generator):
    x = randn(generator, (6, 0, 0), 1)
    with pytest.raises(UserError, match="at most 5 generators"):
        product((6, 0, 0), "native")(x, x)
    assert product((6, 0, 0), "auto")(x, x).shape == x.shape


def test_nothing_in_nothing_out():
    x = torch.zeros(16, 0, 3, requires_grad=True)
    out = product((3, 0, 1))(x, x)
    assert out.shape == (16, 0, 3)
    out.sum().backward()


def test_wrong_arguments_are_named():
    x = torch.ones(16, 2)
    for pair in ((x, x[:8]), (x, x[:, :1]), (x[:8], x[:8])):
        with pytest.raises(UserError, match=r"G\(3, 0, 1\) has 16 blades, give both as \(16, ...\) of one shape"):
            product((3, 0, 1))(*pair)
    with pytest.raises(UserError, match="4096 products of blades are too many to unroll"):
        product((6, 0, 0), "compiled")(torch.ones(64, 1), torch.ones(64, 1))
    choice = kernels.Kernels()
    kernels.get("geometric_product", choice, signature=(6, 0, 0))(torch.ones(64, 1), torch.ones(64, 1))
    assert choice.ran == {"geometric_product": "reference"}
    assert len(blades((6, 0, 0))) == 64
