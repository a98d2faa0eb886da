"""Functions of a distance and an angle: spherical Bessel functions times Legendre polynomials (arXiv:2003.03123)."""

import math

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from ..errors import UserError
from ..geometry.tables import constant_table
from .radial import require_cutoff

TERMS = 24  # of the power series: exact to rounding up to x = l + 1 for all degrees allowed here
HIGHEST = 10


class AngularBasis(nn.Module):
    """sqrt(2 / (c^3 j_{l+1}(z_ln)^2)) j_l(z_ln d / c) Y_l0(angle), l < degrees, n <= count: orthonormal on a ball (eq. 6).

    z_ln is the n-th positive root of the spherical Bessel function j_l, so that all is zero at d = c; like BesselBasis it
    goes on beyond, and an envelope ends it.

    Args:
        cutoff: c, in the unit of the distances.
        degrees: how many degrees l, from 0 on.
        count: how many roots of each.
    """

    def __init__(self, cutoff: float, degrees: int, count: int):
        super().__init__()
        require_cutoff("AngularBasis", cutoff)
        if not (1 <= degrees <= HIGHEST and count >= 1):
            raise UserError(f"AngularBasis: need 1 to {HIGHEST} degrees and count >= 1, got {degrees}, {count}")
        self.cutoff, self.degrees, self.count = cutoff, degrees, count

    def radial(self, distance: Float[Tensor, " edges"]) -> Float[Tensor, "edges degrees count"]:
        """All but Y_l0, for each edge."""
        like = {"dtype": distance.dtype, "device": distance.device}
        roots = bessel_roots(self.degrees, self.count, **like)
        x = distance[:, None, None] * (roots / self.cutoff)
        values = [spherical_bessel(x[:, degree], degree) for degree in range(self.degrees)]
        return torch.stack(values, 1) * bessel_norms(self.degrees, self.count, **like) / self.cutoff**1.5

    def angular(self, cosine: Float[Tensor, " angles"]) -> Float[Tensor, "angles degrees"]:
        """Y_l0 of each angle, from its cosine: sqrt((2l + 1) / 4 pi) P_l."""
        values = [torch.ones_like(cosine), cosine]
        for degree in range(2, self.degrees):  # l P_l = (2l - 1) x P_(l-1) - (l - 1) P_(l-2)
            values.append(((2 * degree - 1) * cosine * values[-1] - (degree - 1) * values[-2]) / degree)
        scaled = [math.sqrt((2 * degree + 1) / (4 * math.pi)) * value for degree, value in enumerate(values)]
        return torch.stack(scaled[: self.degrees], 1)


def spherical_bessel(x: Float[Tensor, "*batch"], degree: int) -> Float[Tensor, "*batch"]:
    """j_l(x) for x >= 0 and l <= 10, accurate everywhere and with finite derivatives at 0.

    The power series up to x = l + 1; from there on upward recurrence, which is stable where x > l.
    """
    near = x < degree + 1
    half_square = torch.where(near, x, 0).square() / 2
    series = torch.ones_like(x)
    for k in range(TERMS, 0, -1):
        series = 1 - half_square / (k * (2 * degree + 2 * k + 1)) * series
    series = series * torch.where(near, x, 0) ** degree / math.prod(range(1, 2 * degree + 2, 2))
    far = torch.where(near, degree + 1, x)
    lower, value = far.cos() / far, far.sin() / far  # j_(-1) and j_0
    for below in range(degree):
        lower, value = value, (2 * below + 1) / far * value - lower
    return torch.where(near, series, value)


@constant_table
def bessel_roots(degrees: int, count: int) -> np.ndarray:
    """(degrees, count): the first positive roots of j_l; those of j_l lie between those of j_(l-1)."""
    from scipy.optimize import brentq
    from scipy.special import spherical_jn

    roots = [np.pi * np.arange(1, count + degrees)]
    for degree in range(1, degrees):
        bounds = zip(roots[-1], roots[-1][1:], strict=False)
        roots.append(np.array([brentq(lambda x, n=degree: spherical_jn(n, x), *pair, xtol=1e-13) for pair in bounds]))
    return np.stack([row[:count] for row in roots])


@constant_table
def bessel_norms(degrees: int, count: int) -> np.ndarray:
    """(degrees, count): sqrt(2) / |j_{l+1}(z_ln)|."""
    from scipy.special import spherical_jn

    roots = bessel_roots(degrees, count, dtype=torch.float64, device=torch.device("cpu")).numpy()
    return np.sqrt(2) / np.abs(np.stack([spherical_jn(degree + 1, row) for degree, row in enumerate(roots)]))
