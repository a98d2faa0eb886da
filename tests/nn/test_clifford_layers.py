"""Layers on multivectors commute with the Pin group of their algebra, even and odd versors alike."""

import pytest
import torch

from erlangen.errors import UserError
from erlangen.geometry.clifford import blades, grade_involution, grades, reverse
from erlangen.kernels import Kernels
from erlangen.kernels.geometric_product import geometric_product
from erlangen.nn.clifford import (
    Bilinear,
    ChannelNorm,
    CliffordLinear,
    CliffordMLP,
    GeometricProductLayer,
    GradeNorm,
    GradeSiLU,
    GroupAction,
    gated_gelu,
    inner_product,
    layer_norm,
)

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


@pytest.mark.parametrize("reflections", [1, 2])
@pytest.mark.parametrize("signature", [(2, 0, 0), (3, 0, 0), (5, 0, 0), (1, 2, 0)], ids=str)
def test_layers_with_grades_commute_with_versors(signature, reflections: int, generator: torch.Generator) -> None:
    u = versor(signature, reflections, generator)
    x = multivectors(signature, 4, generator)
    choice = Kernels("reference")
    for layer in (
        GradeNorm(choice, signature, 4),
        GradeSiLU(choice, signature, 4),
        ChannelNorm(choice, signature, 4),
        GeometricProductLayer(choice, signature, 4),
        CliffordMLP(choice, signature, 4, 3, 2, 2),
    ):
        for parameter in layer.double().parameters():
            torch.nn.init.normal_(parameter)
        out = layer(x)
        expected = action(u, out, reflections, signature)
        assert (expected - out).abs().max() > 1e-2 * out.abs().max()
        error = (layer(action(u, x, reflections, signature)) - expected).abs().max() / expected.abs().max()
        assert error < 1e-10, type(layer)


def test_norms_and_gates_are_those_of_the_grades() -> None:
    """At the start a norm goes half the way: a vector of length 5 is divided by 1 + (5 - 1) / 2."""
    choice = Kernels("reference")
    x = torch.zeros(8, 1, 1, dtype=torch.float64)
    x[1:4, 0, 0] = torch.tensor([3.0, 0.0, 4.0])
    torch.testing.assert_close(GradeNorm(choice, (3, 0, 0), 1).double()(x), x / 3, rtol=1e-5, atol=0)
    torch.testing.assert_close(GradeSiLU(choice, (3, 0, 0), 1).double()(x), x * torch.sigmoid(torch.tensor(25.0)))
    torch.testing.assert_close(ChannelNorm(choice, (3, 0, 0), 1).double()(x), x / 5, rtol=1e-6, atol=0)
    x = torch.zeros_like(x)
    x[0] = -2
    torch.testing.assert_close(GradeSiLU(choice, (3, 0, 0), 1).double()(x), x * torch.sigmoid(torch.tensor(-2.0)))
    silent = torch.zeros(8, 2, 1, dtype=torch.float64, requires_grad=True)
    GradeNorm(choice, (3, 0, 0), 1).double()(silent).sum().backward()
    assert silent.grad.isfinite().all()


def random_action(signature, grade, channels, out, generator) -> GroupAction:
    layer = GroupAction(signature, grade, channels, out).double()
    for parameter in layer.parameters():
        torch.nn.init.normal_(parameter, generator=generator)
    return layer


@pytest.mark.parametrize("signature", [PGA, (2, 0, 1), (3, 0, 0), (2, 0, 0)], ids=str)
def test_each_single_action_is_a_versors(signature, generator: torch.Generator) -> None:
    """Of unit norm, a a~ = 1 to the last blade; the action keeps inner products and multiplies like the algebra."""
    layer = random_action(signature, tuple(range(sum(signature) + 1)), 3, 2, generator)
    a = layer.versors().flatten(0, 1).T[:, :, None].contiguous()
    one = geometric_product(a, reverse(a, signature), signature=signature)
    expected = torch.zeros_like(one)
    expected[0] = 1
    torch.testing.assert_close(one, expected, rtol=0, atol=1e-12)
    x, y = (multivectors(signature, 1, generator)[:, :1] for _ in range(2))

    def moved(z):
        return torch.einsum("oilj,jrc->lroi", layer.actions(), z).flatten(1)[:, :, None]

    for left, right in ((x, y), (y, x)):
        product = geometric_product(moved(left), moved(right), signature=signature)
        torch.testing.assert_close(product, moved(geometric_product(left, right, signature=signature)))
    inner = inner_product(x, y, signature)[0, 0].expand(6)
    torch.testing.assert_close(inner_product(moved(x), moved(y), signature)[:, 0], inner)
    assert (moved(x) - x).abs().max() > 0.1


def test_each_single_action_is_an_isometry_of_points(generator: torch.Generator) -> None:
    layer = random_action(PGA, (3,), 2, 3, generator)
    basis = [blade for blade in blades(PGA) if len(blade) == 3]
    places = [basis.index(blade) for blade in ((0, 2, 3), (0, 1, 3), (0, 1, 2))]
    signs = torch.tensor([-1.0, 1.0, -1.0], dtype=torch.float64)
    pos = torch.randn(9, 3, generator=generator, dtype=torch.float64)
    x = torch.ones(4, 9, dtype=torch.float64)
    x[places] = (pos * signs).T
    moved = torch.einsum("oilj,jr->oilr", layer.actions(), x)
    volume = basis.index((1, 2, 3))
    torch.testing.assert_close(moved[:, :, volume], torch.ones(3, 2, 9, dtype=torch.float64))
    images = (moved[:, :, places].mT * signs).flatten(0, 1)
    for image in images:
        torch.testing.assert_close(torch.cdist(image, image), torch.cdist(pos, pos))
        turn = torch.linalg.lstsq(pos - pos.mean(0), image - image.mean(0)).solution
        assert torch.linalg.det(turn).item() == pytest.approx(1)
    assert (images - pos).norm(dim=2).min() > 0.01


def test_actions_on_scalars_are_a_linear_layer(generator: torch.Generator) -> None:
    layer = random_action(PGA, (0,), 5, 3, generator)
    x = torch.randn(1, 7, 5, generator=generator, dtype=torch.float64)
    expected = torch.nn.functional.linear(x[0], layer.weight, layer.bias)
    torch.testing.assert_close(layer(x)[0], expected)


def test_a_sum_of_actions_is_not_equivariant(generator: torch.Generator) -> None:
    """What the paper does not claim does not hold."""
    layer = random_action((3, 0, 0), (1,), 2, 2, generator)
    x = torch.randn(3, 4, 2, generator=generator, dtype=torch.float64)
    turn = torch.linalg.qr(torch.randn(3, 3, generator=generator, dtype=torch.float64)).Q
    turned = torch.einsum("ij,jrc->irc", turn, x)
    assert (layer(turned) - torch.einsum("ij,jrc->irc", turn, layer(x))).abs().max() > 0.1


def test_versors_need_few_generators() -> None:
    with pytest.raises(UserError, match="versor"):
        GroupAction((4, 0, 0), (1,), 1, 1)
