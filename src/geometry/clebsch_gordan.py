"""Real Clebsch-Gordan coefficients of SO(3), exact before the one rounding to float64."""

from fractions import Fraction
from functools import cache
from math import comb, factorial, sqrt

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ..errors import UserError
from .tables import constant_table


def wigner_3j(
    l1: int, l2: int, l3: int, dtype: torch.dtype = torch.float64, device: torch.device | str = "cpu"
) -> Float[Tensor, "2*{l1}+1 2*{l2}+1 2*{l3}+1"]:
    """The invariant tensor of l1 x l2 x l3 in the real basis, with unit Frobenius norm and e3nn's sign.

    w[a, b, c] = D1[a', a] D2[b', b] D3[c', c] w[a', b', c'] for every rotation. Each entry is the square root of a
    rational number, found in exact arithmetic and rounded once. UserError unless |l1 - l2| <= l3 <= l1 + l2.
    """
    return _wigner_3j(l1, l2, l3, dtype=dtype, device=device).clone()


def clebsch_gordan(
    l1: int, l2: int, l3: int, dtype: torch.dtype = torch.float64, device: torch.device | str = "cpu"
) -> Float[Tensor, "2*{l1}+1 2*{l2}+1 2*{l3}+1"]:
    """The isometry l3 -> l1 x l2: sqrt(2 l3 + 1) wigner_3j, so that sum_ab C[a, b, c] C[a, b, d] = delta_cd."""
    return _clebsch_gordan(l1, l2, l3, dtype=dtype, device=device).clone()


@cache
def signed_squares(l1: int, l2: int, l3: int) -> dict[tuple[int, int, int], Fraction]:
    """The non-zero Clebsch-Gordan coefficients at (m1, m2, m3), each as sign times square: an exact rational number.

    A real basis vector combines |l, m> and |l, -m| only, and coefficients vanish unless the complex orders add up, so
    that an entry is one complex coefficient and its mirror image times a phase: its square is rational.
    """
    if min(l1, l2, l3) < 0 or not abs(l1 - l2) <= l3 <= l1 + l2:
        raise UserError(f"clebsch_gordan: ({l1}, {l2}, {l3}) do not couple; need |l1 - l2| <= l3 <= l1 + l2, all >= 0")
    squares = {}
    for m1 in range(-l1, l1 + 1):
        for m2 in range(-l2, l2 + 1):
            for size in {abs(m1 + m2), abs(m1 - m2)}:
                for m3 in {size, -size} if size <= l3 else ():
                    value = _real_square(l1, m1, l2, m2, l3, m3)
                    if value:
                        squares[m1, m2, m3] = value
    return squares


def _real_square(l1: int, m1: int, l2: int, m2: int, l3: int, m3: int) -> Fraction:
    """Sign times square of the coefficient between real basis vectors."""
    total, square = 0j, Fraction(0)
    for k1 in {m1, -m1}:
        for k2 in {m2, -m2}:
            k3 = k1 + k2
            if abs(k3) != abs(m3):
                continue
            sign, square = _complex_square(l1, k1, l2, k2, l3, k3)
            # i to the power of: the bra of l3 is conjugated, and e3nn gives degree l the phase (-i)^l.
            turns = _quarter_turns(k1, m1) + _quarter_turns(k2, m2) - _quarter_turns(k3, m3) - l1 - l2 + l3
            total += sign * (1, 1j, -1, -1j)[turns % 4]
    halvings = sum(m != 0 for m in (m1, m2, m3))
    value = round(total.real)
    return square * value * abs(value) / 2**halvings


def _quarter_turns(k: int, m: int) -> int:
    """The power of i in <l, k | real m>, for |k| = |m|; the modulus is 1/sqrt(2), or 1 at m = 0."""
    condon_shortley = 2 * (k % 2) if k > 0 else 0
    if m >= 0:
        return condon_shortley
    return condon_shortley + (1 if k > 0 else 3)


def _complex_square(j1: int, m1: int, j2: int, m2: int, j3: int, m3: int) -> tuple[int, Fraction]:
    """Sign and square of <j1 m1 j2 m2 | j3 m3>: Racah's formula, its alternating sum over products of binomials."""
    a, b, c = j1 + j2 - j3, j1 - j2 + j3, -j1 + j2 + j3
    total = sum(
        (-1) ** k * comb(a, k) * comb(b, j1 - m1 - k) * comb(c, j2 + m2 - k)
        for k in range(max(0, j1 - m1 - b, j2 + m2 - c), min(a, j1 - m1, j2 + m2) + 1)
    )
    f = factorial
    scale = Fraction(
        (2 * j3 + 1) * f(j1 + m1) * f(j1 - m1) * f(j2 + m2) * f(j2 - m2) * f(j3 + m3) * f(j3 - m3),
        f(a) * f(b) * f(c) * f(j1 + j2 + j3 + 1),
    )
    return (total > 0) - (total < 0), scale * total**2


def _dense(l1: int, l2: int, l3: int, divisor: int) -> np.ndarray:
    squares = signed_squares(l1, l2, l3)
    table = np.zeros((2 * l1 + 1, 2 * l2 + 1, 2 * l3 + 1))
    for (m1, m2, m3), value in squares.items():
        table[l1 + m1, l2 + m2, l3 + m3] = sqrt(abs(value) / divisor) * (1 if value > 0 else -1)
    return table


@constant_table
def _wigner_3j(l1: int, l2: int, l3: int) -> np.ndarray:
    return _dense(l1, l2, l3, 2 * l3 + 1)


@constant_table
def _clebsch_gordan(l1: int, l2: int, l3: int) -> np.ndarray:
    return _dense(l1, l2, l3, 1)
