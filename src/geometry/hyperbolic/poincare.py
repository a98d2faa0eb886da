"""Hyperbolic space of curvature -c as a ball of radius 1/sqrt(c) (the Poincaré model), with its gyrovectors.

The metric is (2 / (1 - c |x|^2))^2 times the Euclidean one, so that a tangent vector v at the origin has the length 2 |v|.
Formulas as in Ganea, Bécigneul, Hofmann (arXiv:1805.09112), and Shimizu, Mukuta, Harada (HNN++, arXiv:2006.08210).
Points that come out are projected to `radius`, just inside the ball. Half precision is computed in float32.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from .numerics import FARTHEST, asinh, atanhc, root, tanhc, wide

EDGE = {torch.float32: 4e-3, torch.float64: 1e-5}
"""How much of the radius is left free at the edge, by dtype: beyond, 1 - c |x|^2 has too few digits."""


def radius(c: float, dtype: torch.dtype) -> float:
    """The largest length of a point that is kept."""
    return (1 - EDGE.get(dtype, EDGE[torch.float32])) / c**0.5


def squared(x: Float[Tensor, "*batch n"]) -> Float[Tensor, "*batch 1"]:
    return x.square().sum(-1, keepdim=True)


def outside(x: Float[Tensor, "*batch n"], c: float) -> Bool[Tensor, "*batch"]:
    """Which points `project` would move."""
    return x.norm(dim=-1) > radius(c, x.dtype) * (1 + torch.finfo(x.dtype).eps)


@wide
def project(x: Float[Tensor, "*batch n"], c: float) -> Float[Tensor, "*batch n"]:
    """x, or where it lies outside, the point at `radius` in its direction."""
    return x * (radius(c, x.dtype) / root(squared(x))).clamp_max(1.0)


def conformal_factor(x: Float[Tensor, "*batch n"], c: float) -> Float[Tensor, "*batch 1"]:
    """lambda_x = 2 / (1 - c |x|^2)."""
    return 2 / (1 - c * squared(x))


@wide
def mobius_add(x: Float[Tensor, "*#batch n"], y: Float[Tensor, "*#batch n"], c: float) -> Float[Tensor, "*batch n"]:
    """x + y of gyrovectors."""
    return project(_mobius_add(x, y, c), c)


def _mobius_add(x: Tensor, y: Tensor, c: float) -> Tensor:
    xy, x2, y2 = 2 * c * (x * y).sum(-1, keepdim=True), c * squared(x), c * squared(y)
    return ((1 + xy + y2) * x + (1 - x2) * y) / (1 + xy + x2 * y2)


@wide
def gyration(
    x: Float[Tensor, "*#batch n"], y: Float[Tensor, "*#batch n"], v: Float[Tensor, "*#batch n"], c: float
) -> Float[Tensor, "*batch n"]:
    """gyr[x, y] v, the rotation by which x + (y + v) differs from (x + y) + v."""
    x2, y2, xy, xv, yv = (c * (p * q).sum(-1, keepdim=True) for p, q in ((x, x), (y, y), (x, y), (x, v), (y, v)))
    along_x = yv + 2 * xy * yv - xv * y2
    along_y = -xv - x2 * yv
    return v + 2 * (along_x * x + along_y * y) / (1 + 2 * xy + x2 * y2)


@wide
def mobius_scale(k: Float[Tensor, "*#batch 1"], x: Float[Tensor, "*#batch n"], c: float) -> Float[Tensor, "*batch n"]:
    """k times x of gyrovectors: the point at k times its distance from the origin."""
    return project(expmap0(k * logmap0(x, c), c), c)


@wide
def distance(x: Float[Tensor, "*#batch n"], y: Float[Tensor, "*#batch n"], c: float) -> Float[Tensor, "*batch"]:
    """The length of the geodesic, by its chord: sinh(sqrt(c) d / 2) = sqrt(c) |x - y| sqrt(lambda_x lambda_y) / 2."""
    z = c / 4 * squared(x - y) * conformal_factor(x, c) * conformal_factor(y, c)
    return (2 / c**0.5 * asinh(root(z))).squeeze(-1)


@wide
def expmap0(v: Float[Tensor, "*batch n"], c: float) -> Float[Tensor, "*batch n"]:
    """Where the geodesic from the origin with the velocity v is after unit time."""
    return project(tanhc(c * squared(v)) * v, c)


@wide
def logmap0(x: Float[Tensor, "*batch n"], c: float) -> Float[Tensor, "*batch n"]:
    """The inverse of `expmap0`."""
    return atanhc(c * squared(x)) * x


@wide
def expmap(x: Float[Tensor, "*#batch n"], u: Float[Tensor, "*#batch n"], c: float) -> Float[Tensor, "*batch n"]:
    """Where the geodesic from x with the tangent vector u as velocity is after unit time."""
    v = conformal_factor(x, c) / 2 * u
    return project(_mobius_add(x, tanhc(c * squared(v)) * v, c), c)


@wide
def logmap(x: Float[Tensor, "*#batch n"], y: Float[Tensor, "*#batch n"], c: float) -> Float[Tensor, "*batch n"]:
    """The tangent vector at x whose `expmap` is y."""
    difference = _mobius_add(-x, y, c)
    return 2 / conformal_factor(x, c) * atanhc(c * squared(difference)) * difference


@wide
def transport(
    x: Float[Tensor, "*#batch n"], y: Float[Tensor, "*#batch n"], u: Float[Tensor, "*#batch n"], c: float
) -> Float[Tensor, "*batch n"]:
    """The tangent vector u at x, transported in parallel along the geodesic to y."""
    return conformal_factor(x, c) / conformal_factor(y, c) * gyration(y, -x, u, c)


@wide
def midpoint(
    x: Float[Tensor, "*batch points n"], c: float, weights: Float[Tensor, "*#batch points"] | None = None
) -> Float[Tensor, "*batch n"]:
    """The gyromidpoint: 1/2 times (sum_i w_i lambda_i x_i) / (sum_i w_i (lambda_i - 1)), the product that of gyrovectors."""
    lengths = conformal_factor(x, c)
    w = torch.ones_like(lengths) if weights is None else weights.unsqueeze(-1)
    m = (w * lengths * x).sum(-2) / (w * (lengths - 1)).sum(-2)
    return project(m / (1 + (1 - c * squared(m)).clamp_min(0).sqrt()), c)


@wide
def hyperplane_distance(
    x: Float[Tensor, "*batch n"], z: Float[Tensor, "planes n"], r: Float[Tensor, " planes"], c: float
) -> Float[Tensor, "*batch planes"]:
    """The signed distance of x from the hyperplane through exp_0(r z / |z|) that is orthogonal to z (HNN++).

    That plane is at the distance 2 r from the origin.
    """
    unit = z / root(squared(z))
    factor, shift = conformal_factor(x, c), (2 * c**0.5 * r).clamp(-FARTHEST, FARTHEST)
    along = c**0.5 * factor * (x @ unit.mT)
    return (along * shift.cosh() - (factor - 1) * shift.sinh()).asinh() / c**0.5


@wide
def to_lorentz(x: Float[Tensor, "*batch n"], c: float) -> Float[Tensor, "*batch m"]:
    """The isometric point (t, s) of the hyperboloid."""
    factor = conformal_factor(x, c)
    return torch.cat([(factor - 1) / c**0.5, factor * x], -1)
