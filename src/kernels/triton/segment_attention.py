"""Attention over segments: softmax and weighted sum in one pass over a segment's edges, with neither weights nor weighted
values written (the running maximum of FlashAttention, arXiv:2205.14135). The backward pass makes the weights again.
"""

from collections.abc import Callable

import torch
import triton
import triton.language as tl
from torch import Tensor

from .launch import accumulator, jit, lanes, tuned
from .segment_softmax import csr_softmax, csr_softmax_pullback
from .segment_sum import spread, total
from .segments import csr, edges_at

CHOICES = [{"ROWS": rows, "num_warps": warps} for rows, warps in ((8, 1), (4, 1), (8, 4), (32, 4))]


@tuned(*CHOICES, key=["heads", "channels"])
@jit
def _attention_kernel(
    logits, values, order, rowptr, out, top, weight, heads, channels,
    ACC: tl.constexpr, HEADS: tl.constexpr, CHANNELS: tl.constexpr, ROWS: tl.constexpr,
):  # fmt: skip
    """The sums so far are rescaled whenever the maximum rises; `top` and `weight` are the maximum and the weights' sum."""
    segment = tl.program_id(0)
    head = tl.program_id(1) * HEADS + tl.arange(0, HEADS)
    channel = tl.program_id(2) * CHANNELS + tl.arange(0, CHANNELS)
    begin, end = tl.load(rowptr + segment), tl.load(rowptr + segment + 1)
    inside = (head < heads)[:, None] & (channel < channels)[None, :]
    column = head[:, None] * channels + channel[None, :]
    highest = tl.full([HEADS], float("-inf"), ACC)
    base, sum_weight = tl.zeros([HEADS], ACC), tl.zeros([HEADS], ACC)
    sum_value = tl.zeros([HEADS, CHANNELS], ACC)
    for start in range(begin, end, ROWS):
        edge, exists = edges_at(order, start, end, ROWS)
        live = exists[:, None] & (head < heads)[None, :]
        logit = tl.load(logits + edge[:, None] * heads + head[None, :], live, float("-inf")).to(ACC)
        higher = tl.maximum(highest, tl.max(logit, 0))
        base = tl.where(higher == float("-inf"), 0.0, higher)  # a segment may be masked as a whole
        p, fade = tl.exp(logit - base[None, :]), tl.exp(highest - base)
        source = values + edge[:, None, None] * (heads * channels) + column[None, :, :]
        value = tl.load(source, exists[:, None, None] & inside[None, :, :], 0).to(ACC)
        sum_weight = sum_weight * fade + tl.sum(p, 0)
        sum_value = sum_value * fade[:, None] + tl.sum(p[:, :, None] * value, 0)
        highest = higher
    sum_weight = tl.where(sum_weight == 0, 1.0, sum_weight)
    node = segment.to(tl.int64)
    mean = sum_value / sum_weight[:, None]
    tl.store(out + node * (heads * channels) + column, mean.to(out.dtype.element_ty), inside)
    tl.store(top + node * heads + head, base, head < heads)
    tl.store(weight + node * heads + head, sum_weight, head < heads)


@tuned(*CHOICES, key=["heads", "channels"])
@jit
def _attention_pullback_kernel(
    gradient, logits, values, order, rowptr, out, top, weight, of_logits, of_values, heads, channels,
    ACC: tl.constexpr, HEADS: tl.constexpr, CHANNELS: tl.constexpr, ROWS: tl.constexpr,
):  # fmt: skip
    """With g the node's gradient: p g for a value v, and p (v . g - out . g) for a logit."""
    segment = tl.program_id(0)
    node = segment.to(tl.int64)
    head = tl.program_id(1) * HEADS + tl.arange(0, HEADS)
    begin, end = tl.load(rowptr + segment), tl.load(rowptr + segment + 1)
    base = tl.load(top + node * heads + head, head < heads, 0)
    sum_weight = tl.load(weight + node * heads + head, head < heads, 1)
    mean = tl.zeros([HEADS], ACC)
    for first in range(0, channels, CHANNELS):
        channel = first + tl.arange(0, CHANNELS)
        inside = (head < heads)[:, None] & (channel < channels)[None, :]
        at = node * (heads * channels) + head[:, None] * channels + channel[None, :]
        g = tl.load(gradient + at, inside, 0).to(ACC)
        mean += tl.sum(tl.load(out + at, inside, 0).to(ACC) * g, 1)
    for start in range(begin, end, ROWS):
        edge, exists = edges_at(order, start, end, ROWS)
        live = exists[:, None] & (head < heads)[None, :]
        where = edge[:, None] * heads + head[None, :]
        p = tl.exp(tl.load(logits + where, live, float("-inf")).to(ACC) - base[None, :]) / sum_weight[None, :]
        slope = tl.zeros([ROWS, HEADS], ACC)
        for first in range(0, channels, CHANNELS):
            channel = first + tl.arange(0, CHANNELS)
            inside = (head < heads)[:, None] & (channel < channels)[None, :]
            column = head[:, None] * channels + channel[None, :]
            g = tl.load(gradient + node * (heads * channels) + column, inside, 0).to(ACC)
            at = edge[:, None, None] * (heads * channels) + column[None, :, :]
            there = exists[:, None, None] & inside[None, :, :]
            slope += tl.sum(tl.load(values + at, there, 0).to(ACC) * g[None, :, :], 2)
            tl.store(of_values + at, (p[:, :, None] * g[None, :, :]).to(of_values.dtype.element_ty), there)
        tl.store(of_logits + where, (p * (slope - mean[None, :])).to(of_logits.dtype.element_ty), live)


