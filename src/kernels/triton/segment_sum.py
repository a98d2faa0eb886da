"""Sums over segments: one program a segment, so that the order of additions is fixed."""

from collections.abc import Callable
from math import prod

import torch
import triton
import triton.language as tl
from torch import Tensor

from .launch import accumulator, jit, lanes, tuned
from .segments import csr, edges_at


@tuned(
    *({"ROWS": rows, "num_warps": warps} for rows, warps in ((8, 1), (4, 1), (8, 4), (32, 4), (128, 4))),
    key=["channels"],
)
@jit
def _sum_kernel(values, order, rowptr, out, channels, ACC: tl.constexpr, CHANNELS: tl.constexpr, ROWS: tl.constexpr):
    segment = tl.program_id(0)
    channel = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)
    begin, end = tl.load(rowptr + segment), tl.load(rowptr + segment + 1)
    total = tl.zeros([ROWS, CHANNELS], ACC)
    for start in range(begin, end, ROWS):
        edge, exists = edges_at(order, start, end, ROWS)
        live = exists[:, None] & (channel < channels)[None, :]
        total += tl.load(values + edge[:, None] * channels + channel[None, :], live, 0).to(ACC)
    target = out + segment.to(tl.int64) * channels + channel
    tl.store(target, tl.sum(total, 0).to(out.dtype.element_ty), channel < channels)


@torch.library.custom_op("erlangen::segment_sum", mutates_args=())
def total(values: Tensor, index: Tensor, order: Tensor, rowptr: Tensor) -> Tensor:
    """The sums of the rows with each index: (size, *channels)."""
    values = values.contiguous()
    out = values.new_empty(rowptr.shape[0] - 1, *values.shape[1:])
    if out.numel():
        channels = prod(values.shape[1:])
        wide = lanes(channels)
        with torch.cuda.device_of(out):
            _sum_kernel[(out.shape[0], triton.cdiv(channels, wide))](
                values, order, rowptr, out, channels, ACC=accumulator(out.dtype), CHANNELS=wide
            )
    return out


@torch.library.custom_op("erlangen::segment_spread", mutates_args=())
def spread(values: Tensor, index: Tensor, order: Tensor, rowptr: Tensor) -> Tensor:
    """Its transpose, values[index]: that this is an operation of its own keeps its gradient from being summed at random."""
    return values.index_select(0, index)


@total.register_fake
def _(values, index, order, rowptr):
    return values.new_empty(rowptr.shape[0] - 1, *values.shape[1:])


@spread.register_fake
def _(values, index, order, rowptr):
    return values.new_empty(index.shape[0], *values.shape[1:])


def _setup(ctx, inputs, output):
    ctx.save_for_backward(*inputs[1:])


def _total_backward(ctx, gradient):
    return spread(gradient, *ctx.saved_tensors), None, None, None


def _spread_backward(ctx, gradient):
    return total(gradient, *ctx.saved_tensors), None, None, None


total.register_autograd(_total_backward, setup_context=_setup)
spread.register_autograd(_spread_backward, setup_context=_setup)


def build() -> Callable:
    def segment_sum(values: Tensor, index: Tensor, size: int) -> Tensor:
        return total(values, index, *csr(index, size))

    return segment_sum
