"""Selfmix: a product of functions on the sphere, equivariant to rounding."""

import pytest
import torch
from synthetic import randomize

from erlangen.geometry.gaunt import gaunt, gaunt_tensor
from erlangen.geometry.rotations import random_rotations
from erlangen.geometry.wigner import wigner_blocks
from erlangen.kernels import Kernels
from erlangen.nn.selfmix import Selfmix

FEATURES = {"nodes": 7, "channels": 5}


def layer_and_features(lmax: int, backend: str = "reference") -> tuple[Selfmix, torch.Tensor]:
    layer = Selfmix(Kernels(gaunt_product=backend), lmax, FEATURES["channels"]).double()
    randomize(layer)
    return layer, torch.randn(FEATURES["nodes"], (lmax + 1) ** 2, FEATURES["channels"], dtype=torch.float64)


@pytest.mark.parametrize("backend", ["reference", "grid"])
@pytest.mark.parametrize("lmax", [1, 2, 4, 6])
def test_rotations_and_reflections_are_exact(lmax: int, backend: str, generator: torch.Generator) -> None:
    layer, x = layer_and_features(lmax, backend)
    D = torch.block_diag(*wigner_blocks(random_rotations(generator=generator), lmax))
    parity = torch.cat([torch.full((2 * degree + 1, 1), (-1.0) ** degree) for degree in range(lmax + 1)]).double()
    before = layer(x)
    for turned, expected in ((D @ x, D @ before), (parity * x, parity * before)):
        assert (layer(turned) - expected).abs().max() < 1e-10 * before.abs().max()


def test_it_is_the_gaunt_coefficients_sum_degree_by_degree() -> None:
    """z_l = w_l sum over l1, l2 of w_l1 w_l2 G x_l1 x_l2, each block written out."""
    lmax = 3
    layer, x = layer_and_features(lmax, "grid")
    blocks = [slice(degree**2, (degree + 1) ** 2) for degree in range(lmax + 1)]
    expected = torch.zeros_like(x)
    for l1, left in enumerate(blocks):
        for l2, right in enumerate(blocks):
            for l3, out in enumerate(blocks):
                weight = layer.factors[0, l1] * layer.factors[1, l2] * layer.out[l3]
                product = torch.einsum("nac,nbc,abk->nkc", x[:, left], x[:, right], gaunt(l1, l2, l3))
                expected[:, out] += weight * product
    torch.testing.assert_close(layer(x), expected, rtol=1e-11, atol=1e-11)


def test_weights_of_one_make_it_the_square_of_a_function() -> None:
    layer, x = layer_and_features(2)
    with torch.no_grad():
        layer.factors.fill_(1.0)
        layer.out.fill_(1.0)
    dense = torch.einsum("nac,nbc,abk->nkc", x, x, gaunt_tensor(2, 2, 2))
    torch.testing.assert_close(layer(x), dense, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("lmax", [1, 2, 4, 6])
def test_it_starts_with_features_about_as_large_as_it_gets(lmax: int) -> None:
    layer = Selfmix(Kernels("reference"), lmax, 256)
    mean_square = layer(torch.randn(64, (lmax + 1) ** 2, 256)).square().mean()
    assert 0.3 < mean_square < 3
