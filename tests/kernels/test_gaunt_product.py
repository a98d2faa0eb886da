"""The Gaunt product: three methods for one function, which is the product of signals on the sphere."""

import pytest
import torch

from erlangen import kernels
from erlangen.errors import UserError
from erlangen.geometry.rotations import random_orthogonal
from erlangen.geometry.spherical_harmonics import spherical_harmonics
from erlangen.geometry.wigner import rotate, wigner_blocks
from erlangen.kernels.gaunt_product import _quadrature

METHODS = ["reference", "grid", "fft"]
DEGREES = [(0, 0, 0), (1, 1, 2), (2, 2, 2), (3, 1, 4), (2, 4, 1), (4, 4, 4), (1, 1, 4)]


def product(method, degrees):
    return kernels.get("gaunt_product", method, **dict(zip(("lmax1", "lmax2", "lmax3"), degrees, strict=True)))


def factors(generator, degrees, rows=5, channels=3):
    sizes = [(lmax + 1) ** 2 for lmax in degrees[:2]]
    return [torch.randn(rows, size, channels, generator=generator, dtype=torch.float64) for size in sizes]


@pytest.mark.parametrize("degrees", DEGREES)
def test_all_methods_agree(generator, degrees):
    x, y = (factor.float().double() for factor in factors(generator, degrees))
    true = product("reference", degrees)(x, y)
    for method in METHODS:
        found = product(method, degrees)(x, y)
        torch.testing.assert_close(found, true, atol=1e-12, rtol=0)
        single = product(method, degrees)(x.float(), y.float())
        assert single.dtype == torch.float32
        assert (single - true).abs().max() <= 5e-7 * true.abs().max()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("lmax1", "lmax2"), [(2, 3), (4, 1)])
def test_it_multiplies_functions_on_the_sphere(generator, method, lmax1, lmax2):
    x, y = factors(generator, (lmax1, lmax2))
    z = product(method, (lmax1, lmax2, lmax1 + lmax2))(x, y)
    points = torch.randn(20, 3, generator=generator, dtype=torch.float64)

    def values(signal, lmax):
        return spherical_harmonics(points, lmax, normalization="integral") @ signal

    torch.testing.assert_close(values(z, lmax1 + lmax2), values(x, lmax1) * values(y, lmax2))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("dtype", "bound"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
def test_it_is_equivariant_under_rotations_and_reflections(generator, method, dtype, bound):
    degrees = (3, 2, 4)
    x, y = (t.to(dtype) for t in factors(generator, degrees))
    D = wigner_blocks(random_orthogonal(5, generator=generator).to(dtype), 4)
    turned = product(method, degrees)(rotate(x, D[:4]), rotate(y, D[:3]))
    expected = rotate(product(method, degrees)(x, y), D)
    assert (turned - expected).abs().max() <= bound * expected.abs().max()


@pytest.mark.parametrize("method", METHODS)
def test_it_reaches_no_cross_product_and_no_degree_above_the_sum(generator, method):
    x, y = factors(generator, (1, 1))
    x[:, 0], y[:, 0] = 0, 0
    z = product(method, (1, 1, 3))(x, y)
    assert z[:, 1:4].abs().max() < 1e-14
    assert z[:, 9:].abs().max() < 1e-14
    # Degree 0: the integral of the product, x . y, times the constant harmonic.
    torch.testing.assert_close(z[:, 0], (x * y).sum(1) / (4 * torch.pi) ** 0.5)
    torch.testing.assert_close(z, product(method, (1, 1, 3))(y, x))


@pytest.mark.parametrize("method", METHODS)
def test_no_rows_give_no_rows(method):
    x = torch.zeros(0, 9, 4, requires_grad=True)
    out = product(method, (2, 2, 1))(x, x)
    assert out.shape == (0, 4, 4)
    out.sum().backward()


def test_auto_takes_the_grid(generator):
    kernel = product("auto", (2, 2, 2))
    kernel(*factors(generator, (2, 2)))
    assert kernel.choice.ran == {"gaunt_product": "grid"}


@pytest.mark.parametrize("degree", [0, 2, 13, 14, 33, 133])
def test_the_points_integrate_all_harmonics_up_to_their_degree(degree):
    points, weights = map(torch.from_numpy, _quadrature(degree))
    values = spherical_harmonics(points, min(degree, 40), normalize=False, normalization="integral")
    integrals = weights @ values
    assert integrals[0].item() == pytest.approx((4 * torch.pi) ** 0.5, abs=1e-12)
    assert (integrals[1:].abs() < 1e-12).all()


@pytest.mark.slow
def test_the_grid_may_stand_in_a_compiled_model(generator):
    kernel = product("grid", (2, 2, 2))
    x, y = factors(generator, (2, 2))
    torch.testing.assert_close(torch.compile(lambda x, y: 2 * kernel(x, y), fullgraph=True)(x, y), 2 * kernel(x, y))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    "shapes", [((5, 9, 3), (5, 9, 2)), ((5, 9, 3), (4, 9, 3)), ((5, 4, 3), (5, 9, 3)), ((9,), (9,))]
)
def test_wrong_shapes_are_named(method, shapes):
    with pytest.raises(UserError, match=r"give \(rows, 9, channels\) and \(rows, 9, channels\)"):
        product(method, (2, 2, 2))(*(torch.ones(shape) for shape in shapes))


def test_negative_degrees_and_half_precision_by_fft_are_refused():
    with pytest.raises(UserError, match="lmax must be >= 0"):
        product("grid", (2, 2, -1))(torch.ones(1, 9, 1), torch.ones(1, 9, 1))
    with pytest.raises(UserError, match="not bfloat16"):
        product("fft", (2, 2, 2))(torch.ones(1, 9, 1).bfloat16(), torch.ones(1, 9, 1).bfloat16())
