"""Batch norm of hyperbolic points (HCNN, arXiv:2303.15919, section 4.2; Poincaré ResNet, arXiv:2303.14027, section 3.3)."""

import math
from collections.abc import Callable
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from ..errors import UserError
from ..geometry.hyperbolic.numerics import asinh, root
from .hyperbolic_rows import Count, Rows, check_curvature, check_rows, over, random_tensors
from .native import call, native
from .registry import Cost, Op, Tolerance, traffic

Scalar = Float[Tensor, ""]
Point = Float[Tensor, " channels"]
Route = Literal["direct", "origin"]
PER_ROW, PER_CALL = 7, 14  # numbers that the backend in C keeps (native/hyperbolic_norm.c)


def hyperbolic_norm(
    rows: Rows,
    q: Point,
    gamma: Float[Tensor, "1"],
    mean: Point | None = None,
    variance: Scalar | None = None,
    *,
    route: Route,
    c: float,
    limit: float,
    eps: float,
) -> tuple[Rows, Point, Scalar, Count]:
    """exp_q(k PT_{p -> q}(log_p(x))) of every row x, with p the centroid and k = gamma / sqrt(variance + eps).

    x has the space part s and the time t, in units of 1 / sqrt(c). With cosh d = t_p t - c s . p for its distance d from p,
    and g = sinh(k d) / sinh(d), the result is g (s + a p + b q) + cosh(k d) q, a and b linear in (t, c s . p, c s . q).

    Args:
        rows: the space parts of points, cut at `limit`; a point that was cut counts as if it had been given there.
        q: the space part of the new mean.
        gamma: the new deviation.
        mean, variance: to be used in place of those of the rows, if given. The variance is the mean squared distance.
        route: how tangent vectors go from p to q: direct, or by the origin.
        c: minus the curvature.
        limit: the largest distance before and after, in units of 1 / sqrt(c). Where k d is cut, its derivative is zero.
        eps: is added to the variance.

    Returns:
        The new rows; p and the variance; how many points and distances were beyond the limit. All but the first are constants.
    """
    squares = c * rows.detach().square().sum(1, keepdim=True)
    farthest = math.sinh(limit) ** 2
    s = rows * (farthest / squares.clamp_min(1e-30)).clamp_max(1).sqrt()
    t = (1 + c * s.square().sum(1, keepdim=True)).sqrt()
    p = centroid(s, t, c) if mean is None else mean
    t_p, t_q, product = (1 + c * p.dot(p)).sqrt(), (1 + c * q.dot(q)).sqrt(), c * p.dot(q)
    along_p, along_q = c * (s @ p).unsqueeze(1), c * (s @ q).unsqueeze(1)
    # the boost that brings p to the origin brings s to s + shift p, which is sinh(d) long: nothing cancels near p
    moved = s + (along_p / (1 + t_p) - t) * p
    sinh = root(c * moved.square().sum(1, keepdim=True))
    distance = asinh(sinh)
    spread = distance.square().mean() / c if variance is None else variance
    angle = distance * gamma / (spread + eps).sqrt()
    beyond = over(squares, farthest) + over(angle.abs(), limit)
    angle = angle.clamp(-limit, limit)
    a, b = (torch.cat([t, along_p, along_q], 1) @ ROUTES[route](t_p, t_q, product).mT).split(1, 1)
    out = angle.sinh() / sinh * (s + a * p + b * q) + angle.cosh() * q
    return out, p.detach(), spread.detach(), beyond


def centroid(s: Rows, t: Float[Tensor, "pixels 1"], c: float) -> Point:
    """The mean of the points in space and time, brought back to the hyperboloid."""
    space, time = s.mean(0), t.mean()
    # time^2 - c |space|^2 is at least 1, whatever rounding says
    return space / (time.square() - c * space.dot(space)).clamp_min(1).sqrt()


