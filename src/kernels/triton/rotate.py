"""Turning features into the frames of edges and back: three kernels that are each other's derivatives.

All are what is left of one trilinear form, the sum over edges of <y, D x[index]>, without one of its factors: `gather`
without y, `scatter` without x, `outer` without D. Wigner matrices stay packed, and their rows |m| > mmax are not read.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from ...geometry.wigner import packed_size
from ..m_layout import m_rows
from .launch import accumulator, jit, lanes, tuned
from .segments import csr


@jit
def row_of(degree, m, LMAX: tl.constexpr):
    """Where the order m of degree l stands in the m-major layout (m_layout.py)."""
    order = tl.abs(m)
    start = tl.where(m == 0, 0, LMAX + 1 + (order - 1) * (2 * LMAX + 2 - order))
    return start + degree - order + tl.where(m < 0, LMAX + 1 - order, 0)


CHOICES = [{"EDGES": edges, "num_warps": warps} for edges, warps in ((8, 4), (1, 1), (2, 1), (4, 2), (4, 4))]


@tuned(*CHOICES, key=["channels", "LMAX", "SCALED"])
@jit
def _gather_kernel(
    x, index, D, radial, place, out, edges, channels, rows, scales,
    SCALED: tl.constexpr,
    LMAX: tl.constexpr, MMAX: tl.constexpr, PACKED: tl.constexpr, ACC: tl.constexpr,
    CHANNELS: tl.constexpr, EDGES: tl.constexpr,
):  # fmt: skip
    """EDGES edges and CHANNELS channels a program: each feature is read once, each number of D is broadcast.

    If SCALED, each row is multiplied by the radial weight, one of `scales`, at its `place`.
    """
    edge = tl.program_id(0).to(tl.int64) * EDGES + tl.arange(0, EDGES)
    channel = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)
    exists = edge < edges
    live = exists[:, None] & (channel < channels)[None, :]
    node = tl.load(index + edge, exists, 0).to(tl.int64)
    source = x + node[:, None] * ((LMAX + 1) * (LMAX + 1) * channels) + channel[None, :]
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
            if SCALED:
                scale = radial + (edge[:, None] * scales + tl.load(place + row)) * channels + channel[None, :]
                total *= tl.load(scale, live, 0).to(ACC)
            tl.store(target + row * channels, total.to(out.dtype.element_ty), live)


@tuned(*CHOICES, key=["channels", "LMAX"])
@jit
def _scatter_kernel(
    y, order, rowptr, D, out, channels, rows,
    LMAX: tl.constexpr, MMAX: tl.constexpr, PACKED: tl.constexpr, ACC: tl.constexpr,
    CHANNELS: tl.constexpr, EDGES: tl.constexpr,
):  # fmt: skip
    """One node, one degree and CHANNELS channels a program, which runs over the edges of its node."""
    for degree in tl.static_range(LMAX + 1):
        if tl.program_id(2) == degree:
            _scatter_degree(y, order, rowptr, D, out, channels, rows, degree, LMAX, MMAX, PACKED, ACC, CHANNELS, EDGES)


@jit
def _scatter_degree(
    y, order, rowptr, D, out, channels, rows,
    degree: tl.constexpr, LMAX: tl.constexpr, MMAX: tl.constexpr, PACKED: tl.constexpr, ACC: tl.constexpr,
    CHANNELS: tl.constexpr, EDGES: tl.constexpr,
):  # fmt: skip
    node = tl.program_id(0)
    channel = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)
    begin, end = tl.load(rowptr + node), tl.load(rowptr + node + 1)
    sums = (tl.zeros([EDGES, CHANNELS], ACC),) * (2 * degree + 1)
    for start in range(begin, end, EDGES):
        at = start + tl.arange(0, EDGES)
        exists = at < end
        live = exists[:, None] & (channel < channels)[None, :]
        edge = tl.load(order + at, exists, 0).to(tl.int64)
        source = y + edge[:, None] * (rows * channels) + channel[None, :]
        matrix = D + edge * PACKED
        for m in range(-min(degree, MMAX), min(degree, MMAX) + 1):
            part = tl.load(source + row_of(degree, m, LMAX) * channels, live, 0).to(ACC)
            block = matrix + degree * (4 * degree * degree - 1) // 3 + (degree + m) * (2 * degree + 1)
            more = ()
            for b in tl.static_range(2 * degree + 1):
                more = more + (sums[b] + tl.load(block + b, exists, 0).to(ACC)[:, None] * part,)
            sums = more
    target = out + node.to(tl.int64) * ((LMAX + 1) * (LMAX + 1) * channels) + channel
    for b in tl.static_range(2 * degree + 1):
        tl.store(
            target + (degree * degree + b) * channels, tl.sum(sums[b], 0).to(out.dtype.element_ty), channel < channels
        )


@tuned(*CHOICES, key=["channels", "LMAX"])
@jit
def _outer_kernel(
    x, index, y, out, edges, channels, rows,
    LMAX: tl.constexpr, MMAX: tl.constexpr, PACKED: tl.constexpr, ACC: tl.constexpr,
    CHANNELS: tl.constexpr, EDGES: tl.constexpr,
):  # fmt: skip
    """The products y x^T summed over CHANNELS channels; `out` has a layer for each program along the channels."""
    edge = tl.program_id(0).to(tl.int64) * EDGES + tl.arange(0, EDGES)
    channel = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)
    exists = edge < edges
    live = exists[:, None] & (channel < channels)[None, :]
    node = tl.load(index + edge, exists, 0).to(tl.int64)
    left = y + edge[:, None] * (rows * channels) + channel[None, :]
    right = x + node[:, None] * ((LMAX + 1) * (LMAX + 1) * channels) + channel[None, :]
    target = out + (tl.program_id(1).to(tl.int64) * edges + edge) * PACKED
    for degree in tl.static_range(LMAX + 1):
        parts = ()
        for b in tl.static_range(2 * degree + 1):
            parts = parts + (tl.load(right + (degree * degree + b) * channels, live, 0).to(ACC),)
        for m in range(-min(degree, MMAX), min(degree, MMAX) + 1):
            row = tl.load(left + row_of(degree, m, LMAX) * channels, live, 0).to(ACC)
            block = target + degree * (4 * degree * degree - 1) // 3 + (degree + m) * (2 * degree + 1)
            for b in tl.static_range(2 * degree + 1):
                tl.store(block + b, tl.sum(row * parts[b], 1).to(out.dtype.element_ty), exists)


def _sizes(lmax: int, mmax: int, channels: int, dtype: torch.dtype) -> dict:
    return {
        "LMAX": lmax,
        "MMAX": mmax,
        "PACKED": packed_size(lmax),
        "ACC": accumulator(dtype),
        "CHANNELS": lanes(channels),
    }


@torch.library.custom_op("erlangen::rotate_gather", mutates_args=())
def gather(x: Tensor, index: Tensor, D: Tensor, lmax: int, mmax: int) -> Tensor:
    """D x[index], m-major: (edges, rows, channels)."""
    return gathered(x, index, D, None, None, lmax, mmax)


def gathered(
    x: Tensor, index: Tensor, D: Tensor, radial: Tensor | None, place: Tensor | None, lmax: int, mmax: int
) -> Tensor:
    """The same, times the radial weights (edges, scales, channels) at each row's `place` if there are any."""
    x, D, index = x.contiguous(), D.contiguous(), index.contiguous()
    edges, channels, rows = D.shape[0], x.shape[2], m_rows(lmax, mmax)
    scaled = radial is not None
    weights = (radial.contiguous(), place) if scaled else (x, index)  # which then are not read
    out = x.new_empty(edges, rows, channels)
    if out.numel():
        sizes = _sizes(lmax, mmax, channels, x.dtype)
        columns = triton.cdiv(channels, sizes["CHANNELS"])
        scales = radial.shape[1] if scaled else 0
        with torch.cuda.device_of(out):
            _gather_kernel[lambda meta: (triton.cdiv(edges, meta["EDGES"]), columns)](
                x, index, D, *weights, out, edges, channels, rows, scales, SCALED=scaled, **sizes
            )
    return out


