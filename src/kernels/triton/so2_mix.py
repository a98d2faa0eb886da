"""The depthwise SO(2) product in the frames of edges, its weights given or made on the spot from a radial network.

The form is the sum over edges, pairs p and channels c of w[p, c] times what pair p makes of the message x and of the
cotangent y (so2.py); with a radial network w[p, c] = sum over k of hidden[k] layer[k, p, c], and the weights, by far the
largest tensor, are never written. As the form is linear in each factor, its derivatives are the form without another
factor: `mix` lacks y or, transposed, x; `outer` lacks w; `to_hidden` and `to_layer` lack the two factors of w.
"""

import numpy as np
import torch
import triton
import triton.language as tl
from torch import Tensor

from ...geometry.tables import constant_table
from ..m_layout import degrees, m_slices
from ..so2 import pair_slices, pairs
from .launch import accumulator, dot, jit, lanes, precision, tuned


@constant_table
def _slots(lmax: int, mmax: int) -> np.ndarray:
    """For each order m and degree i that has it: n_m, i, the row of the first +m, and of the first -m, its pairs, m > 0."""
    starts, parts = m_slices(lmax, mmax), pair_slices(lmax, mmax)
    return np.array(
        [
            (n, i, starts[m].start, starts[m].start + (n if m else 0), parts[m].start, m > 0)
            for m, n in enumerate(degrees(lmax, mmax))
            for i in range(n)
        ]
    )


@constant_table
def _products(lmax: int, mmax: int) -> np.ndarray:
    """For each pair the rows a, b, c, d and the sign s of y_a x_b + s y_c x_d, by which its weight is multiplied."""
    out = []
    for m, (n, rows) in enumerate(zip(degrees(lmax, mmax), m_slices(lmax, mmax), strict=True)):
        plus, minus = rows.start, rows.start + (n if m else 0)
        both = [(o, i) for o in range(n) for i in range(n)]
        out += [(plus + o, plus + i, minus + o, minus + i, int(m > 0)) for o, i in both]
        if m:
            out += [(minus + o, plus + i, plus + o, minus + i, -1) for o, i in both]
    return np.array(out)


@jit
def _weight(
    source, layer, edge, p, channel, live, inputs, channels,
    PAIRS: tl.constexpr, RADIAL: tl.constexpr, ACC: tl.constexpr, PRECISION: tl.constexpr, INPUTS: tl.constexpr,
):  # fmt: skip
    """The weights of pair p: read at `source`, or (RADIAL) the hidden features `source` times a slice of `layer`."""
    if RADIAL:
        k = tl.arange(0, INPUTS)
        there = (k < inputs)[:, None] & (channel < channels)[None, :]
        tile = tl.load(layer + (k[:, None] * PAIRS + p) * channels + channel[None, :], there, 0)
        weight = dot(source, tile, ACC, PRECISION)
    else:
        weight = tl.load(source + (edge[:, None] * PAIRS + p) * channels + channel[None, :], live, 0).to(ACC)
    return weight


CHOICES = [{"EDGES": edges, "num_warps": warps} for edges, warps in ((16, 4), (32, 8), (64, 4), (64, 8), (128, 8))]
KEY = ["channels", "PAIRS", "RADIAL"]


@tuned(*CHOICES, key=KEY)
@jit
def _mix_kernel(
    x, weight, layer, slots, out, edges, channels, rows, inputs,
    PAIRS: tl.constexpr, TRANSPOSE: tl.constexpr, RADIAL: tl.constexpr, ACC: tl.constexpr, PRECISION: tl.constexpr,
    INPUTS: tl.constexpr, CHANNELS: tl.constexpr, EDGES: tl.constexpr,
):  # fmt: skip
    """One degree and order out, both signs of the order, for EDGES edges and CHANNELS channels a program."""
    edge = tl.program_id(0).to(tl.int64) * EDGES + tl.arange(0, EDGES)
    channel = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)
    exists = edge < edges
    live = exists[:, None] & (channel < channels)[None, :]
    slot = slots + 6 * tl.program_id(2)
    n, i, plus, minus = tl.load(slot), tl.load(slot + 1), tl.load(slot + 2), tl.load(slot + 3)
    start, signed = tl.load(slot + 4), tl.load(slot + 5)
    if RADIAL:
        k = tl.arange(0, INPUTS)
        source = tl.load(weight + edge[:, None] * inputs + k[None, :], exists[:, None] & (k < inputs)[None, :], 0)
    else:
        source = weight
    row = edge[:, None] * (rows * channels) + channel[None, :]
    upper, lower = tl.zeros([EDGES, CHANNELS], ACC), tl.zeros([EDGES, CHANNELS], ACC)
    for j in range(n):
        p = start + (j * n + i if TRANSPOSE else i * n + j)
        real = _weight(source, layer, edge, p, channel, live, inputs, channels, PAIRS, RADIAL, ACC, PRECISION, INPUTS)
        a = tl.load(x + row + (plus + j) * channels, live, 0).to(ACC)
        upper += real * a
        if signed > 0:
            imaginary = _weight(
                source, layer, edge, p + n * n, channel, live, inputs, channels, PAIRS, RADIAL, ACC, PRECISION, INPUTS
            )
            imaginary = -imaginary if TRANSPOSE else imaginary
            b = tl.load(x + row + (minus + j) * channels, live, 0).to(ACC)
            upper -= imaginary * b
            lower += real * b + imaginary * a
    tl.store(out + row + (plus + i) * channels, upper.to(out.dtype.element_ty), live)
    if signed > 0:
        tl.store(out + row + (minus + i) * channels, lower.to(out.dtype.element_ty), live)


