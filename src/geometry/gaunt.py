"""Gaunt coefficients: integrals of three real spherical harmonics, exact before the one rounding to float64."""

from fractions import Fraction
from math import pi, sqrt

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from .checks import require_degree
from .clebsch_gordan import signed_squares
from .tables import constant_table


def gaunt(
    l1: int, l2: int, l3: int, dtype: torch.dtype = torch.float64, device: torch.device | str = "cpu"
) -> Float[Tensor, "2*{l1}+1 2*{l2}+1 2*{l3}+1"]:
    """G[a, b, c] = integral over the sphere of Y_l1a Y_l2b Y_l3c, all `integral`-normalised.

    Invariant under rotations, hence a multiple of `wigner_3j`; it vanishes for odd l1 + l2 + l3 and where the degrees
    do not couple. 4 pi G^2 is rational, and found in exact arithmetic.
    """
    return _gaunt(l1, l2, l3, dtype=dtype, device=device).clone()


def gaunt_tensor(
    lmax1: int, lmax2: int, lmax3: int, dtype: torch.dtype = torch.float64, device: torch.device | str = "cpu"
) -> Float[Tensor, "({lmax1}+1)**2 ({lmax2}+1)**2 ({lmax3}+1)**2"]:
    """The Gaunt coefficients of all degrees up to lmax1, lmax2 and lmax3, as one dense tensor."""
    for lmax in (lmax1, lmax2, lmax3):
        require_degree("gaunt_tensor", lmax)
    return _gaunt_tensor(lmax1, lmax2, lmax3, dtype=dtype, device=device).clone()


@constant_table
def _gaunt(l1: int, l2: int, l3: int) -> np.ndarray:
    for degree in (l1, l2, l3):
        require_degree("gaunt", degree)
    table = np.zeros((2 * l1 + 1, 2 * l2 + 1, 2 * l3 + 1))
    if (l1 + l2 + l3) % 2 or not abs(l1 - l2) <= l3 <= l1 + l2:
        return table
    squares = signed_squares(l1, l2, l3)
    # G_000 = sqrt((2 l1 + 1)(2 l2 + 1) / (4 pi (2 l3 + 1))) C_000^2 fixes the multiple.
    zonal = squares[0, 0, 0]
    scale = Fraction((2 * l1 + 1) * (2 * l2 + 1), 2 * l3 + 1) * zonal
    for (m1, m2, m3), square in squares.items():
        value = scale * square
        table[l1 + m1, l2 + m2, l3 + m3] = sqrt(abs(value) / (4 * pi)) * (1 if value > 0 else -1)
    return table


@constant_table
def _gaunt_tensor(lmax1: int, lmax2: int, lmax3: int) -> np.ndarray:
    table = np.zeros(((lmax1 + 1) ** 2, (lmax2 + 1) ** 2, (lmax3 + 1) ** 2))
    at = [slice(degree**2, (degree + 1) ** 2) for degree in range(max(lmax1, lmax2, lmax3) + 1)]
    for l1 in range(lmax1 + 1):
        for l2 in range(lmax2 + 1):
            for l3 in range(abs(l1 - l2), min(l1 + l2, lmax3) + 1, 2):
                table[at[l1], at[l2], at[l3]] = gaunt(l1, l2, l3).numpy()
    return table