@torch.library.custom_op("erlangen::rotate_scatter", mutates_args=())
def scatter(y: Tensor, index: Tensor, D: Tensor, size: int, lmax: int, mmax: int) -> Tensor:
    """The sum of D^T y over the edges with each index: (size, components, channels)."""
    y, D = y.contiguous(), D.contiguous()
    channels, rows = y.shape[2], m_rows(lmax, mmax)
    out = y.new_empty(size, (lmax + 1) ** 2, channels)
    if out.numel():
        sizes = _sizes(lmax, mmax, channels, y.dtype)
        with torch.cuda.device_of(out):
            _scatter_kernel[(size, triton.cdiv(channels, sizes["CHANNELS"]), lmax + 1)](
                y, *csr(index, size), D, out, channels, rows, **sizes
            )
    return out


@torch.library.custom_op("erlangen::rotate_outer", mutates_args=())
def outer(x: Tensor, index: Tensor, y: Tensor, lmax: int, mmax: int) -> Tensor:
    """y x[index]^T summed over channels, in the places of packed Wigner matrices: (edges, packed)."""
    x, y, index = x.contiguous(), y.contiguous(), index.contiguous()
    edges, rows, channels = y.shape
    sizes = _sizes(lmax, mmax, channels, x.dtype)
    columns = triton.cdiv(channels, sizes["CHANNELS"])
    # In what sums are kept, if several programs share them; zero where orders are left out.
    kind = x.dtype if columns == 1 else torch.promote_types(x.dtype, torch.float32)
    out = x.new_zeros(columns, edges, packed_size(lmax), dtype=kind)
    if out.numel():
        with torch.cuda.device_of(out):
            _outer_kernel[lambda meta: (triton.cdiv(edges, meta["EDGES"]), columns)](
                x, index, y, out, edges, channels, rows, **sizes
            )
    return out.sum(0).to(x.dtype)