@jit
def _product(y, x, product, row, live, channels, ACC: tl.constexpr):
    """By what the weight of a pair is multiplied, `product` its row of the table."""
    a, b, c, d = tl.load(product), tl.load(product + 1), tl.load(product + 2), tl.load(product + 3)
    first = tl.load(y + row + a * channels, live, 0).to(ACC) * tl.load(x + row + b * channels, live, 0).to(ACC)
    second = tl.load(y + row + c * channels, live, 0).to(ACC) * tl.load(x + row + d * channels, live, 0).to(ACC)
    return first + tl.load(product + 4).to(ACC) * second


@tuned(*CHOICES, key=KEY[:2])
@jit
def _outer_kernel(
    y, x, products, out, edges, channels, rows,
    PAIRS: tl.constexpr, ACC: tl.constexpr, CHANNELS: tl.constexpr, EDGES: tl.constexpr,
):  # fmt: skip
    """The gradient of the weights, one pair a program."""
    edge = tl.program_id(0).to(tl.int64) * EDGES + tl.arange(0, EDGES)
    channel = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)
    live = (edge < edges)[:, None] & (channel < channels)[None, :]
    row = edge[:, None] * (rows * channels) + channel[None, :]
    p = tl.program_id(2)
    value = _product(y, x, products + 5 * p, row, live, channels, ACC)
    tl.store(out + (edge[:, None] * PAIRS + p) * channels + channel[None, :], value.to(out.dtype.element_ty), live)


@tuned(*CHOICES, key=KEY[:2])
@jit
def _to_hidden_kernel(
    y, x, layer, products, out, edges, channels, rows, inputs,
    PAIRS: tl.constexpr, ACC: tl.constexpr, PRECISION: tl.constexpr,
    INPUTS: tl.constexpr, CHANNELS: tl.constexpr, EDGES: tl.constexpr,
):  # fmt: skip
    """The gradient of the hidden features: a product with the layer, summed over pairs and channels."""
    edge = tl.program_id(0).to(tl.int64) * EDGES + tl.arange(0, EDGES)
    k = tl.arange(0, INPUTS)
    total = tl.zeros([EDGES, INPUTS], ACC)
    for begin in range(0, channels, CHANNELS):
        channel = begin + tl.arange(0, CHANNELS)
        live = (edge < edges)[:, None] & (channel < channels)[None, :]
        there = (channel < channels)[:, None] & (k < inputs)[None, :]
        row = edge[:, None] * (rows * channels) + channel[None, :]
        for p in range(PAIRS):
            value = _product(y, x, products + 5 * p, row, live, channels, ACC)
            tile = tl.load(layer + (k[None, :] * PAIRS + p) * channels + channel[:, None], there, 0)
            total += dot(value.to(tile.dtype), tile, ACC, PRECISION)
    there = (edge < edges)[:, None] & (k < inputs)[None, :]
    tl.store(out + edge[:, None] * inputs + k[None, :], total.to(out.dtype.element_ty), there)


