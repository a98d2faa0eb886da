"""Wigner matrices by the recursion of `erlangen.geometry.wigner`, column by column, in registers.

A column |m| < l of D^l comes from the same column of D^{l-1}, so columns lie across the lanes and never meet; the two
columns m = -l and l, the sine and the cosine of the highest weight, come from each other and are carried beside them.
"""

from collections.abc import Callable
from functools import cache
from math import sqrt

import numpy as np
import torch
import triton
import triton.language as tl
from torch import Tensor

from ...geometry.clebsch_gordan import clebsch_gordan
from ...geometry.tables import constant_table
from ...geometry.wigner import packed_size
from ...geometry.wigner import wigner as reference
from .launch import accumulator, jit, lanes, tuned

ROOT = tl.constexpr(sqrt(0.5))
CHOICES = [{"EDGES": edges, "num_warps": warps} for edges, warps in ((16, 4), (8, 4), (2, 1))]


@cache
def _terms(lmax: int, by: int) -> tuple[tuple[tuple[tuple[int, int, float], ...], ...], ...]:
    """The couplings C[i, a, b] of 1 x (l-1) -> l for l = 0..lmax, grouped by the index at place `by`.

    A term holds its other two indices in order, and the coefficient; degrees below 2, which need none, are empty.
    """
    out = [(), ()]
    for degree in range(2, lmax + 1):
        table = np.moveaxis(clebsch_gordan(1, degree - 1, degree).numpy(), by, 0)
        groups = [[(*map(int, at), float(group[tuple(at)])) for at in np.argwhere(group)] for group in table]
        out.append(tuple(map(tuple, groups)))
    return tuple(out)


@constant_table
def _inverse(lmax: int, width: int) -> np.ndarray:
    """1 / C[(0, m), m] for |m| < l and 0 for others, by degree and by column m + lmax."""
    degree, m = np.arange(lmax + 1)[:, None], np.arange(width) - lmax
    inside = degree > abs(m)
    return np.where(inside, np.sqrt(degree * (2 * degree - 1) / np.where(inside, degree**2 - m**2, 1)), 0)


@jit
def _column(R, edge, exists, j, ACC: tl.constexpr):
    """Column j of the rotations, in three parts."""
    at = R + edge * 9 + j
    x, y = tl.load(at, exists, 0).to(ACC), tl.load(at + 3, exists, 0).to(ACC)
    return x, y, tl.load(at + 6, exists, 0).to(ACC)


@tuned(*CHOICES, key=["LMAX"])
@jit
def _forward_kernel(
    R, inverse, out, edges,
    T: tl.constexpr, LMAX: tl.constexpr, PACKED: tl.constexpr, ACC: tl.constexpr, WIDTH: tl.constexpr,
    EDGES: tl.constexpr,
):  # fmt: skip
    """T are the terms (i, a, C) that lead to row b, degree by degree; LMAX > 0."""
    edge = tl.program_id(0).to(tl.int64) * EDGES + tl.arange(0, EDGES)
    m = tl.arange(0, WIDTH) - LMAX
    exists = edge < edges
    x, y, z = _column(R, edge, exists, 0, ACC), _column(R, edge, exists, 1, ACC), _column(R, edge, exists, 2, ACC)
    target = out + edge[:, None] * PACKED + m[None, :]
    tl.store(out + edge * PACKED, tl.full([EDGES], 1, ACC).to(out.dtype.element_ty), exists)
    block, sin, cos = (), x, z
    for a in tl.static_range(3):
        ends = tl.where(m[None, :] == -1, x[a][:, None], z[a][:, None])
        block = block + (tl.where(m[None, :] == 0, y[a][:, None], ends),)
        live = exists[:, None] & (tl.abs(m) <= 1)[None, :]
        tl.store(target + 2 + 3 * a, block[a].to(out.dtype.element_ty), live)
    for degree in tl.static_range(2, LMAX + 1):
        live = exists[:, None] & (tl.abs(m) <= degree)[None, :]
        scale = tl.load(inverse + degree * WIDTH + tl.arange(0, WIDTH))
        rows, first, last = (), (), ()
        for b in tl.static_range(2 * degree + 1):
            middle = tl.zeros([EDGES, WIDTH], ACC)
            s, c = tl.zeros([EDGES], ACC), tl.zeros([EDGES], ACC)
            for t in tl.static_range(len(T[degree][b])):
                middle += (T[degree][b][t][2] * y[T[degree][b][t][0]])[:, None] * block[T[degree][b][t][1]]
                s += T[degree][b][t][2] * x[T[degree][b][t][0]] * cos[T[degree][b][t][1]]
                s += T[degree][b][t][2] * z[T[degree][b][t][0]] * sin[T[degree][b][t][1]]
                c += T[degree][b][t][2] * z[T[degree][b][t][0]] * cos[T[degree][b][t][1]]
                c -= T[degree][b][t][2] * x[T[degree][b][t][0]] * sin[T[degree][b][t][1]]
            s, c = s * ROOT, c * ROOT
            ends = tl.where(m[None, :] < 0, s[:, None], c[:, None])
            row = tl.where((tl.abs(m) == degree)[None, :], ends, middle * scale[None, :])
            at = degree * (4 * degree * degree - 1) // 3 + b * (2 * degree + 1) + degree
            tl.store(target + at, row.to(out.dtype.element_ty), live)
            rows, first, last = rows + (row,), first + (s,), last + (c,)
        block, sin, cos = rows, first, last


