"""Signals on a grid of the sphere, never written: synthesised, combined point by point, and analysed by one program.

It computes z = Z^T (f(X x) * (Y y) * (V v)), * point by point: x, y, v are features (rows, components, channels), X, Y,
V, Z matrices (points, components), f the identity, a nonlinearity or one of its derivatives; y and v may be missing.
Derivatives have that form again: z's gradient becomes a factor, with the matrix Z, and one of the matrices takes the
place of Z.
"""

from math import pi, sqrt

import torch
import triton
import triton.language as tl
from torch import Tensor

from .launch import accumulator, dot, jit, lanes, precision, tuned

ROOT = tl.constexpr(sqrt(0.5))
DENSITY = tl.constexpr(1 / sqrt(2 * pi))


@jit
def _silu(u, ORDER: tl.constexpr):
    s = tl.sigmoid(u)
    if ORDER == 0:
        out = u * s
    elif ORDER == 1:
        out = s * (1 + u * (1 - s))
    else:
        out = s * (1 - s) * (2 + u * (1 - 2 * s))
    return out


@jit
def _gelu(u, ORDER: tl.constexpr):
    density = tl.exp(-0.5 * u * u) * DENSITY
    below = 0.5 * (1 + tl.erf(u * ROOT))
    if ORDER == 0:
        out = u * below
    elif ORDER == 1:
        out = below + u * density
    else:
        out = density * (2 - u * u)
    return out


@jit
def _tanh(u, ORDER: tl.constexpr):
    t = 2 * tl.sigmoid(2 * u) - 1
    if ORDER == 0:
        out = t
    elif ORDER == 1:
        out = 1 - t * t
    else:
        out = -2 * t * (1 - t * t)
    return out


@jit
def _apply(u, FUNCTION: tl.constexpr, ORDER: tl.constexpr):
    """`FUNCTION` of s2_activation.py, or its derivative of that order."""
    if FUNCTION == "silu":
        u = _silu(u, ORDER)
    elif FUNCTION == "gelu":
        u = _gelu(u, ORDER)
    elif FUNCTION == "tanh":
        u = _tanh(u, ORDER)
    return u


