"""Hyperbolic space of curvature -c as the upper sheet of a hyperboloid (the Lorentz model).

Points x = (t, s), time first, have <x, x> = -t^2 + |s|^2 = -1/c and t > 0; tangent vectors at x have <x, u> = 0. The space
part s alone is a chart: every s is that of one point. Formulas as in HCNN (arXiv:2303.15919), written so that
nothing cancels near the origin and gradients exist there. Half precision is computed in float32.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from .numerics import FARTHEST, asinh, asinhc, root, sinhc, wide


def inner(x: Float[Tensor, "*#batch m"], y: Float[Tensor, "*#batch m"]) -> Float[Tensor, "*batch 1"]:
    """<x, y> = -x_0 y_0 + x_1 y_1 + ..., with its axis kept."""
    product = x * y
    return product[..., 1:].sum(-1, keepdim=True) - product[..., :1]


@wide
def lift(space: Float[Tensor, "*batch n"], c: float) -> Float[Tensor, "*batch m"]:
    """The point (t, s) with this space part."""
    time = (space.square().sum(-1, keepdim=True) + 1 / c).sqrt()
    return torch.cat([time, space], -1)


def project(x: Float[Tensor, "*batch m"], c: float) -> Float[Tensor, "*batch m"]:
    """The point of the hyperboloid above the space part of x."""
    return lift(x[..., 1:], c)


@wide
def off_hyperboloid(x: Float[Tensor, "*batch m"], c: float) -> Float[Tensor, "*batch"]:
    """|c <x, x> + 1| / (c t^2): 0 on the hyperboloid, relative to the size of what cancels."""
    scale = (c * x[..., :1].square()).clamp_min(1.0)
    return ((c * inner(x, x) + 1).abs() / scale).squeeze(-1)


@wide
def distance(x: Float[Tensor, "*#batch m"], y: Float[Tensor, "*#batch m"], c: float) -> Float[Tensor, "*batch"]:
    """The length of the geodesic, by its chord: <x - y, x - y> = 4/c sinh^2(sqrt(c) d / 2)."""
    return _distance(x, y, c).squeeze(-1)


def _distance(x: Tensor, y: Tensor, c: float) -> Tensor:
    half_chord = (c / 4 * inner(x - y, x - y)).clamp_min(0)
    return 2 / c**0.5 * asinh(root(half_chord))


@wide
def expmap(x: Float[Tensor, "*#batch m"], u: Float[Tensor, "*#batch m"], c: float) -> Float[Tensor, "*batch m"]:
    """Where the geodesic from x with the tangent vector u as velocity is after unit time."""
    z = c * inner(u, u)
    return root(z).clamp_max(FARTHEST).cosh() * x + sinhc(z) * u


@wide
def logmap(x: Float[Tensor, "*#batch m"], y: Float[Tensor, "*#batch m"], c: float) -> Float[Tensor, "*batch m"]:
    """The tangent vector at x whose `expmap` is y."""
    angle = c**0.5 * _distance(x, y, c)
    cosh_less_1 = 2 * (angle / 2).sinh().square()
    return (y - x - cosh_less_1 * x) / sinhc(angle.square())


@wide
def expmap0(v: Float[Tensor, "*batch n"], c: float) -> Float[Tensor, "*batch m"]:
    """`expmap` at the origin (1/sqrt(c), 0); v is the space part of the tangent vector, whose time is 0."""
    return lift(sinhc(c * v.square().sum(-1, keepdim=True)) * v, c)


@wide
def logmap0(x: Float[Tensor, "*batch m"], c: float) -> Float[Tensor, "*batch n"]:
    """The inverse of `expmap0`."""
    space = x[..., 1:]
    return asinhc(c * space.square().sum(-1, keepdim=True)) * space


@wide
def transport(
    x: Float[Tensor, "*#batch m"], y: Float[Tensor, "*#batch m"], u: Float[Tensor, "*#batch m"], c: float
) -> Float[Tensor, "*batch m"]:
    """The tangent vector u at x, transported in parallel along the geodesic to y."""
    return u + c * inner(y, u) / (1 - c * inner(x, y)) * (x + y)


@wide
def riemannian_gradient(
    x: Float[Tensor, "*batch m"], gradient: Float[Tensor, "*batch n"], c: float
) -> Float[Tensor, "*batch m"]:
    """The tangent vector at x that is the gradient of a function whose derivative by the space part is `gradient`.

    In this chart the metric is 1 - s s^T / t^2 and its inverse 1 + c s s^T; a tangent vector's time is s . u / t.
    """
    time, space = x.tensor_split([1], -1)
    along = (space * gradient).sum(-1, keepdim=True)
    return torch.cat([c * time * along, gradient + c * along * space], -1)


@wide
def gyro_add(x: Float[Tensor, "*#batch m"], y: Float[Tensor, "*#batch m"], c: float) -> Float[Tensor, "*batch m"]:
    """x + y of gyrovectors: y moved by the boost that brings the origin to x, exp_x PT_{0 -> x} log_0(y)."""
    (xt, xs), (yt, ys) = (p.tensor_split([1], -1) for p in (x, y))
    along = c * (xs * ys).sum(-1, keepdim=True) / (1 + c**0.5 * xt) + c**0.5 * yt
    return lift(ys + along * xs, c)


def gyro_negative(x: Float[Tensor, "*batch m"]) -> Float[Tensor, "*batch m"]:
    """-x of gyrovectors: x reflected at the origin."""
    return torch.cat([x[..., :1], -x[..., 1:]], -1)


@wide
def centroid(
    x: Float[Tensor, "*batch points m"], c: float, weights: Float[Tensor, "*#batch points"] | None = None
) -> Float[Tensor, "*batch m"]:
    """The point with the least weighted sum of squared Lorentzian distances <x_i - m, x_i - m>: the mean, rescaled."""
    w = torch.full_like(x[..., :1], 1 / x.shape[-2]) if weights is None else weights.unsqueeze(-1)
    mean = (w * x).sum(-2)
    # -c <mean, mean> is at least the square of the weights' sum, whatever rounding says
    return mean / (c * -inner(mean, mean)).maximum(w.sum(-2).square()).sqrt()


@wide
def hyperplane_distance(
    x: Float[Tensor, "*batch m"], z: Float[Tensor, "planes n"], a: Float[Tensor, " planes"], c: float
) -> Float[Tensor, "*batch planes"]:
    """The signed distances of x from hyperplanes, each orthogonal to its z and a from the origin (HCNN's classifier)."""
    unit = z / root(z.square().sum(-1, keepdim=True))
    shift = (c**0.5 * a).clamp(-FARTHEST, FARTHEST)
    along = x[..., 1:] @ unit.mT
    return (c**0.5 * (along * shift.cosh() - x[..., :1] * shift.sinh())).asinh() / c**0.5


@wide
def to_poincare(x: Float[Tensor, "*batch m"], c: float) -> Float[Tensor, "*batch n"]:
    """The isometric point of the ball: the projection from (-1/sqrt(c), 0)."""
    return x[..., 1:] / (1 + c**0.5 * x[..., :1])
