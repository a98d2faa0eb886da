"""Real spherical harmonics by the recurrences of `erlangen.geometry.spherical_harmonics`, in registers.

Y_lm is P_lm(y, |r|^2) times the real or imaginary part of (z + i x)^|m|, and P_lm comes from the P of the same m: orders
lie across the lanes and never meet. The gradient carries the derivatives of P by its two arguments along, and so needs
neither the harmonics nor a second pass.
"""

from collections.abc import Callable
from math import sqrt

import numpy as np
import torch
import triton
import triton.language as tl
from torch import Tensor

from ...geometry.spherical_harmonics import normalization_scales, recurrence
from ...geometry.spherical_harmonics import spherical_harmonics as reference
from ...geometry.tables import constant_table
from .launch import accumulator, jit, lanes, tuned

CHOICES = [{"EDGES": edges, "num_warps": warps} for edges, warps in ((32, 4), (64, 4), (128, 8), (8, 1))]


@constant_table
def _table(lmax: int, width: int, normalization: str) -> np.ndarray:
    """a, b and c of P_lm = a y P_(l-1)m - b |r|^2 P_(l-2)m + c by degree and by column m + lmax, normalised.

    c is P_ll where |m| = l; all are zero where |m| > l, and so is P.
    """
    scales = normalization_scales(lmax, normalization)
    order = abs(np.arange(width) - lmax)
    out = np.zeros((lmax + 1, 3, width))
    out[0, 2, lmax] = scales[0]
    for degree in range(1, lmax + 1):
        rise, fall, top = np.split(recurrence(degree).numpy(), [degree, 2 * degree])
        inside = order < degree
        out[degree, 0, inside] = rise[order[inside]] * scales[degree] / scales[degree - 1]
        out[degree, 1, inside] = fall[order[inside]] * scales[degree] / scales[max(degree - 2, 0)]
        out[degree, 2, order == degree] = top * scales[degree]
    return out


@jit
def _vectors(r, edge, exists, NORMALIZE: tl.constexpr, TINY: tl.constexpr, ACC: tl.constexpr):
    """x, y and z, and with NORMALIZE those of r / |r|, and 1 / |r|; all are zero where r counts as zero."""
    x, y = tl.load(r + edge * 3, exists, 0).to(ACC), tl.load(r + edge * 3 + 1, exists, 0).to(ACC)
    z = tl.load(r + edge * 3 + 2, exists, 0).to(ACC)
    inverse = tl.zeros_like(x)
    if NORMALIZE:
        zero = (tl.abs(x) < TINY) & (tl.abs(y) < TINY) & (tl.abs(z) < TINY)
        scale = tl.where(zero, 1.0, tl.maximum(tl.maximum(tl.abs(x), tl.abs(y)), tl.abs(z)))
        x, y, z = x / scale, y / scale, z / scale  # lest squares overflow
        inverse = tl.where(zero, 0.0, 1 / tl.sqrt(tl.where(zero, 1.0, x * x + y * y + z * z)))
        x, y, z, inverse = x * inverse, y * inverse, z * inverse, inverse / scale
    return x, y, z, inverse


@jit
def _power(x, z, exponent, MOST: tl.constexpr):
    """The real and the imaginary part of (z + i x)^exponent for exponents up to MOST."""
    c = tl.zeros_like(x * exponent) + 1
    s = tl.zeros_like(c)
    for k in tl.static_range(MOST):
        c, s = tl.where(exponent > k, z * c - x * s, c), tl.where(exponent > k, x * c + z * s, s)
    return c, s


@tuned(*CHOICES, key=["LMAX"])
@jit
def _harmonics_kernel(
    r, table, out, edges,
    LMAX: tl.constexpr, NORMALIZE: tl.constexpr, TINY: tl.constexpr, ACC: tl.constexpr, WIDTH: tl.constexpr,
    EDGES: tl.constexpr,
):  # fmt: skip
    edge = (tl.program_id(0).to(tl.int64) * EDGES + tl.arange(0, EDGES))[:, None]
    column = tl.arange(0, WIDTH)[None, :]
    m, exists = column - LMAX, edge < edges
    x, y, z, _ = _vectors(r, edge, exists, NORMALIZE, TINY, ACC)
    square = x * x + y * y + z * z
    c, s = _power(x, z, tl.abs(m), LMAX)
    azimuth = tl.where(m < 0, s, c)
    before, now = tl.zeros([EDGES, WIDTH], ACC), tl.zeros([EDGES, WIDTH], ACC)
    for degree in tl.static_range(LMAX + 1):
        at = table + 3 * degree * WIDTH + column
        rise, fall, start = tl.load(at), tl.load(at + WIDTH), tl.load(at + 2 * WIDTH)
        before, now = now, rise * (y * now) - fall * (square * before) + start
        target = out + edge * ((LMAX + 1) * (LMAX + 1)) + degree * degree + degree + m
        tl.store(target, (now * azimuth).to(out.dtype.element_ty), exists & (tl.abs(m) <= degree))


