"""Clifford (geometric) algebras G(p, q, r): blades, their product, and the involutions.

A signature (p, q, r) has p generators that square to +1, q to -1 and r to 0. The null generators come first, then the
positive, then the negative ones, so that G(3, 0, 1) has the generators e0, e1, e2, e3 of projective geometric algebra
with e0^2 = 0. Blades are ordered by grade, then lexicographically: 1, e0, e1, e2, e3, e01, e02, ..., e0123. This is the
order of GATr (arXiv:2305.18415). A multivector has its 2^(p+q+r) blades along the first axis.

The outer product is the geometric product of G(0, 0, p + q + r), which has the same blades in the same order; the join
of projective algebra is therefore `undual` of that product of duals.
"""

import math
from functools import cache
from itertools import combinations
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ..errors import UserError
from .tables import constant_table

Signature = tuple[int, int, int]


class Term(NamedTuple):
    """blade `left` times blade `right` is `sign` times blade `out`; sign is 1 or -1."""

    left: int
    right: int
    out: int
    sign: int


def squares(signature: Signature) -> tuple[int, ...]:
    """What each generator squares to: 0, 1 or -1."""
    valid = isinstance(signature, tuple) and len(signature) == 3 and all(type(n) is int and n >= 0 for n in signature)
    if not valid:
        raise UserError(f"clifford: signature {signature!r}; give three numbers >= 0, such as (3, 0, 1) for G(3, 0, 1)")
    positive, negative, null = signature
    return (0,) * null + (1,) * positive + (-1,) * negative


@cache
def blades(signature: Signature) -> tuple[tuple[int, ...], ...]:
    """The generators in each basis blade, in rising order: (), (0,), (1,), ..., (0, 1), ..."""
    generators = range(len(squares(signature)))
    return tuple(blade for grade in range(len(generators) + 1) for blade in combinations(generators, grade))


@cache
def grades(signature: Signature) -> tuple[int, ...]:
    """The grade of each basis blade."""
    return tuple(map(len, blades(signature)))


@constant_table
def blade_squares(signature: Signature) -> np.ndarray:
    """<b~ b>_0 of each basis blade b: the product of its generators' squares."""
    square = squares(signature)
    return np.array([math.prod(square[i] for i in blade) for blade in blades(signature)], dtype=np.float64)


@cache
def product_terms(signature: Signature) -> tuple[Term, ...]:
    """The geometric product as the list of its non-zero terms, ordered by left, then by right factor."""
    metric, basis = squares(signature), blades(signature)
    at = {blade: i for i, blade in enumerate(basis)}
    terms = []
    for i, left in enumerate(basis):
        for j, right in enumerate(basis):
            sign = _reordering(left, right)
            for shared in set(left) & set(right):
                sign *= metric[shared]
            if sign:
                terms.append(Term(i, j, at[tuple(sorted(set(left) ^ set(right)))], sign))
    return tuple(terms)


@cache
def grade_paths(signature: Signature) -> tuple[tuple[int, int, int], ...]:
    """The grades (a, b, c) for which a product of grades a and b has a part of grade c, in rising order."""
    grade = grades(signature)
    return tuple(sorted({(grade[t.left], grade[t.right], grade[t.out]) for t in product_terms(signature)}))


def _reordering(left: tuple[int, ...], right: tuple[int, ...]) -> int:
    """The sign of sorting left + right by swaps of neighbours; equal generators end up side by side."""
    return (-1) ** sum(a > b for a in left for b in right)


def product_table(
    signature: Signature, dtype: torch.dtype = torch.float64, device: torch.device | str = "cpu"
) -> Float[Tensor, "blades blades blades"]:
    """T with (x y)_k = sum_ij T[i, j, k] x_i y_j; its entries are 0, 1 and -1."""
    return _product_table(signature, dtype=dtype, device=device).clone()


def reverse(x: Float[Tensor, "blades *rest"], signature: Signature) -> Float[Tensor, "blades *rest"]:
    """The reversion: generators of each blade in opposite order, (-1)^(g (g - 1) / 2); (x y)~ = y~ x~."""
    return _signed(x, signature, "reverse", [(-1) ** (g * (g - 1) // 2) for g in grades(signature)])


def grade_involution(x: Float[Tensor, "blades *rest"], signature: Signature) -> Float[Tensor, "blades *rest"]:
    """Each generator to its negative, (-1)^g: an automorphism of the algebra."""
    return _signed(x, signature, "grade_involution", [(-1) ** g for g in grades(signature)])


def dual(x: Float[Tensor, "blades *rest"], signature: Signature) -> Float[Tensor, "blades *rest"]:
    """The right complement: each blade e_S to plus or minus e_T, T the other generators, with e_S ^ dual(e_S) = e_01...

    It needs no metric, and so exists in degenerate algebras, where multiplication by the pseudoscalar has no inverse.
    """
    return _signed(x, signature, "dual", _complement_signs(signature)).flip(0)


def undual(x: Float[Tensor, "blades *rest"], signature: Signature) -> Float[Tensor, "blades *rest"]:
    """The inverse of `dual`."""
    _require_blades(x, signature, "undual")
    return _signed(x.flip(0), signature, "undual", _complement_signs(signature))


def _complement_signs(signature: Signature) -> list[int]:
    """Blades in our order are complements of each other when read from both ends."""
    basis = blades(signature)
    return [_reordering(blade, other) for blade, other in zip(basis, reversed(basis), strict=True)]


def _signed(x: Tensor, signature: Signature, name: str, signs: list[int]) -> Tensor:
    _require_blades(x, signature, name)
    return x * x.new_tensor(signs).view(-1, *[1] * (x.ndim - 1))


def _require_blades(x: Tensor, signature: Signature, name: str) -> None:
    count = len(blades(signature))
    if x.ndim == 0 or x.shape[0] != count:
        raise UserError(f"{name}: x {tuple(x.shape)}; G{signature} has {count} blades, give ({count}, ...)")


@constant_table
def _product_table(signature: Signature) -> np.ndarray:
    size = len(blades(signature))
    table = np.zeros((size, size, size))
    for left, right, out, sign in product_terms(signature):
        table[left, right, out] = sign
    return table
