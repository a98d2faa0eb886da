"""Points of hyperbolic space from tangent vectors at the origin and back: rows, times a function of their length."""

import math
from typing import Literal

import torch
from torch import Tensor

from ..errors import UserError
from ..geometry.hyperbolic.numerics import asinh, root
from .hyperbolic_rows import Count, Rows, check_curvature, check_rows, over, random_tensors
from .native import call, native
from .registry import Cost, Op, Tolerance, traffic

Kind = Literal["space", "relu"]


def hyperbolic_radial(rows: Rows, *, kind: Kind, c: float, limit: float) -> tuple[Rows, Count]:
    """Rows at the same point, or ReLU of them, and how many were beyond `limit`, where they are cut.

    space   tangent vectors v at the origin of the Poincaré ball to space parts on the hyperboloid: sinh(r) / |v| v for
            the distance r = 2 sqrt(c) |v| from the origin, in units of 1 / sqrt(c).
    relu    space parts s to tangent vectors, and ReLU: asinh(r) / (2 r) s, r = sqrt(c) |s|.

    `limit` is the largest distance; beyond, the length's derivative is zero.
    """
    squares = rows.square().sum(1, keepdim=True)
    if kind == "space":
        r = root(4 * c * squares)
        return 2 * r.clamp_max(limit).sinh() / r * rows, over(r, limit)
    r = root(c * squares)
    angle = asinh(r)
    return (angle.clamp_max(limit) / (2 * r) * rows).relu(), over(angle, limit)


def forward(rows, *, kind, c, limit):
    out, per, beyond = torch.empty_like(rows), rows.new_empty(2, len(rows)), torch.empty((), dtype=torch.long)
    call("hyperbolic_radial", rows, out, per, beyond, *rows.shape, kind == "relu", c, limit)
    return (out, beyond), (per,)


def backward(gradient, args, saved, *, kind, c, limit):
    (rows,), (per,) = args, saved
    by_rows = torch.empty_like(rows)
    call("hyperbolic_radial_backward", gradient, rows, per, by_rows, *rows.shape, kind == "relu")
    return [by_rows]


def check(rows: Tensor, *, kind: str, c: float, limit: float) -> None:
    check_rows("hyperbolic_radial", rows=rows)
    check_curvature("hyperbolic_radial", c)
    if kind not in ("space", "relu"):
        raise UserError(f"hyperbolic_radial: kind={kind!r}; give 'space' or 'relu'")


def cost(out, rows, *, kind, c, limit) -> Cost:
    return Cost(3 * rows.numel(), traffic(out, rows))


def example(dtype, device, seed, *, pixels=40, channels=5):
    return tuple(random_tensors(seed, dtype, device, (pixels, channels))), {"kind": "relu", "c": 0.5, "limit": math.inf}


OP = Op(
    reference=hyperbolic_radial,
    backends={"native": native(hyperbolic_radial, forward, backward)},
    check=check,
    cost=cost,
    example=example,
    tolerance=Tolerance(gradient=2e-5),
)
