"""Layers whose weight is a sum of Kronecker products: hypercomplex multiplication in an algebra that is learned.

Zhang et al., "Beyond Fully-Connected Layers with Quaternions: Parameterization of Hypercomplex Multiplications with 1/n
Parameters" (arXiv:2102.08597), eq. (3), and Grassucci, Zhang, Comminiello, "PHNNs: Lightweight Neural Networks via
Parameterized Hypercomplex Convolutions" (arXiv:2110.04176), eq. (8).
"""

import math
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import conv2d, linear

from ..errors import UserError


class Hypercomplex(nn.Module):
    """A weight H = sum_i A_i (x) S_i of n terms, with 1/n of its parameters and n^3 more.

    A says how the n components of an input multiply (for quaternions, the signs of Hamilton's table), S are the factors. With
    n = 1 and A = 1 the weight is S itself.

    Args:
        n: must divide both `inputs` and `outputs`.
        inputs, outputs: of the layer.
        kernel: height and width of a convolution, () for a linear map.
        gain: entries begin with the variance gain / inputs (times the kernel's size).
    """

    def __init__(self, n: int, inputs: int, outputs: int, kernel: tuple[int, ...], gain: float):
        super().__init__()
        if n < 1 or inputs % n or outputs % n:
            raise UserError(f"model.n={n} must divide the {inputs} inputs and the {outputs} outputs of every layer")
        self.a = nn.Parameter(
            torch.empty(n, n, n).uniform_(-1, 1) * math.sqrt(3 / n)
        )  # variance 1/n, so that of H is S's
        bound = math.sqrt(3 * gain / (inputs * math.prod(kernel)))
        self.s = nn.Parameter(torch.empty(n, outputs // n, inputs // n, *kernel).uniform_(-bound, bound))

    @property
    def weight(self) -> Float[Tensor, "outputs inputs *kernel"]:
        return torch.einsum("nab,noi...->aobi...", self.a, self.s).flatten(0, 1).flatten(1, 2)


class PHMLinear(Hypercomplex):
    """x -> H x + b, for an nn.Linear of the same size."""

    def __init__(self, n: int, inputs: int, outputs: int):
        super().__init__(n, inputs, outputs, (), gain=1 / 3)
        bound = 1 / math.sqrt(inputs)
        self.bias = nn.Parameter(torch.empty(outputs).uniform_(-bound, bound))

    def forward(self, x: Float[Tensor, "*batch inputs"]) -> Float[Tensor, "*batch outputs"]:
        return linear(x, self.weight, self.bias)


class PHMConv2d(Hypercomplex):
    """x -> H * x, for an nn.Conv2d without bias of the same size, followed by a ReLU."""

    def __init__(self, n: int, inputs: int, outputs: int, kernel: tuple[int, int], stride: int, padding: int):
        super().__init__(n, inputs, outputs, kernel, gain=2.0)
        self.stride, self.padding = stride, padding

    def forward(self, x: Float[Tensor, "samples inputs h w"]) -> Float[Tensor, "samples outputs h_out w_out"]:
        return conv2d(x, self.weight, stride=self.stride, padding=self.padding)


def with_hypercomplex_linear(module: nn.Module, n: int) -> nn.Module:
    """The module, each nn.Linear in it replaced by a PHMLinear of the same size."""
    return replaced(module, nn.Linear, lambda layer: PHMLinear(n, layer.in_features, layer.out_features))


def with_hypercomplex_convolutions(module: nn.Module, n: int) -> nn.Module:
    """The module, each nn.Conv2d in it replaced by a PHMConv2d of the same size."""

    def make(layer: nn.Conv2d) -> PHMConv2d:
        (stride, _), (padding, _) = layer.stride, layer.padding
        return PHMConv2d(n, layer.in_channels, layer.out_channels, layer.kernel_size, stride, padding)

    return replaced(module, nn.Conv2d, make)


def replaced(module: nn.Module, kind: type[nn.Module], make: Callable[..., nn.Module]) -> nn.Module:
    for name, child in module.named_children():
        setattr(module, name, make(child) if isinstance(child, kind) else replaced(child, kind, make))
    return module
