"""The products that are compared: equal to the package's own operations, equivariant, with costs that were counted rightly."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from erlangen import kernels
from erlangen.bench.expressivity import PRODUCTS, SETTINGS, flop_of
from erlangen.bench.tensor_products import (
    ClebschGordan,
    Gaunt,
    IrreducibleMatrices,
    Matrices,
    VectorSignals,
    paths,
    size,
    vector_harmonics,
)
from erlangen.geometry.irreps import Irreps
from erlangen.geometry.rotations import random_rotations
from erlangen.geometry.s2grid import exact_resolution, grid_points, grid_weights
from erlangen.geometry.wigner import representation
from erlangen.kernels import cg_product

INS, OUTS = [0, 1, 2], [0, 1, 2, 3, 4]


def features(degrees, rows: int = 5, channels: int = 3) -> torch.Tensor:
    return torch.randn(rows, size(degrees), channels, dtype=torch.float64)


@pytest.mark.parametrize("odd", [True, False])
def test_clebsch_gordan_is_the_packages_product(odd: bool) -> None:
    """Whose paths are normalised by their number, and come in the same order."""
    product = ClebschGordan(INS, OUTS, odd=odd)
    kernel = kernels.get("cg_product", "reference", lmax1=2, lmax2=2, lmax3=4, odd=odd)
    assert product.paths == cg_product.paths(2, 2, 4, odd)
    x, y = features(INS), features(INS)
    weight = torch.randn(len(product.paths), 3, dtype=torch.float64)
    count = torch.tensor([sum(path[2] == other[2] for other in product.paths) for path in product.paths])
    expected = kernel(x, y, (weight * count[:, None].sqrt())[None])
    torch.testing.assert_close(product(x, y, weight), expected)


def test_gaunt_is_the_packages_product() -> None:
    x, y = features(INS), features(INS)
    expected = kernels.get("gaunt_product", "reference", lmax1=2, lmax2=2, lmax3=4)(x, y)
    torch.testing.assert_close(Gaunt(INS, OUTS)(x, y, torch.zeros(0)), expected)


def test_instructions_sum_over_channels() -> None:
    """uvu and uvw are sums of products of single channels."""
    x, y = features(INS, channels=2), features(INS, channels=2)
    single = ClebschGordan(INS, OUTS)
    for instruction in ("uvu", "uvw"):
        product = ClebschGordan(INS, OUTS, instruction=instruction)
        weight = torch.randn(product.weight_shape(2), dtype=torch.float64)
        expected = torch.zeros(5, size(OUTS), 2, dtype=torch.float64)
        for u in range(2):
            for v in range(2):
                for w in range(2) if instruction == "uvw" else [u]:
                    own = weight[:, u, v, w] if instruction == "uvw" else weight[:, u, v]
                    expected[..., w] += single(x[..., [u]], y[..., [v]], own[:, None])[..., 0]
        torch.testing.assert_close(product(x, y, weight), expected)


def test_products_of_single_degrees_are_parts_of_the_whole() -> None:
    """SISO and SIMO compute no more than they are asked for, and that rightly."""
    x, y = features(INS), features(INS)
    x[:, :4] = y[:, :4] = 0  # degree 2 alone
    for make in (Gaunt, ClebschGordan):
        whole = make(INS, OUTS)
        for outs in ([2], OUTS):
            part = make([2], outs)
            assert paths([2], outs) == [path for path in paths(INS, outs) if path[:2] == (2, 2)]
            own, all_own = (torch.ones(product.weight_shape(3), dtype=torch.float64) for product in (part, whole))
            expected = whole(x, y, all_own)[:, 4:9] if outs == [2] else whole(x, y, all_own)
            torch.testing.assert_close(part(x[:, 4:], y[:, 4:], own), expected)


def test_matrices_represent_features_as_products_do() -> None:
    """On degree 1 a vector is its cross-product matrix, up to a factor, and the commutator the cross product."""
    product = IrreducibleMatrices([1], [0, 1, 2])
    a, b = features([1], rows=1, channels=1), features([1], rows=1, channels=1)
    cross = product.to_matrix(a)[0, 0]
    assert torch.allclose(cross, -cross.T)
    assert torch.allclose(cross @ a[0, :, 0], torch.zeros(3, dtype=torch.float64))
    commutator = product(a, b, torch.zeros(0)) - product(b, a, torch.zeros(0))
    expected = torch.linalg.cross(a[:, :, 0], b[:, :, 0])
    ratio = commutator[0, 1:4, 0] / expected[0]
    assert torch.allclose(ratio, ratio[0].expand(3))
    torch.testing.assert_close(commutator[0, [0, 4, 5, 6, 7, 8], 0], torch.zeros(6, dtype=torch.float64))


def test_vector_harmonics_are_orthonormal() -> None:
    resolution = exact_resolution(8)
    points, weights = grid_points(resolution).flatten(0, 1), grid_weights(resolution).flatten()
    values = vector_harmonics(points, [0, 1, 2, 3])
    gram = torch.einsum("bpm,p,bpn->mn", values, weights, values)
    torch.testing.assert_close(gram, torch.eye(len(gram), dtype=torch.float64), atol=1e-12, rtol=0)
    radial = values[:, :, 0]
    assert torch.allclose(torch.linalg.cross(radial.T, points), torch.zeros_like(points)), (
        "degree 0 is the radial field"
    )


@pytest.mark.parametrize("name", PRODUCTS)
@pytest.mark.parametrize("setting", SETTINGS)
def test_products_are_equivariant(name: str, setting: str, generator: torch.Generator) -> None:
    product = PRODUCTS[name](*SETTINGS[setting](2))
    rotation = random_rotations(generator=generator)
    left, right, out = (
        representation(Irreps((1, degree, 1) for degree in degrees), rotation)
        for degrees in (product.left, product.right, product.out)
    )
    x, y = features(product.left), features(product.right)
    own = torch.randn(product.weight_shape(3), dtype=torch.float64)
    before = product(x, y, own)
    assert before.abs().max() > 1e-3
    torch.testing.assert_close(product(left @ x, right @ y, own), out @ before, atol=1e-12, rtol=1e-10)


@pytest.mark.parametrize("name", PRODUCTS)
@pytest.mark.parametrize("setting", SETTINGS)
def test_operations_are_those_carried_out(name: str, setting: str) -> None:
    """Matrix products as PyTorch counts them; what is left are products point by point and sums, a smaller part."""
    ins, outs = SETTINGS[setting](3)
    product = PRODUCTS[name](ins, outs)
    x, y = features(product.left, 1, 1), features(product.right, 1, 1)
    with FlopCounterMode(display=False) as counter:
        product(x, y, torch.ones(product.weight_shape(1), dtype=torch.float64))
    counted, stated = counter.get_total_flops(), flop_of(PRODUCTS[name])(ins, outs)
    elementwise = stated - counted
    assert counted <= stated, "no matrix product is forgotten"
    if isinstance(product, Matrices):
        assert elementwise == 0
    elif isinstance(product, Gaunt | VectorSignals):
        points = len(product.synthesis) // (1 if isinstance(product, Gaunt) else 3)
        assert elementwise == points * (1 if isinstance(product, Gaunt) else 9)
    else:
        pairs = sum((2 * l1 + 1) * (2 * l2 + 1) for l1, l2 in product.pairs)
        terms = sum(2 * l3 + 1 for _, _, l3 in product.paths)
        assert elementwise == pairs + 2 * terms
