"""The sum of gyrovectors, by space parts on the hyperboloid."""

import torch
from torch import Tensor

from .hyperbolic_rows import Rows, check_curvature, check_rows, random_tensors
from .native import call, native
from .registry import Cost, Op, traffic


def hyperbolic_sum(u: Rows, v: Rows, *, c: float) -> Rows:
    """u + v, the Möbius sum where points are in the ball: v, moved by the boost that brings the origin to u.

    That is v + (c u . v / (1 + t) + t') u with the times t of u and t' of v, in units of 1 / sqrt(c).
    """
    time, other = ((1 + c * x.square().sum(1, keepdim=True)).sqrt() for x in (u, v))
    return v + (c * (u * v).sum(1, keepdim=True) / (1 + time) + other) * u


def forward(u, v, *, c):
    out, per = torch.empty_like(u), u.new_empty(3, len(u))
    call("hyperbolic_sum", u, v, out, per, *u.shape, c)
    return out, (per,)


def backward(gradient, args, saved, *, c):
    found = [torch.empty_like(tensor) for tensor in args]
    call("hyperbolic_sum_backward", gradient, *args, *saved, *found, *gradient.shape, c)
    return found


def check(u: Tensor, v: Tensor, *, c: float) -> None:
    check_rows("hyperbolic_sum", u=u, v=v)
    check_curvature("hyperbolic_sum", c)


def cost(out, u, v, *, c) -> Cost:
    return Cost(8 * u.numel(), traffic(out, u, v))


def example(dtype, device, seed, *, pixels=40, channels=5):
    return tuple(random_tensors(seed, dtype, device, *[(pixels, channels)] * 2)), {"c": 0.5}


OP = Op(
    reference=hyperbolic_sum,
    backends={"native": native(hyperbolic_sum, forward, backward)},
    check=check,
    cost=cost,
    example=example,
)