@tuned(*CHOICES, key=["LMAX"])
@jit
def _harmonics_pullback_kernel(
    r, gradient, table, out, edges,
    LMAX: tl.constexpr, NORMALIZE: tl.constexpr, TINY: tl.constexpr, ACC: tl.constexpr, WIDTH: tl.constexpr,
    EDGES: tl.constexpr,
):  # fmt: skip
    """`by_y` and `by_square` are the derivatives of P; sums over degrees of the gradient times these and P."""
    edge = (tl.program_id(0).to(tl.int64) * EDGES + tl.arange(0, EDGES))[:, None]
    column = tl.arange(0, WIDTH)[None, :]
    m, exists = column - LMAX, edge < edges
    order = tl.abs(m)
    x, y, z, inverse = _vectors(r, edge, exists, NORMALIZE, TINY, ACC)
    square = x * x + y * y + z * z
    none = tl.zeros([EDGES, WIDTH], ACC)
    before, before_by_y, before_by_square = none, none, none
    now, by_y, by_square = none, none, none
    sum_p, sum_by_y, sum_by_square = none, none, none
    for degree in tl.static_range(LMAX + 1):
        at = table + 3 * degree * WIDTH + column
        rise, fall, start = tl.load(at), tl.load(at + WIDTH), tl.load(at + 2 * WIDTH)
        next_by_y = rise * (now + y * by_y) - fall * (square * before_by_y)
        next_by_square = rise * (y * by_square) - fall * (before + square * before_by_square)
        before_by_y, before_by_square, by_y, by_square = by_y, by_square, next_by_y, next_by_square
        before, now = now, rise * (y * now) - fall * (square * before) + start
        source = gradient + edge * ((LMAX + 1) * (LMAX + 1)) + degree * degree + degree + m
        g = tl.load(source, exists & (order <= degree), 0).to(ACC)
        sum_p, sum_by_y, sum_by_square = sum_p + g * now, sum_by_y + g * by_y, sum_by_square + g * by_square
    c, s = _power(x, z, order - 1, LMAX - 1)
    azimuth = tl.where(m < 0, x * c + z * s, tl.where(m == 0, 1.0, z * c - x * s))
    of_square = tl.sum(sum_by_square * azimuth, 1, keep_dims=True)
    of_x = tl.sum(sum_p * (order * tl.where(m < 0, c, -s)), 1, keep_dims=True) + 2 * x * of_square
    of_y = tl.sum(sum_by_y * azimuth, 1, keep_dims=True) + 2 * y * of_square
    of_z = tl.sum(sum_p * (order * tl.where(m < 0, s, c)), 1, keep_dims=True) + 2 * z * of_square
    if NORMALIZE:
        along = x * of_x + y * of_y + z * of_z
        of_x, of_y, of_z = (of_x - x * along) * inverse, (of_y - y * along) * inverse, (of_z - z * along) * inverse
    tl.store(out + edge * 3, of_x.to(out.dtype.element_ty), exists)
    tl.store(out + edge * 3 + 1, of_y.to(out.dtype.element_ty), exists)
    tl.store(out + edge * 3 + 2, of_z.to(out.dtype.element_ty), exists)


def _launch(kernel, inputs: tuple[Tensor, ...], out: Tensor, lmax: int, normalize: bool, normalization: str) -> Tensor:
    edges, dtype = out.shape[0], out.dtype
    if edges:
        width = lanes(2 * lmax + 1, most=1024)
        acc = torch.promote_types(dtype, torch.float32)
        table = _table(lmax, width, normalization, dtype=acc, device=out.device)
        with torch.cuda.device_of(out):
            kernel[lambda meta: (triton.cdiv(edges, meta["EDGES"]),)](
                *(t.contiguous() for t in inputs), table, out, edges, LMAX=lmax, NORMALIZE=normalize,
                TINY=sqrt(torch.finfo(dtype).tiny), ACC=accumulator(dtype), WIDTH=width,
            )  # fmt: skip
    return out


@torch.library.custom_op("erlangen::spherical_harmonics", mutates_args=())
def _harmonics(r: Tensor, lmax: int, normalize: bool, normalization: str) -> Tensor:
    out = r.new_empty(r.shape[0], (lmax + 1) ** 2)
    return _launch(_harmonics_kernel, (r,), out, lmax, normalize, normalization)


@torch.library.custom_op("erlangen::spherical_harmonics_pullback", mutates_args=())
def _pullback(r: Tensor, gradient: Tensor, lmax: int, normalize: bool, normalization: str) -> Tensor:
    """The gradient of r from that of the harmonics."""
    out = r.new_empty(r.shape)
    return _launch(_harmonics_pullback_kernel, (r, gradient), out, lmax, normalize, normalization)


@_harmonics.register_fake
def _(r, lmax, normalize, normalization):
    return r.new_empty(r.shape[0], (lmax + 1) ** 2)


@_pullback.register_fake
def _(r, gradient, lmax, normalize, normalization):
    return r.new_empty(r.shape)


def _harmonics_setup(ctx, inputs, output):
    r, *ctx.spec = inputs
    ctx.save_for_backward(r)


def _harmonics_backward(ctx, gradient):
    return _pullback(*ctx.saved_tensors, gradient, *ctx.spec), None, None, None


def _pullback_setup(ctx, inputs, output):
    r, gradient, *ctx.spec = inputs
    ctx.save_for_backward(r, gradient)


def _pullback_backward(ctx, cotangent):
    """The second derivative is the reference's own."""
    lmax, normalize, normalization = ctx.spec
    again = torch.is_grad_enabled()
    with torch.enable_grad():
        saved = (t if t.requires_grad else t.detach().requires_grad_() for t in ctx.saved_tensors)
        r, gradient = (t.view_as(t) for t in saved)  # apart from each other: `gradient` may have come from r
        Y = reference(r, lmax, normalize=normalize, normalization=normalization)
        (of_r,) = torch.autograd.grad(Y, r, gradient, create_graph=True)
    first, second = torch.autograd.grad(of_r, (r, gradient), cotangent, create_graph=again, allow_unused=True)
    return first, second, None, None, None


_harmonics.register_autograd(_harmonics_backward, setup_context=_harmonics_setup)
_pullback.register_autograd(_pullback_backward, setup_context=_pullback_setup)


def build(lmax: int, normalize: bool = True, normalization: str = "component") -> Callable:
    def spherical_harmonics(r: Tensor) -> Tensor:
        return _harmonics(r, lmax, normalize, normalization)

    return spherical_harmonics