@gather.register_fake
def _(x, index, D, lmax, mmax):
    return x.new_empty(D.shape[0], m_rows(lmax, mmax), x.shape[2])


@scatter.register_fake
def _(y, index, D, size, lmax, mmax):
    return y.new_empty(size, (lmax + 1) ** 2, y.shape[2])


@outer.register_fake
def _(x, index, y, lmax, mmax):
    return x.new_empty(y.shape[0], packed_size(lmax))


def _gather_setup(ctx, inputs, output):
    x, index, D, ctx.lmax, ctx.mmax = inputs
    ctx.size = x.shape[0]
    ctx.save_for_backward(x, index, D)


def _gather_backward(ctx, gradient):
    x, index, D = ctx.saved_tensors
    orders = ctx.lmax, ctx.mmax
    of_x = scatter(gradient, index, D, ctx.size, *orders) if ctx.needs_input_grad[0] else None
    of_D = outer(x, index, gradient, *orders) if ctx.needs_input_grad[2] else None
    return of_x, None, of_D, None, None


def _scatter_setup(ctx, inputs, output):
    y, index, D, _, ctx.lmax, ctx.mmax = inputs
    ctx.save_for_backward(y, index, D)


def _scatter_backward(ctx, gradient):
    y, index, D = ctx.saved_tensors
    orders = ctx.lmax, ctx.mmax
    of_y = gather(gradient, index, D, *orders) if ctx.needs_input_grad[0] else None
    of_D = outer(gradient, index, y, *orders) if ctx.needs_input_grad[2] else None
    return of_y, None, of_D, None, None, None


def _outer_setup(ctx, inputs, output):
    x, index, y, ctx.lmax, ctx.mmax = inputs
    ctx.size = x.shape[0]
    ctx.save_for_backward(x, index, y)


def _outer_backward(ctx, gradient):
    x, index, y = ctx.saved_tensors
    orders = ctx.lmax, ctx.mmax
    of_x = scatter(y, index, gradient, ctx.size, *orders) if ctx.needs_input_grad[0] else None
    of_y = gather(x, index, gradient, *orders) if ctx.needs_input_grad[2] else None
    return of_x, None, of_y, None, None


gather.register_autograd(_gather_backward, setup_context=_gather_setup)
scatter.register_autograd(_scatter_backward, setup_context=_scatter_setup)
outer.register_autograd(_outer_backward, setup_context=_outer_setup)