@tuned(*CHOICES, key=KEY[:2])
@jit
def _to_layer_kernel(
    y, x, hidden, products, out, edges, channels, rows, inputs,
    PAIRS: tl.constexpr, ACC: tl.constexpr, PRECISION: tl.constexpr,
    INPUTS: tl.constexpr, CHANNELS: tl.constexpr, EDGES: tl.constexpr,
):  # fmt: skip
    """The gradient of the layer, one pair and a share of the edges a program; `out` has a part for each share."""
    p, channel = tl.program_id(0), tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)
    k = tl.arange(0, INPUTS)
    total = tl.zeros([INPUTS, CHANNELS], ACC)
    for begin in range(tl.program_id(2) * EDGES, edges, tl.num_programs(2) * EDGES):
        edge = (begin + tl.arange(0, EDGES)).to(tl.int64)
        live = (edge < edges)[:, None] & (channel < channels)[None, :]
        row = edge[:, None] * (rows * channels) + channel[None, :]
        value = _product(y, x, products + 5 * p, row, live, channels, ACC)
        there = (k < inputs)[:, None] & (edge < edges)[None, :]
        tile = tl.load(hidden + edge[None, :] * inputs + k[:, None], there, 0)
        total += dot(tile, value.to(tile.dtype), ACC, PRECISION)
    there = (k < inputs)[:, None] & (channel < channels)[None, :]
    at = ((tl.program_id(2).to(tl.int64) * inputs + k[:, None]) * PAIRS + p) * channels + channel[None, :]
    tl.store(out + at, total, there)


def _sizes(x: Tensor, lmax: int, mmax: int) -> dict:
    return {"PAIRS": pairs(lmax, mmax), "ACC": accumulator(x.dtype), "CHANNELS": lanes(x.shape[2], 32, 16)}


def _table(table, x: Tensor, lmax: int, mmax: int) -> Tensor:
    return table(lmax, mmax, dtype=torch.int32, device=x.device)


@torch.library.custom_op("erlangen::so2_mix", mutates_args=())
def mix(x: Tensor, weight: Tensor, layer: Tensor | None, lmax: int, mmax: int, transpose: bool) -> Tensor:
    """`so2_diagonal` of m-major messages, or its transpose: (edges, rows, channels).

    `weight` (edges, pairs, channels); with a `layer` (inputs, pairs, channels) it is (edges, inputs), to be multiplied.
    """
    x, weight, layer = x.contiguous(), weight.contiguous(), None if layer is None else layer.contiguous()
    edges, rows, channels = x.shape
    out = torch.empty_like(x)
    if out.numel():
        sizes = _sizes(x, lmax, mmax)
        slots = _table(_slots, x, lmax, mmax)
        columns = triton.cdiv(channels, sizes["CHANNELS"])
        with torch.cuda.device_of(out):
            _mix_kernel[lambda meta: (triton.cdiv(edges, meta["EDGES"]), columns, slots.shape[0])](
                x, weight, layer, slots, out, edges, channels, rows, weight.shape[1],
                TRANSPOSE=transpose, RADIAL=layer is not None, PRECISION=precision(),
                INPUTS=lanes(weight.shape[1], least=16, most=1024) if layer is not None else 1, **sizes,
            )  # fmt: skip
    return out


@torch.library.custom_op("erlangen::so2_outer", mutates_args=())
def outer(y: Tensor, x: Tensor, lmax: int, mmax: int) -> Tensor:
    """(edges, pairs, channels)."""
    y, x = y.contiguous(), x.contiguous()
    edges, rows, channels = x.shape
    out = x.new_empty(edges, pairs(lmax, mmax), channels)
    if out.numel():
        sizes = _sizes(x, lmax, mmax)
        columns = triton.cdiv(channels, sizes["CHANNELS"])
        with torch.cuda.device_of(out):
            _outer_kernel[lambda meta: (triton.cdiv(edges, meta["EDGES"]), columns, sizes["PAIRS"])](
                y, x, _table(_products, x, lmax, mmax), out, edges, channels, rows, **sizes
            )
    return out


@torch.library.custom_op("erlangen::so2_to_hidden", mutates_args=())
def to_hidden(y: Tensor, x: Tensor, layer: Tensor, lmax: int, mmax: int) -> Tensor:
    """(edges, inputs)."""
    y, x, layer = y.contiguous(), x.contiguous(), layer.contiguous()
    edges, rows, channels = x.shape
    inputs = layer.shape[0]
    out = x.new_empty(edges, inputs)
    if out.numel():
        with torch.cuda.device_of(out):
            _to_hidden_kernel[lambda meta: (triton.cdiv(edges, meta["EDGES"]),)](
                y, x, layer, _table(_products, x, lmax, mmax), out, edges, channels, rows, inputs,
                INPUTS=lanes(inputs, least=16, most=1024), PRECISION=precision(), **_sizes(x, lmax, mmax),
            )  # fmt: skip
    return out


