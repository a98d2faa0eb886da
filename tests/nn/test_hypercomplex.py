"""Parameterized hypercomplex layers: Kronecker sums that hold the real and Hamilton's algebra, at 1/n of the parameters."""

import math

import pytest
import torch
from torch import nn

from erlangen.errors import UserError
from erlangen.nn.hypercomplex import (
    Hypercomplex,
    PHMConv2d,
    PHMLinear,
    with_hypercomplex_convolutions,
    with_hypercomplex_linear,
)

HAMILTON = torch.tensor(
    [
        [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]],
        [[0, -1, 0, 0], [1, 0, 0, 0], [0, 0, 0, -1], [0, 0, 1, 0]],
        [[0, 0, -1, 0], [0, 0, 0, 1], [1, 0, 0, 0], [0, -1, 0, 0]],
        [[0, 0, 0, -1], [0, 0, -1, 0], [0, 1, 0, 0], [1, 0, 0, 0]],
    ],
    dtype=torch.float64,
)
"""Multiplication by 1, i, j and k from the left."""


def hamilton(p: torch.Tensor, q: torch.Tensor) -> torch.Tensor:
    """(a, u)(b, v) = (a b - u . v, a v + b u + u x v)."""
    a, u, b, v = p[..., :1], p[..., 1:], q[..., :1], q[..., 1:]
    return torch.cat(
        [a * b - (u * v).sum(-1, keepdim=True), a * v + b * u + torch.linalg.cross(*torch.broadcast_tensors(u, v))], -1
    )


def size(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize("n", [1, 2, 3, 6])
def test_the_weight_is_a_sum_of_kronecker_products(n: int) -> None:
    layer = PHMLinear(n, 12, 6).double()
    expected = sum(torch.kron(a, s) for a, s in zip(layer.a, layer.s, strict=True))
    torch.testing.assert_close(layer.weight, expected)
    convolution = PHMConv2d(n, 12, 6, (3, 3), 1, 1).double()
    for y in range(3):
        for x in range(3):
            factors = zip(convolution.a, convolution.s[..., y, x], strict=True)
            torch.testing.assert_close(convolution.weight[..., y, x], sum(torch.kron(a, s) for a, s in factors))


def test_in_one_dimension_it_is_a_plain_layer() -> None:
    x, images = torch.randn(5, 8), torch.randn(2, 8, 6, 6)
    layer, convolution = PHMLinear(1, 8, 4), PHMConv2d(1, 8, 4, (3, 3), 2, 1)
    plain, plain_convolution = nn.Linear(8, 4), nn.Conv2d(8, 4, 3, 2, 1, bias=False)
    with torch.no_grad():
        for module, twin in ((layer, plain), (convolution, plain_convolution)):
            module.a.fill_(1)
            twin.weight.copy_(module.s[0])
        plain.bias.copy_(layer.bias)
    assert torch.equal(layer(x), plain(x))
    assert torch.equal(convolution(images), plain_convolution(images))


def test_hamiltons_table_makes_it_multiply_quaternions() -> None:
    """n = 4: outputs are sums of products of a quaternion weight with a quaternion input."""
    layer = PHMLinear(4, 8, 12).double()
    with torch.no_grad():
        layer.a.copy_(HAMILTON)
        layer.bias.zero_()
    x = torch.randn(5, 8, dtype=torch.float64)
    weight = layer.s.permute(1, 2, 0)  # outputs inputs 4
    quaternions = x.view(5, 4, 2).mT
    products = hamilton(weight.unsqueeze(0), quaternions.unsqueeze(1).expand(-1, 3, -1, -1)).sum(2)
    torch.testing.assert_close(layer(x), products.mT.flatten(1))


def test_hamiltons_table_makes_it_convolve_quaternions() -> None:
    layer = PHMConv2d(4, 4, 4, (1, 1), 1, 0).double()
    with torch.no_grad():
        layer.a.copy_(HAMILTON)
    image = torch.randn(2, 4, 3, 3, dtype=torch.float64)
    expected = hamilton(layer.s.flatten(), image.movedim(1, -1)).movedim(-1, 1)
    torch.testing.assert_close(layer(image), expected)


@pytest.mark.parametrize("n", [2, 4, 8])
def test_it_has_one_nth_of_the_parameters(n: int) -> None:
    assert size(PHMLinear(n, 64, 128)) == 64 * 128 // n + n**3 + 128
    assert size(PHMConv2d(n, 64, 128, (3, 3), 1, 1)) == 9 * 64 * 128 // n + n**3


@pytest.mark.parametrize("n", [1, 2, 4])
def test_weights_begin_as_wide_as_those_of_the_plain_layer(n: int) -> None:
    """The variance of the whole H, over many draws of A: 1 / (3 inputs) and 2 / fan-in."""
    draws = [(PHMLinear(n, 16, 16), PHMConv2d(n, 16, 16, (3, 3), 1, 1)) for _ in range(200)]
    linear, convolution = (torch.stack([layer.weight.detach() for layer in kind]) for kind in zip(*draws, strict=True))
    assert linear.square().mean() == pytest.approx(1 / (3 * 16), rel=0.15)
    assert convolution.square().mean() == pytest.approx(2 / (9 * 16), rel=0.15)


def test_replacing_layers_keeps_their_shapes_and_the_rest() -> None:
    def network() -> nn.Module:
        return nn.Sequential(nn.Conv2d(4, 8, 3, 2, 1, bias=False), nn.Sequential(nn.Flatten(), nn.Linear(32, 4)))

    images = torch.randn(2, 4, 4, 4)
    convolved = with_hypercomplex_convolutions(network(), 4)
    assert [type(m) for m in convolved.modules() if isinstance(m, Hypercomplex | nn.Linear)] == [PHMConv2d, nn.Linear]
    mapped = with_hypercomplex_linear(network(), 2)
    assert [type(m) for m in mapped.modules() if isinstance(m, Hypercomplex | nn.Conv2d)] == [nn.Conv2d, PHMLinear]
    assert convolved(images).shape == mapped(images).shape == network()(images).shape
    assert convolved[0](images).shape == network()[0](images).shape
    assert math.prod(convolved[0].weight.shape) == 9 * 4 * 8


def test_n_must_divide() -> None:
    with pytest.raises(UserError, match="model.n=3 must divide the 8 inputs and the 6 outputs"):
        PHMLinear(3, 8, 6)