def direct(t_p: Scalar, t_q: Scalar, product: Scalar) -> Float[Tensor, "2 3"]:
    """(a, b) of u + <q, u> / (1 - <p, q>) (p + q), u = x + <x, p> p, all products Lorentzian and times c."""
    ends, one = product - t_p * t_q, torch.ones_like(t_p)
    b = torch.stack([-t_q - ends * t_p, ends, one]) / (1 - ends)
    return torch.stack([b - torch.stack([t_p, -one, torch.zeros_like(t_p)]), b])


def by_the_origin(t_p: Scalar, t_q: Scalar, product: Scalar) -> Float[Tensor, "2 3"]:
    """(a, b) of the boost that brings p to the origin, then the one that brings the origin to q."""
    u, v = 1 / (1 + t_p), 1 / (1 + t_q)
    along = product * v
    return torch.stack([-torch.ones_like(u), u, torch.zeros_like(u), -along, along * u, v]).view(2, 3)


ROUTES: dict[str, Callable[[Scalar, Scalar, Scalar], Float[Tensor, "2 3"]]] = {
    "direct": direct,
    "origin": by_the_origin,
}


def forward(rows, q, gamma, mean=None, variance=None, *, route, c, limit, eps):
    training = mean is None
    p = torch.empty_like(q) if training else mean.clone()
    spread = rows.new_empty(()) if training else variance.clone()
    out, per = torch.empty_like(rows), rows.new_empty(PER_ROW, len(rows))
    state, beyond = torch.empty(PER_CALL, dtype=torch.float64), torch.empty((), dtype=torch.long)
    numbers = *rows.shape, route == "origin", training, c, limit, eps
    call("hyperbolic_norm", rows, q, gamma, p, spread, out, per, state, beyond, *numbers)
    return (out, p, spread, beyond), (p, per, state)


def backward(gradient, args, saved, *, route, c, limit, eps):
    rows, q, gamma, *given = args
    p, per, state = saved
    found = [torch.empty_like(tensor) for tensor in (rows, q, gamma)]
    numbers = *rows.shape, route == "origin", not any(isinstance(g, Tensor) for g in given), c, limit, eps
    call("hyperbolic_norm_backward", rows, gradient, q, p, per, state, *found, *numbers)
    return [*found, *(None for g in given if isinstance(g, Tensor))]


def check(
    rows: Tensor,
    q: Tensor,
    gamma: Tensor,
    mean: Tensor | None = None,
    variance: Tensor | None = None,
    *,
    route: str,
    c: float,
    limit: float,
    eps: float,
) -> None:
    check_rows("hyperbolic_norm", rows=rows)
    check_curvature("hyperbolic_norm", c)
    if route not in ROUTES:
        raise UserError(f"hyperbolic_norm: route={route!r}; give {' or '.join(map(repr, ROUTES))}")
    if (mean is None) != (variance is None):
        raise UserError("hyperbolic_norm: give both the mean and the variance, or neither")
    if q.shape != rows.shape[1:] or gamma.shape != (1,) or (mean is not None and mean.shape != q.shape):
        raise UserError(
            f"hyperbolic_norm: rows {tuple(rows.shape)}, q {tuple(q.shape)}, gamma {tuple(gamma.shape)}; "
            "give (pixels, channels), (channels,), (1,)"
        )


def cost(out, rows, q, gamma, mean=None, variance=None, *, route, c, limit, eps) -> Cost:
    """Four products of each row, and three sums."""
    return Cost(14 * rows.numel(), traffic(out[0], rows, q))


def example(dtype, device, seed, *, pixels=40, channels=5):
    rows, q, gamma = random_tensors(seed, dtype, device, (pixels, channels), (channels,), (1,))
    return (rows, q, gamma), {"route": "direct", "c": 0.5, "limit": 8.0, "eps": 1e-5}


OP = Op(
    reference=hyperbolic_norm,
    backends={"native": native(hyperbolic_norm, forward, backward)},
    check=check,
    cost=cost,
    example=example,
    tolerance=Tolerance(gradient=2e-5),
)