def _sizes(values: Tensor) -> dict:
    """HEADS by CHANNELS is what a program keeps of an edge: at most 256 numbers."""
    _, heads, channels = values.shape
    wide = lanes(channels)
    sizes = {"heads": heads, "channels": channels, "ACC": accumulator(values.dtype)}
    return sizes | {"HEADS": lanes(heads, 256 // wide), "CHANNELS": wide}


@torch.library.custom_op("erlangen::segment_attention", mutates_args=())
def _attention(
    logits: Tensor, values: Tensor, index: Tensor, order: Tensor, rowptr: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """The weighted means, and for each segment and head what was subtracted from the logits and the sum of the weights."""
    logits, values = logits.contiguous(), values.contiguous()
    out, top, weight = _outputs(logits, values, rowptr)
    if out.numel():
        sizes = _sizes(values)
        columns = triton.cdiv(sizes["heads"], sizes["HEADS"]), triton.cdiv(sizes["channels"], sizes["CHANNELS"])
        with torch.cuda.device_of(out):
            _attention_kernel[(out.shape[0], *columns)](logits, values, order, rowptr, out, top, weight, **sizes)
    return out, top, weight


def _outputs(logits: Tensor, values: Tensor, rowptr: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    size, kind = rowptr.shape[0] - 1, torch.promote_types(logits.dtype, torch.float32)
    top = logits.new_empty(size, logits.shape[1], dtype=kind)
    return values.new_empty(size, *values.shape[1:]), top, torch.empty_like(top)


@torch.library.custom_op("erlangen::segment_attention_pullback", mutates_args=())
def _pullback(
    gradient: Tensor,
    logits: Tensor,
    values: Tensor,
    index: Tensor,
    order: Tensor,
    rowptr: Tensor,
    out: Tensor,
    top: Tensor,
    weight: Tensor,
) -> tuple[Tensor, Tensor]:
    """The gradients of the logits and of the values."""
    gradient, logits, values = gradient.contiguous(), logits.contiguous(), values.contiguous()
    of_logits, of_values = torch.zeros_like(logits), torch.empty_like(values)  # there may be no channels
    if values.numel():
        sizes = _sizes(values)
        with torch.cuda.device_of(out):
            _attention_pullback_kernel[(out.shape[0], triton.cdiv(sizes["heads"], sizes["HEADS"]))](
                gradient, logits, values, order, rowptr, out, top, weight, of_logits, of_values, **sizes
            )
    return of_logits, of_values


@_attention.register_fake
def _(logits, values, index, order, rowptr):
    return _outputs(logits, values, rowptr)


@_pullback.register_fake
def _(gradient, logits, values, *others):
    return tuple(torch.empty_like(t, memory_format=torch.contiguous_format) for t in (logits, values))


def _attention_setup(ctx, inputs, output):
    ctx.save_for_backward(*inputs, *output)
    ctx.mark_non_differentiable(*output[1:])


def _attention_backward(ctx, gradient, *_):
    *inputs, out, top, weight = ctx.saved_tensors
    return *_pullback(gradient, *inputs, out.detach(), top, weight), None, None, None


def _pullback_setup(ctx, inputs, output):
    ctx.save_for_backward(*inputs[:6])


def _pullback_backward(ctx, by_logits, by_values):
    """With a and b the cotangents, u = v . g, and k = a - sum p a: sum p (k v + b) for g; p k g for a value; and for a
    logit p (t - sum p t), t = k u + b . g - a sum p u, where all sums go over its segment.
    """
    gradient, logits, values, *segments = ctx.saved_tensors
    p, g = csr_softmax(logits, *segments), spread(gradient, *segments)
    u, b_g = (values * g).sum(-1), (by_values * g).sum(-1)

    def mean(rows: Tensor) -> Tensor:
        return spread(total(p * rows, *segments), *segments)

    k = by_logits - mean(by_logits)
    of_gradient = total(p.unsqueeze(-1) * (k.unsqueeze(-1) * values + by_values), *segments)
    of_logits = csr_softmax_pullback(k * u + b_g - by_logits * mean(u), p, *segments)
    return of_gradient, of_logits, (p * k).unsqueeze(-1) * g, *[None] * 6


_attention.register_autograd(_attention_backward, setup_context=_attention_setup)
_pullback.register_autograd(_pullback_backward, setup_context=_pullback_setup)


def build() -> Callable:
    def attention(logits: Tensor, values: Tensor, index: Tensor, size: int) -> Tensor:
        return _attention(logits, values, index, *csr(index, size))[0]

    return attention