@jit
def _rows(packed, edge, exists, m, degree: tl.constexpr, PACKED: tl.constexpr, ACC: tl.constexpr):
    """The rows of D^l, columns across the lanes; zero where there are none."""
    live = exists[:, None] & (tl.abs(m) <= degree)[None, :]
    rows = ()
    for a in tl.static_range(2 * degree + 1):
        at = degree * (4 * degree * degree - 1) // 3 + a * (2 * degree + 1) + degree
        rows = rows + (tl.load(packed + edge[:, None] * PACKED + at + m[None, :], live, 0).to(ACC),)
    return rows


@jit
def _at(row, m, order):
    """The column m = order of a row."""
    return tl.sum(tl.where((m == order)[None, :], row, 0.0), 1)


@tuned(*CHOICES, key=["LMAX"])
@jit
def _backward_kernel(
    R, D, gradient, inverse, out, edges,
    U: tl.constexpr, V: tl.constexpr, LMAX: tl.constexpr, PACKED: tl.constexpr, ACC: tl.constexpr,
    WIDTH: tl.constexpr, EDGES: tl.constexpr,
):  # fmt: skip
    """The recursion in reverse. U are the terms (a, b, C) of row i of R, V the terms (i, b, C) of row a of D^{l-1}."""
    edge = tl.program_id(0).to(tl.int64) * EDGES + tl.arange(0, EDGES)
    m = tl.arange(0, WIDTH) - LMAX
    exists = edge < edges
    x, y, z = _column(R, edge, exists, 0, ACC), _column(R, edge, exists, 1, ACC), _column(R, edge, exists, 2, ACC)
    none, nowhere = tl.zeros([EDGES], ACC), tl.zeros([EDGES, WIDTH], ACC)
    of_x, of_y, of_z = (none, none, none), (nowhere, nowhere, nowhere), (none, none, none)
    g = _rows(gradient, edge, exists, m, LMAX, PACKED, ACC)
    for degree in tl.static_range(LMAX, 1, -1):
        scale = tl.load(inverse + degree * WIDTH + tl.arange(0, WIDTH))
        middle, first, last = (), (), ()  # the gradients of the columns |m| < l, m = -l and m = l of D^l
        for b in tl.static_range(2 * degree + 1):
            middle = middle + (g[b] * scale[None, :],)
            first, last = first + (_at(g[b], m, -degree) * ROOT,), last + (_at(g[b], m, degree) * ROOT,)
        block = _rows(D, edge, exists, m, degree - 1, PACKED, ACC)
        sin, cos = (), ()
        for a in tl.static_range(2 * degree - 1):
            at = D + edge * PACKED + (degree - 1) * (2 * degree - 1) * (2 * degree - 3) // 3 + a * (2 * degree - 1)
            sin = sin + (tl.load(at, exists, 0).to(ACC),)
            cos = cos + (tl.load(at + 2 * degree - 2, exists, 0).to(ACC),)
        more_x, more_y, more_z = (), (), ()
        for i in tl.static_range(3):
            gx, gy, gz = of_x[i], of_y[i], of_z[i]
            for t in tl.static_range(len(U[degree][i])):
                gy += U[degree][i][t][2] * middle[U[degree][i][t][1]] * block[U[degree][i][t][0]]
                gx += U[degree][i][t][2] * first[U[degree][i][t][1]] * cos[U[degree][i][t][0]]
                gx -= U[degree][i][t][2] * last[U[degree][i][t][1]] * sin[U[degree][i][t][0]]
                gz += U[degree][i][t][2] * first[U[degree][i][t][1]] * sin[U[degree][i][t][0]]
                gz += U[degree][i][t][2] * last[U[degree][i][t][1]] * cos[U[degree][i][t][0]]
            more_x, more_y, more_z = more_x + (gx,), more_y + (gy,), more_z + (gz,)
        of_x, of_y, of_z = more_x, more_y, more_z
        given = _rows(gradient, edge, exists, m, degree - 1, PACKED, ACC)
        rows = ()
        for a in tl.static_range(2 * degree - 1):
            row, s, c = given[a], none, none
            for t in tl.static_range(len(V[degree][a])):
                row += (V[degree][a][t][2] * y[V[degree][a][t][0]])[:, None] * middle[V[degree][a][t][1]]
                c += V[degree][a][t][2] * x[V[degree][a][t][0]] * first[V[degree][a][t][1]]
                c += V[degree][a][t][2] * z[V[degree][a][t][0]] * last[V[degree][a][t][1]]
                s += V[degree][a][t][2] * z[V[degree][a][t][0]] * first[V[degree][a][t][1]]
                s -= V[degree][a][t][2] * x[V[degree][a][t][0]] * last[V[degree][a][t][1]]
            ends = tl.where(m[None, :] < 0, s[:, None], c[:, None])
            rows = rows + (row + tl.where((tl.abs(m) == degree - 1)[None, :], ends, 0.0),)
        g = rows
    for i in tl.static_range(3):
        at = out + edge * 9 + 3 * i
        tl.store(at, (of_x[i] + _at(g[i], m, -1)).to(out.dtype.element_ty), exists)
        tl.store(at + 1, (tl.sum(of_y[i], 1) + _at(g[i], m, 0)).to(out.dtype.element_ty), exists)
        tl.store(at + 2, (of_z[i] + _at(g[i], m, 1)).to(out.dtype.element_ty), exists)


