"""Layers on multivectors commute with the Pin group of their algebra, even and odd versors alike."""

import pytest
import torch

from erlangen.errors import UserError
from erlangen.geometry.clifford import blades, grade_involution, grades, reverse
from erlangen.kernels import Kernels
from erlangen.kernels.geometric_product import geometric_product
from erlangen.nn.clifford import Bilinear, CliffordLinear, gated_gelu, inner_product, layer_norm

PGA = (3, 0, 1)
SIGNATURES = [PGA, (2, 0, 1), (3, 0, 0), (5, 0, 0), (1, 2, 0)]


def versor(signature, reflections: int, generator: torch.Generator) -> torch.Tensor:
    """The product of unit vectors: as many reflections, in planes anywhere."""
    basis = blades(signature)
    vectors = [index for index, grade in enumerate(grades(signature)) if grade == 1]
    result = torch.zeros(len(basis), 1, 1, dtype=torch.float64)
    result[0] = 1
    while reflections:
        v = torch.zeros_like(result)
        v[vectors] = torch.randn(len(vectors), 1, 1, generator=generator, dtype=torch.float64)
        square = geometric_product(v, v, signature=signature)[0]
        if square.abs() > 0.1:
            result = geometric_product(result, v / square.abs().sqrt(), signature=signature)
            reflections -= 1
    return result


def action(u: torch.Tensor, x: torch.Tensor, reflections: int, signature) -> torch.Tensor:
    """u x u^-1, with the grade involution of x where u is odd."""
    x = grade_involution(x, signature) if reflections % 2 else x
    inverse = reverse(u, signature) / geometric_product(u, reverse(u, signature), signature=signature)[0]
    product = geometric_product(u.expand_as(x).contiguous(), x, signature=signature)
    return geometric_product(product, inverse.expand_as(x).contiguous(), signature=signature)


def multivectors(signature, channels: int, generator: torch.Generator) -> torch.Tensor:
    return torch.randn(len(blades(signature)), 7, channels, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("reflections", [1, 2, 3, 4])
@pytest.mark.parametrize("signature", SIGNATURES, ids=str)
def test_layers_commute_with_versors(signature, reflections: int, generator: torch.Generator) -> None:
    u = versor(signature, reflections, generator)
    x = multivectors(signature, 4, generator)

    def moved(x):
        return action(u, x, reflections, signature)

    linear = CliffordLinear(signature, 4, 5).double()
    torch.nn.init.normal_(linear.bias)
    torch.testing.assert_close(linear(moved(x)), moved(linear(x)), rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(layer_norm(moved(x), signature), moved(layer_norm(x, signature)), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(gated_gelu(moved(x)), moved(gated_gelu(x)), rtol=1e-10, atol=1e-10)
    invariant = inner_product(x, x, signature)
    torch.testing.assert_close(inner_product(moved(x), moved(x), signature), invariant, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("reflections", [1, 2, 3, 4])
def test_products_and_joins_commute_with_versors(reflections: int, generator: torch.Generator) -> None:
    u = versor(PGA, reflections, generator)
    x, y = (multivectors(PGA, 3, generator) for _ in range(2))
    reference = multivectors(PGA, 1, generator)
    bilinear = Bilinear(Kernels("reference"), PGA)

    def moved(x):
        return action(u, x, reflections, PGA)

    torch.testing.assert_close(
        bilinear.product(moved(x), moved(y)), moved(bilinear.product(x, y)), rtol=1e-10, atol=1e-10
    )
    torch.testing.assert_close(
        bilinear.join(moved(x), moved(y), moved(reference)),
        moved(bilinear.join(x, y, reference)),
        rtol=1e-9,
        atol=1e-9,
    )


@pytest.mark.parametrize(("signature", "maps"), [(PGA, 9), ((2, 0, 1), 7), ((5, 0, 0), 6)], ids=str)
def test_linear_maps_are_all_that_commute(signature, maps: int, generator: torch.Generator) -> None:
    """The matrices that commute with random versors, counted by a singular value decomposition: as many as weights."""
    size = len(blades(signature))
    linear = CliffordLinear(signature, 1, 1, bias=False)
    assert sum(p.numel() for p in linear.parameters()) == maps
    constraints, identity = [], torch.eye(size, dtype=torch.float64)
    for reflections in (1, 1, 2, 3):
        u = versor(signature, reflections, generator)
        rho = action(u, identity[:, :, None], reflections, signature)[..., 0]
        constraints.append(torch.kron(rho.contiguous(), identity) - torch.kron(identity, rho.T.contiguous()))
    values = torch.linalg.svdvals(torch.cat(constraints)) if size <= 16 else None
    if values is not None:
        assert (values < 1e-9 * values[0]).sum() == maps


def test_the_join_of_points_is_their_line(generator: torch.Generator) -> None:
    """The join of a point with itself is zero; that of two has the distance as its norm."""
    from erlangen.models.atoms.gatr import point

    a, b = torch.randn(2, 7, 3, generator=generator, dtype=torch.float64)
    bilinear = Bilinear(Kernels("reference"), PGA)
    p, q = point(a)[..., None], point(b)[..., None]
    line = bilinear.join(p, q, p)
    grade = torch.tensor(grades(PGA))
    assert not line[grade != 2].any()
    torch.testing.assert_close(inner_product(line, line, PGA)[:, 0].sqrt(), (a - b).norm(dim=-1))
    assert bilinear.join(p, p, p).abs().max() < 1e-12


def test_algebras_without_joins_are_refused() -> None:
    with pytest.raises(UserError, match="null"):
        Bilinear(Kernels("reference"), (3, 0, 0))
    with pytest.raises(UserError, match="more than one null"):
        CliffordLinear((2, 0, 2), 1, 1)
