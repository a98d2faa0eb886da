"""Real spherical harmonics of any degree, as polynomials of x, y and z."""

import math

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ..errors import UserError
from .checks import require, require_degree
from .rotations import unit_vectors
from .tables import constant_table

NORMALIZATIONS = ("component", "norm", "integral")


def spherical_harmonics(
    r: Float[Tensor, "*batch 3"], lmax: int, *, normalize: bool = True, normalization: str = "component"
) -> Float[Tensor, "*batch ({lmax}+1)**2"]:
    """All Y_lm(r), l = 0..lmax, in the order and normalisation that `erlangen.geometry` states.

    With `normalize`, of r / |r|; without, the homogeneous polynomials |r|^l Y_lm(r / |r|). Being polynomials they have
    finite derivatives everywhere, poles included. A zero vector gives 0 for every l > 0 and the constant for l = 0; its
    gradient is 0 with `normalize`, and the polynomial's own gradient without.

    Y_lm is P_lm(y, |r|^2) times the real or imaginary part of (z + i x)^|m|, and at fixed m the fully normalised P_lm
    rise in l by their three-term recurrence, which is stable.
    """
    require("spherical_harmonics: r", r, 3)
    require_degree("spherical_harmonics", lmax)
    scales = normalization_scales(lmax, normalization)
    if normalize:
        r = unit_vectors(r)
    legendre = _legendre(r[..., 1:2], r.square().sum(-1, keepdim=True), lmax)
    cosines, sines = _azimuth(r, lmax)
    rows = []
    for degree, p in enumerate(legendre):
        p = p * scales[degree] if scales[degree] != 1 else p
        rows += [p[..., 1:].flip(-1) * sines[..., lmax - degree : lmax], p * cosines[..., : degree + 1]]
    return torch.cat(rows, -1)


def normalization_scales(lmax: int, normalization: str) -> list[float]:
    """What component-normalised harmonics of degree 0..lmax are multiplied by to have this normalisation."""
    if normalization not in NORMALIZATIONS:
        raise UserError(f"spherical harmonics: normalization must be one of {NORMALIZATIONS}, got {normalization!r}")
    degrees = range(lmax + 1)
    if normalization == "norm":
        return [1 / math.sqrt(2 * degree + 1) for degree in degrees]
    return [1.0 if normalization == "component" else 1 / math.sqrt(4 * math.pi) for _ in degrees]


def _azimuth(r: Float[Tensor, "*batch 3"], lmax: int) -> tuple[Tensor, Tensor]:
    """Re (z + i x)^m for m = 0..lmax, and Im (z + i x)^m for m = lmax..1."""
    x, z = r[..., 0], r[..., 2]
    cosines, sines = [torch.ones_like(z)], [torch.zeros_like(x)]
    for _ in range(lmax):
        c, s = cosines[-1], sines[-1]
        cosines.append(z * c - x * s)
        sines.append(x * c + z * s)
    return torch.stack(cosines, -1), torch.stack(sines[:0:-1], -1) if lmax else r[..., :0]


def _legendre(y: Float[Tensor, "*batch 1"], square: Float[Tensor, "*batch 1"], lmax: int) -> list[Tensor]:
    """P_lm / sin^m, m = 0..l, for l = 0..lmax, homogenised by |r|^2: (*batch, l+1) each."""
    rows = [torch.ones_like(y)]
    for degree in range(1, lmax + 1):
        rise, fall, top = recurrence(degree, dtype=y.dtype, device=y.device).split((degree, degree, 1))
        row = rise * y * rows[-1]
        if degree > 1:
            row = torch.cat([row[..., :-1] - fall[:-1] * square * rows[-2], row[..., -1:]], -1)
        rows.append(torch.cat([row, top.expand_as(y)], -1))
    return rows


@constant_table
def recurrence(degree: int) -> np.ndarray:
    """a_lm and b_lm of P_lm = a_lm y P_(l-1)m - b_lm |r|^2 P_(l-2)m for m = 0..l-1, then the constant P_ll / sin^l."""
    m = np.arange(degree)
    rise = np.sqrt((4 * degree**2 - 1) / (degree**2 - m**2))
    fall = rise * np.sqrt(((degree - 1) ** 2 - m**2) / (4 * (degree - 1) ** 2 - 1))
    orders = np.arange(1, degree + 1)
    top = np.sqrt(2 * np.prod((2 * orders + 1) / (2 * orders)))
    return np.concatenate([rise, fall, [top]])
