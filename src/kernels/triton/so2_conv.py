"""eSCN's convolution: turned in and scaled by one kernel, mixed by the library's products, turned back and summed."""

from collections.abc import Callable

import torch
import triton
import triton.language as tl
from torch import Tensor

from ..m_layout import m_rows
from ..so2 import radial_of_row, so2_linear
from .launch import jit, tuned
from .rotate import CHOICES, _sizes, gather, outer, row_of, scatter


@tuned(*CHOICES, key=["channels", "LMAX"])
@jit
def _scaled_gather_kernel(
    x, index, D, radial, place, out, edges, channels, rows, scales,
    LMAX: tl.constexpr, MMAX: tl.constexpr, PACKED: tl.constexpr, ACC: tl.constexpr,
    CHANNELS: tl.constexpr, EDGES: tl.constexpr,
):  # fmt: skip
    """As `_gather_kernel` of rotate.py; each row is multiplied by the radial weight at its `place`."""
    edge = tl.program_id(0).to(tl.int64) * EDGES + tl.arange(0, EDGES)
    channel = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)
    exists = edge < edges
    live = exists[:, None] & (channel < channels)[None, :]
    node = tl.load(index + edge, exists, 0).to(tl.int64)
    source = x + node[:, None] * ((LMAX + 1) * (LMAX + 1) * channels) + channel[None, :]
    scale = radial + edge[:, None] * (scales * channels) + channel[None, :]
    target = out + edge[:, None] * (rows * channels) + channel[None, :]
    matrix = D + edge * PACKED
    for degree in tl.static_range(LMAX + 1):
        parts = ()
        for b in tl.static_range(2 * degree + 1):
            parts = parts + (tl.load(source + (degree * degree + b) * channels, live, 0).to(ACC),)
        for m in range(-min(degree, MMAX), min(degree, MMAX) + 1):
            block = matrix + degree * (4 * degree * degree - 1) // 3 + (degree + m) * (2 * degree + 1)
            total = tl.zeros([EDGES, CHANNELS], ACC)
            for b in tl.static_range(2 * degree + 1):
                total += tl.load(block + b, exists, 0).to(ACC)[:, None] * parts[b]
            row = row_of(degree, m, LMAX)
            total *= tl.load(scale + tl.load(place + row) * channels, live, 0).to(ACC)
            tl.store(target + row * channels, total.to(out.dtype.element_ty), live)


@torch.library.custom_op("erlangen::scaled_rotate_gather", mutates_args=())
def scaled_gather(x: Tensor, index: Tensor, D: Tensor, radial: Tensor, place: Tensor, lmax: int, mmax: int) -> Tensor:
    """D x[index], m-major, each row times the radial weight at its `place`: (edges, rows, channels)."""
    x, index, D, radial = x.contiguous(), index.contiguous(), D.contiguous(), radial.contiguous()
    edges, channels, rows = D.shape[0], x.shape[2], m_rows(lmax, mmax)
    out = x.new_empty(edges, rows, channels)
    if out.numel():
        sizes = _sizes(lmax, mmax, channels, x.dtype)
        columns = triton.cdiv(channels, sizes["CHANNELS"])
        with torch.cuda.device_of(out):
            _scaled_gather_kernel[lambda meta: (triton.cdiv(edges, meta["EDGES"]), columns)](
                x, index, D, radial, place, out, edges, channels, rows, radial.shape[1], **sizes
            )
    return out


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