def _sizes(R: Tensor, lmax: int) -> tuple[Tensor, dict]:
    acc = torch.promote_types(R.dtype, torch.float32)
    width = lanes(2 * lmax + 1)
    sizes = {"LMAX": lmax, "PACKED": packed_size(lmax), "ACC": accumulator(R.dtype), "WIDTH": width}
    return _inverse(lmax, width, dtype=acc, device=R.device), sizes


@torch.library.custom_op("erlangen::wigner", mutates_args=())
def _wigner(R: Tensor, lmax: int) -> Tensor:
    R = R.contiguous()
    edges, out = R.shape[0], R.new_empty(R.shape[0], packed_size(lmax))
    if edges:
        inverse, sizes = _sizes(R, lmax)
        with torch.cuda.device_of(out):
            _forward_kernel[lambda meta: (triton.cdiv(edges, meta["EDGES"]),)](
                R, inverse, out, edges, T=_terms(lmax, 2), **sizes
            )
    return out


@torch.library.custom_op("erlangen::wigner_pullback", mutates_args=())
def _pullback(R: Tensor, D: Tensor, gradient: Tensor, lmax: int) -> Tensor:
    """The gradient of R from that of D = D(R)."""
    R, gradient = R.contiguous(), gradient.contiguous()
    edges, out = R.shape[0], torch.empty_like(R)
    if edges:
        inverse, sizes = _sizes(R, lmax)
        with torch.cuda.device_of(out):
            _backward_kernel[lambda meta: (triton.cdiv(edges, meta["EDGES"]),)](
                R, D, gradient, inverse, out, edges, U=_terms(lmax, 0), V=_terms(lmax, 1), **sizes
            )
    return out


@_wigner.register_fake
def _(R, lmax):
    return R.new_empty(R.shape[0], packed_size(lmax))


@_pullback.register_fake
def _(R, D, gradient, lmax):
    return torch.empty_like(R, memory_format=torch.contiguous_format)


def _wigner_setup(ctx, inputs, output):
    R, ctx.lmax = inputs
    ctx.save_for_backward(R, output)


def _wigner_backward(ctx, gradient):
    R, D = ctx.saved_tensors
    return _pullback(R, D.detach(), gradient, ctx.lmax), None


def _pullback_setup(ctx, inputs, output):
    R, _, gradient, ctx.lmax = inputs
    ctx.save_for_backward(R, gradient)


def _pullback_backward(ctx, cotangent):
    """The second derivative is the reference's own."""
    again = torch.is_grad_enabled()
    with torch.enable_grad():
        saved = (t if t.requires_grad else t.detach().requires_grad_() for t in ctx.saved_tensors)
        R, gradient = (t.view_as(t) for t in saved)  # apart from each other: `gradient` may have come from R
        (of_R,) = torch.autograd.grad(reference(R, ctx.lmax), R, gradient, create_graph=True)
    first, second = torch.autograd.grad(of_R, (R, gradient), cotangent, create_graph=again, allow_unused=True)
    return first, None, second, None


_wigner.register_autograd(_wigner_backward, setup_context=_wigner_setup)
_pullback.register_autograd(_pullback_backward, setup_context=_pullback_setup)


def build(lmax: int) -> Callable:
    def wigner(R: Tensor) -> Tensor:
        return _wigner(R, lmax) if lmax else R.new_ones(R.shape[0], 1)

    return wigner
