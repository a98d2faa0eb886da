"""A depthwise convolution over the fibre of orientations that every node has: y_p = sum over o of k_op x_o."""

import torch
from jaxtyping import Float
from torch import Tensor

from ..errors import UserError
from .native import Native, call, native
from .registry import Cost, Op, traffic


def fibre_convolution(
    x: Float[Tensor, "nodes orientations channels"],
    kernel: Float[Tensor, "orientations orientations_out channels"],
) -> Float[Tensor, "nodes orientations_out channels"]:
    """The kernel is between pairs of orientations, channel by channel, and the same at all nodes."""
    return torch.einsum("noc,opc->npc", x, kernel)


def kernel_products(
    x: Float[Tensor, "nodes orientations channels"], y: Float[Tensor, "nodes orientations_out channels"]
) -> Float[Tensor, "orientations orientations_out channels"]:
    """x times y for all pairs of orientations, summed over nodes: the gradient by the kernel."""
    return torch.einsum("noc,npc->opc", x, y)


def forward(x, kernel):
    return convolved(x, kernel, kernel.stride()[:2], kernel.shape[1]), ()


def convolved(x, kernel, strides, out_orientations):
    out = x.new_empty(len(x), out_orientations, x.shape[2])
    call("fibre_convolution", x, kernel, out, *x.shape, out_orientations, *strides)
    return out


def backward(gradient, args, saved):
    x, kernel = args
    by_x = convolved(gradient, kernel, kernel.stride()[1::-1], len(kernel)) if x.requires_grad else None
    return [by_x, products(x, gradient)[0] if kernel.requires_grad else None]


def pullback(gradient, args, saved):
    x, kernel = args
    return [CONVOLUTION(gradient, kernel.transpose(0, 1)), PRODUCTS(x, gradient)]


def products(x, y):
    out = x.new_empty(x.shape[1], y.shape[1], x.shape[2])
    call("fibre_products", x, y, out, *x.shape, y.shape[1])
    return out, ()


def products_backward(gradient, args, saved):
    x, y = args
    by_x = convolved(y, gradient, gradient.stride()[1::-1], x.shape[1]) if x.requires_grad else None
    return [by_x, convolved(x, gradient, gradient.stride()[:2], y.shape[1]) if y.requires_grad else None]


def products_pullback(gradient, args, saved):
    x, y = args
    return [CONVOLUTION(y, gradient.transpose(0, 1)), CONVOLUTION(x, gradient)]


# Each is the other's gradient, so that derivatives of any order are made of these two.
CONVOLUTION = Native(fibre_convolution, forward, backward, pullback)
PRODUCTS = Native(kernel_products, products, products_backward, products_pullback)


def check(x: Tensor, kernel: Tensor) -> None:
    if x.ndim != 3 or kernel.ndim != 3 or x.shape[1:] != kernel.shape[::2]:
        raise UserError(
            f"fibre_convolution: x {tuple(x.shape)} and kernel {tuple(kernel.shape)}; give x (nodes, orientations, channels) "
            "and kernel (orientations, orientations out, channels)"
        )


def cost(out: Tensor, x: Tensor, kernel: Tensor) -> Cost:
    """A multiplication and an addition for each node, pair of orientations and channel."""
    return Cost(2 * len(x) * kernel.numel(), traffic(out, x, kernel))


def example(dtype, device, seed, *, nodes=9, orientations=6, channels=20):
    g = torch.Generator().manual_seed(seed)
    shapes = (nodes, orientations, channels), (orientations, orientations, channels)
    return tuple(torch.randn(s, generator=g, dtype=torch.float64).to(device, dtype) for s in shapes), {}


OP = Op(
    reference=fibre_convolution,
    backends={"native": native(fibre_convolution, forward, backward, pullback)},
    check=check,
    cost=cost,
    example=example,
)
