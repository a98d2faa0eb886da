"""Functions of a distance: the bases that radial networks read, and envelopes that let them end smoothly at a cutoff."""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ..errors import UserError


class GaussianBasis(nn.Module):
    """exp(-(d - mu_k)^2 / (2 sigma^2)) with `count` centres mu_k evenly spaced from start to stop (SchNet, arXiv:1706.08566).

    Args:
        start, stop: the first and the last centre, in the unit of the distances.
        count: how many centres; 2 or more.
        width_scalar: sigma in units of the distance between centres.
    """

    centers: Tensor

    def __init__(self, start: float, stop: float, count: int, width_scalar: float):
        super().__init__()
        if not (start < stop and count >= 2 and width_scalar > 0):
            raise UserError(
                f"GaussianBasis: need start < stop, count >= 2 and width_scalar > 0, got {start}, {stop}, {count}, "
                f"{width_scalar}"
            )
        self.count = count
        self.sigma = width_scalar * (stop - start) / (count - 1)
        self.register_buffer("centers", torch.linspace(start, stop, count), persistent=False)

    def forward(self, distance: Float[Tensor, " edges"]) -> Float[Tensor, "edges count"]:
        return torch.exp(-0.5 * ((distance[:, None] - self.centers) / self.sigma).square())


class BesselBasis(nn.Module):
    """sqrt(2 / c) sin(n pi d / c) / d for n = 1..count: orthonormal on a ball, zero at d = c (arXiv:2003.03123, eq. 7).

    At d = 0 it has its limit. It goes on beyond the cutoff c: an envelope ends it.

    Args:
        cutoff: c, in the unit of the distances.
        count: how many functions.
    """

    frequencies: Tensor

    def __init__(self, cutoff: float, count: int):
        super().__init__()
        require_cutoff("BesselBasis", cutoff)
        if count < 1:
            raise UserError(f"BesselBasis: count must be 1 or more, not {count}")
        self.count = count
        self.scale = math.sqrt(2 / cutoff)
        frequencies = torch.arange(1, count + 1, dtype=torch.float64) * (math.pi / cutoff)
        self.register_buffer("frequencies", frequencies.to(torch.get_default_dtype()), persistent=False)

    def forward(self, distance: Float[Tensor, " edges"]) -> Float[Tensor, "edges count"]:
        return self.scale * self.frequencies * sinc(distance[:, None] * self.frequencies)


class PolynomialEnvelope(nn.Module):
    """1 at d = 0, and 0 from the cutoff on, with two continuous derivatives (arXiv:2003.03123, eq. 8).

    u = 1 - (p+1)(p+2)/2 x^p + p(p+2) x^(p+1) - p(p+1)/2 x^(p+2) with x = d / cutoff.

    Args:
        cutoff: in the unit of the distances.
        exponent: p; the larger, the longer u stays near 1 (5 or 6 in the literature).
    """

    def __init__(self, cutoff: float, exponent: int):
        super().__init__()
        require_cutoff("PolynomialEnvelope", cutoff)
        if exponent < 2:
            raise UserError(f"PolynomialEnvelope: exponent must be 2 or more, not {exponent}")
        self.cutoff, self.exponent = cutoff, exponent

    def forward(self, distance: Float[Tensor, " edges"]) -> Float[Tensor, " edges"]:
        p, x = self.exponent, (distance / self.cutoff).clamp(max=1)
        inner = (p + 1) * (p + 2) / 2 - p * (p + 2) * x + p * (p + 1) / 2 * x.square()
        return torch.where(distance < self.cutoff, 1 - x**p * inner, 0)


def sinc(x: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
    """sin(x) / x, with its limit and all derivatives that anyone takes at 0 (those of torch.sinc become NaN there)."""
    near = x.abs() < 0.01
    far = torch.where(near, 1, x)
    square = torch.where(near, x, 0).square()
    return torch.where(near, 1 - square / 6 + square.square() / 120, far.sin() / far)


def require_cutoff(name: str, cutoff: float) -> None:
    if not 0 < cutoff < math.inf:
        raise UserError(f"{name}: the cutoff must be positive and finite, not {cutoff}")
