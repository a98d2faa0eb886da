"""eSCN's convolution: turned in and scaled by one kernel, mixed by the library's products, turned back and summed."""

from collections.abc import Callable

import torch
from torch import Tensor

from ..m_layout import m_rows
from ..so2 import radial_of_row, so2_linear
from .rotate import gather, gathered, outer, scatter


@torch.library.custom_op("erlangen::scaled_rotate_gather", mutates_args=())
def scaled_gather(x: Tensor, index: Tensor, D: Tensor, radial: Tensor, place: Tensor, lmax: int, mmax: int) -> Tensor:
    """D x[index], m-major, each row times the radial weight at its `place`: (edges, rows, channels)."""
    return gathered(x, index, D, radial, place, lmax, mmax)


@scaled_gather.register_fake
def _(x, index, D, radial, place, lmax, mmax):
    return x.new_empty(D.shape[0], m_rows(lmax, mmax), x.shape[2])


def _setup(ctx, inputs, output):
    x, index, D, radial, place, *ctx.orders = inputs
    ctx.size = x.shape[0]
    ctx.save_for_backward(x, index, D, radial, place)


def _backward(ctx, gradient):
    """Made of operations that are differentiable themselves; what was gathered is gathered again."""
    x, index, D, radial, place = ctx.saved_tensors
    y = gradient * radial.index_select(1, place)
    of_x = scatter(y, index, D, ctx.size, *ctx.orders) if ctx.needs_input_grad[0] else None
    of_D = outer(x, index, y, *ctx.orders) if ctx.needs_input_grad[2] else None
    of_radial = None
    if ctx.needs_input_grad[3]:
        products = gradient * gather(x, index, D, *ctx.orders)
        of_radial = torch.zeros_like(radial).index_add(1, place, products)
    return of_x, None, of_D, of_radial, None, None, None


scaled_gather.register_autograd(_backward, setup_context=_setup)


def build(lmax: int, mmax: int) -> Callable:
    def so2_conv(x: Tensor, edge_index: Tensor, D: Tensor, radial: Tensor, weight: Tensor, size: int) -> Tensor:
        source, destination = edge_index
        place = radial_of_row(lmax, mmax, dtype=torch.int64, device=x.device)
        h = scaled_gather(x, source, D, radial, place, lmax, mmax)
        return scatter(so2_linear(h, weight, lmax, mmax), destination, D, size, lmax, mmax)

    return so2_conv
