"""Softmax over segments: one program a segment, which reads its logits twice and writes its weights once."""

from collections.abc import Callable
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from .launch import accumulator, jit, lanes, tuned
from .segments import csr

CHOICES = [{"ROWS": rows, "num_warps": warps} for rows, warps in ((32, 1), (16, 1), (64, 2), (128, 4))]


@tuned(*CHOICES, key=["heads"])
@jit
def _forward_kernel(logits, order, rowptr, out, heads, ACC: tl.constexpr, HEADS: tl.constexpr, ROWS: tl.constexpr):
    """A running maximum and a running sum, rescaled whenever the maximum rises; then the weights."""
    segment = tl.program_id(0)
    head = tl.program_id(1) * HEADS + tl.arange(0, HEADS)
    begin, end = tl.load(rowptr + segment), tl.load(rowptr + segment + 1)
    top = tl.full([HEADS], float("-inf"), ACC)
    total = tl.zeros([HEADS], ACC)
    for start in range(begin, end, ROWS):
        at = start + tl.arange(0, ROWS)
        edge = tl.load(order + at, at < end, 0)
        live = (at < end)[:, None] & (head < heads)[None, :]
        value = tl.load(logits + edge[:, None] * heads + head[None, :], live, float("-inf")).to(ACC)
        higher = tl.maximum(top, tl.max(value, 0))
        base = tl.where(higher == float("-inf"), 0.0, higher)  # a segment may be masked as a whole
        total = total * tl.exp(top - base) + tl.sum(tl.exp(value - base[None, :]), 0)
        top = higher
    base = tl.where(top == float("-inf"), 0.0, top)
    total = tl.where(total == 0, 1.0, total)
    for start in range(begin, end, ROWS):
        at = start + tl.arange(0, ROWS)
        edge = tl.load(order + at, at < end, 0)
        live = (at < end)[:, None] & (head < heads)[None, :]
        where = edge[:, None] * heads + head[None, :]
        value = tl.load(logits + where, live, float("-inf")).to(ACC)
        weight = tl.exp(value - base[None, :]) / total[None, :]
        tl.store(out + where, weight.to(out.dtype.element_ty), live)


@tuned(*CHOICES, key=["heads"])
@jit
def _backward_kernel(
    gradient, weight, order, rowptr, out, heads, ACC: tl.constexpr, HEADS: tl.constexpr, ROWS: tl.constexpr
):
    """p (g - sum over the segment of p g)."""
    segment = tl.program_id(0)
    head = tl.program_id(1) * HEADS + tl.arange(0, HEADS)
    begin, end = tl.load(rowptr + segment), tl.load(rowptr + segment + 1)
    total = tl.zeros([HEADS], ACC)
    for start in range(begin, end, ROWS):
        at = start + tl.arange(0, ROWS)
        edge = tl.load(order + at, at < end, 0)
        live = (at < end)[:, None] & (head < heads)[None, :]
        where = edge[:, None] * heads + head[None, :]
        total += tl.sum(tl.load(gradient + where, live, 0).to(ACC) * tl.load(weight + where, live, 0).to(ACC), 0)
    for start in range(begin, end, ROWS):
        at = start + tl.arange(0, ROWS)
        edge = tl.load(order + at, at < end, 0)
        live = (at < end)[:, None] & (head < heads)[None, :]
        where = edge[:, None] * heads + head[None, :]
        g, p = tl.load(gradient + where, live, 0).to(ACC), tl.load(weight + where, live, 0).to(ACC)
        tl.store(out + where, (p * (g - total[None, :])).to(out.dtype.element_ty), live)


def _launch(kernel: Any, inputs: tuple[Tensor, ...], order: Tensor, rowptr: Tensor) -> Tensor:
    inputs = [tensor.contiguous() for tensor in inputs]
    out = torch.empty_like(inputs[0])
    heads, wide = out.shape[1], lanes(out.shape[1], 16)
    if out.numel():
        grid = (rowptr.shape[0] - 1, triton.cdiv(heads, wide))
        with torch.cuda.device_of(out):
            kernel[grid](*inputs, order, rowptr, out, heads, ACC=accumulator(out.dtype), HEADS=wide)
    return out


@torch.library.custom_op("erlangen::segment_softmax", mutates_args=())
def csr_softmax(logits: Tensor, index: Tensor, order: Tensor, rowptr: Tensor) -> Tensor:
    """Over the rows order[rowptr[i]:rowptr[i + 1]] of each segment i."""
    return _launch(_forward_kernel, (logits,), order, rowptr)


@torch.library.custom_op("erlangen::segment_softmax_pullback", mutates_args=())
def csr_softmax_pullback(gradient: Tensor, weight: Tensor, index: Tensor, order: Tensor, rowptr: Tensor) -> Tensor:
    """p (g - sum over the segment of p g): linear and symmetric in g."""
    return _launch(_backward_kernel, (gradient, weight), order, rowptr)


@csr_softmax.register_fake
@csr_softmax_pullback.register_fake
def _(first, *others):
    return torch.empty_like(first, memory_format=torch.contiguous_format)


def _softmax_setup(ctx, inputs, output):
    ctx.save_for_backward(output, *inputs[1:])


def _softmax_backward(ctx, gradient):
    return csr_softmax_pullback(gradient, *ctx.saved_tensors), None, None, None


def _pullback_setup(ctx, inputs, output):
    ctx.save_for_backward(*inputs)


def _pullback_backward(ctx, cotangent):
    """With h the cotangent: p (h - sum p h) for g, and h (g - sum p g) - g sum p h for p."""
    g, p, index, order, rowptr = ctx.saved_tensors
    first = csr_softmax_pullback(cotangent, p, index, order, rowptr) if ctx.needs_input_grad[0] else None
    second = None
    if ctx.needs_input_grad[1]:

        def spread(values: Tensor) -> Tensor:
            sums = values.new_zeros(rowptr.shape[0] - 1, values.shape[1]).index_add(0, index, values)
            return sums.index_select(0, index)

        second = cotangent * (g - spread(p * g)) - g * spread(p * cotangent)
    return first, second, None, None, None


csr_softmax.register_autograd(_softmax_backward, setup_context=_softmax_setup)
csr_softmax_pullback.register_autograd(_pullback_backward, setup_context=_pullback_setup)


def build() -> Callable:
    def softmax(logits: Tensor, index: Tensor, size: int) -> Tensor:
        return csr_softmax(logits, index, *csr(index, size))

    return softmax