@jit
def _features(x, count, column, columns, channels, COUNT: tl.constexpr):
    """Components by columns; a column is one channel of one row."""
    k = tl.arange(0, COUNT)
    place = (column // channels) * (count * channels) + column % channels
    live = (k < count)[:, None] & (column < columns)[None, :]
    return tl.load(x + k[:, None] * channels + place[None, :], live, 0)


@jit
def _matrix(matrix, by_point, by_component, count, point, points, COUNT: tl.constexpr):
    """Points by components."""
    k = tl.arange(0, COUNT)
    live = (point < points)[:, None] & (k < count)[None, :]
    return tl.load(matrix + point[:, None] * by_point + k[None, :] * by_component, live, 0)


@tuned(
    {"COLUMNS": 32, "POINTS": 32, "num_warps": 4},
    {"COLUMNS": 64, "POINTS": 32, "num_warps": 4},
    {"COLUMNS": 64, "POINTS": 64, "num_warps": 4},
    {"COLUMNS": 128, "POINTS": 32, "num_warps": 8},
    {"COLUMNS": 128, "POINTS": 64, "num_warps": 8},
    key=["kx", "ky", "kz", "points"],
)
@jit
def _kernel(
    x, y, v, X, Y, V, Z, out, columns, channels, points, kx, ky, kv, kz,
    x_point, x_component, y_point, y_component, v_point, v_component, z_point, z_component,
    FUNCTION: tl.constexpr, ORDER: tl.constexpr, FACTORS: tl.constexpr, ACC: tl.constexpr, PRECISION: tl.constexpr,
    KX: tl.constexpr, KY: tl.constexpr, KV: tl.constexpr, KZ: tl.constexpr,
    COLUMNS: tl.constexpr, POINTS: tl.constexpr,
):  # fmt: skip
    """COLUMNS channels of rows a program, which runs over the grid, POINTS at a time."""
    column = tl.program_id(0).to(tl.int64) * COLUMNS + tl.arange(0, COLUMNS)
    of_x = _features(x, kx, column, columns, channels, KX)
    if FACTORS > 1:
        of_y = _features(y, ky, column, columns, channels, KY)
    if FACTORS > 2:
        of_v = _features(v, kv, column, columns, channels, KV)
    total = tl.zeros([KZ, COLUMNS], ACC)
    for start in range(0, points, POINTS):
        point = start + tl.arange(0, POINTS)
        tile = _matrix(X, x_point, x_component, kx, point, points, KX)
        value = _apply(dot(tile, of_x, ACC, PRECISION), FUNCTION, ORDER)
        if FACTORS > 1:
            tile = _matrix(Y, y_point, y_component, ky, point, points, KY)
            value *= dot(tile, of_y, ACC, PRECISION)
        if FACTORS > 2:
            tile = _matrix(V, v_point, v_component, kv, point, points, KV)
            value *= dot(tile, of_v, ACC, PRECISION)
        tile = tl.trans(_matrix(Z, z_point, z_component, kz, point, points, KZ))
        total += dot(tile, value.to(tile.dtype), ACC, PRECISION)
    k = tl.arange(0, KZ)
    place = (column // channels) * (kz * channels) + column % channels
    live = (k < kz)[:, None] & (column < columns)[None, :]
    tl.store(out + k[:, None] * channels + place[None, :], total.to(out.dtype.element_ty), live)


@torch.library.custom_op("erlangen::grid", mutates_args=())
def grid(
    x: Tensor,
    y: Tensor | None,
    v: Tensor | None,
    X: Tensor,
    Y: Tensor | None,
    V: Tensor | None,
    Z: Tensor,
    function: str,
    order: int,
) -> Tensor:
    """Z^T (f(X x) * (Y y) * (V v)): (rows, components of Z, channels)."""
    factors = [(x.contiguous(), X)] + [(f.contiguous(), M) for f, M in ((y, Y), (v, V)) if f is not None]
    rows, _, channels = x.shape
    out = x.new_empty(rows, Z.shape[1], channels)
    if out.numel():
        filled = factors + [(None, None)] * (3 - len(factors))
        matrices = [M for _, M in filled] + [Z]
        counts = [0 if M is None else M.shape[1] for M in matrices]
        strides = [step for M in matrices for step in ((0, 0) if M is None else M.stride())]
        columns = rows * channels
        with torch.cuda.device_of(out):
            _kernel[lambda meta: (triton.cdiv(columns, meta["COLUMNS"]),)](
                *(f for f, _ in filled), *matrices, out, columns, channels, Z.shape[0], *counts, *strides,
                FUNCTION=function, ORDER=order, FACTORS=len(factors), ACC=accumulator(x.dtype), PRECISION=precision(),
                **{name: lanes(k, 512, 16) for name, k in zip(("KX", "KY", "KV", "KZ"), counts, strict=True)},
            )  # fmt: skip
    return out


@grid.register_fake
def _(x, y, v, X, Y, V, Z, function, order):
    return x.new_empty(x.shape[0], Z.shape[1], x.shape[2])


def _setup(ctx, inputs, output):
    *tensors, ctx.function, ctx.order = inputs
    ctx.save_for_backward(*tensors)


def _backward(ctx, gradient):
    x, y, v, X, Y, V, Z = ctx.saved_tensors
    own, others = (x, X), [(f, M) for f, M in ((y, Y), (v, V)) if f is not None]
    gradients = [None, None, None]
    if ctx.needs_input_grad[0]:
        if ctx.function == "identity":
            gradients[0] = _grid([*others, (gradient, Z)], X, "identity", 0)
        else:
            gradients[0] = _grid([own, *others, (gradient, Z)], X, ctx.function, ctx.order + 1)
    for place, (_, matrix) in enumerate(others):
        if ctx.needs_input_grad[1 + place]:
            rest = [own, *others[:place], *others[place + 1 :], (gradient, Z)]
            gradients[1 + place] = _grid(rest, matrix, ctx.function, ctx.order)
    return *gradients, *[None] * 6


def _grid(factors: list[tuple[Tensor, Tensor]], out: Tensor, function: str, order: int) -> Tensor:
    if order > 2:
        raise NotImplementedError("triton: nonlinearities on the sphere have derivatives up to order 2")
    filled = factors + [(None, None)] * (3 - len(factors))
    return grid(*(f for f, _ in filled), *(M for _, M in filled), out, function, order)


grid.register_autograd(_backward, setup_context=_setup)