SHARE = 4096  # edges that one program sums: few enough for a GPU to be full, many enough for few parts


@torch.library.custom_op("erlangen::so2_to_layer", mutates_args=())
def to_layer(y: Tensor, x: Tensor, hidden: Tensor, lmax: int, mmax: int) -> Tensor:
    """(inputs, pairs, channels)."""
    y, x, hidden = y.contiguous(), x.contiguous(), hidden.contiguous()
    edges, rows, channels = x.shape
    inputs, sizes = hidden.shape[1], _sizes(x, lmax, mmax)
    parts = triton.cdiv(edges, SHARE)
    kind = torch.promote_types(x.dtype, torch.float32)
    out = x.new_empty(parts, inputs, sizes["PAIRS"], channels, dtype=kind)
    if out.numel():
        with torch.cuda.device_of(out):
            _to_layer_kernel[(sizes["PAIRS"], triton.cdiv(channels, sizes["CHANNELS"]), parts)](
                y, x, hidden, _table(_products, x, lmax, mmax), out, edges, channels, rows, inputs,
                INPUTS=lanes(inputs, least=16, most=1024), PRECISION=precision(), **sizes,
            )  # fmt: skip
    return out.sum(0).to(x.dtype)


@mix.register_fake
def _(x, weight, layer, lmax, mmax, transpose):
    return torch.empty_like(x, memory_format=torch.contiguous_format)


@outer.register_fake
def _(y, x, lmax, mmax):
    return x.new_empty(x.shape[0], pairs(lmax, mmax), x.shape[2])


@to_hidden.register_fake
def _(y, x, layer, lmax, mmax):
    return x.new_empty(x.shape[0], layer.shape[0])


@to_layer.register_fake
def _(y, x, hidden, lmax, mmax):
    return x.new_empty(hidden.shape[1], pairs(lmax, mmax), x.shape[2])


def _mix_setup(ctx, inputs, output):
    x, weight, layer, ctx.lmax, ctx.mmax, ctx.transpose = inputs
    ctx.save_for_backward(x, weight, layer)


def _mix_backward(ctx, gradient):
    first, weight, layer = ctx.saved_tensors
    orders = ctx.lmax, ctx.mmax
    y, x = (first, gradient) if ctx.transpose else (gradient, first)
    of_first = mix(gradient, weight, layer, *orders, not ctx.transpose) if ctx.needs_input_grad[0] else None
    of_weight = of_layer = None
    if ctx.needs_input_grad[1]:
        of_weight = outer(y, x, *orders) if layer is None else to_hidden(y, x, layer, *orders)
    if ctx.needs_input_grad[2]:
        of_layer = to_layer(y, x, weight, *orders)
    return of_first, of_weight, of_layer, None, None, None


def _setup(ctx, inputs, output):
    *tensors, ctx.lmax, ctx.mmax = inputs
    ctx.save_for_backward(*tensors)


def _of_messages(ctx, y, x, weight, layer) -> tuple[Tensor | None, Tensor | None]:
    """The gradients of y and x, the first two arguments of the operations below."""
    orders = ctx.lmax, ctx.mmax
    of_y = mix(x, weight, layer, *orders, False) if ctx.needs_input_grad[0] else None
    of_x = mix(y, weight, layer, *orders, True) if ctx.needs_input_grad[1] else None
    return of_y, of_x


def _outer_backward(ctx, gradient):
    return *_of_messages(ctx, *ctx.saved_tensors, gradient, None), None, None


def _to_hidden_backward(ctx, gradient):
    y, x, layer = ctx.saved_tensors
    of_layer = to_layer(y, x, gradient, ctx.lmax, ctx.mmax) if ctx.needs_input_grad[2] else None
    return *_of_messages(ctx, y, x, gradient, layer), of_layer, None, None


def _to_layer_backward(ctx, gradient):
    y, x, hidden = ctx.saved_tensors
    of_hidden = to_hidden(y, x, gradient, ctx.lmax, ctx.mmax) if ctx.needs_input_grad[2] else None
    return *_of_messages(ctx, y, x, hidden, gradient), of_hidden, None, None


mix.register_autograd(_mix_backward, setup_context=_mix_setup)
outer.register_autograd(_outer_backward, setup_context=_setup)
to_hidden.register_autograd(_to_hidden_backward, setup_context=_setup)
to_layer.register_autograd(_to_layer_backward, setup_context=_setup)
