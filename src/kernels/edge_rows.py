"""The way into the frames of edges and back, and the product there, row by row: for compilers.

The same as `to_edge_frame`, `so2_diagonal` and `from_edge_frame`, with each row a tensor (edges, channels) of its own and
each number of D and each weight multiplied on its own. Compiled that is one pass over memory, and 2.7 times (L = 2)
to 1.6 times (L = 4) as fast as with products of small matrices; not compiled it is far slower. Compilation takes 4 to 12
times as long at L = 4 as at L = 2, so that it is only worth it for FEW multiplications.
"""

from jaxtyping import Float
from torch import Tensor

from .m_layout import degrees, l_major_places, orders, rotation_flop
from .so2 import pair_slices

FEW = 500
"""Multiplications of an edge and channel up to which a product is written out: up to L = 4."""

Rows = list[Float[Tensor, "edges channels"]]


def is_short(lmax: int, mmax: int) -> bool:
    """Whether turning there, mixing and turning back take FEW multiplications."""
    n = degrees(lmax, mmax)
    return rotation_flop(lmax, mmax) + n[0] ** 2 + sum(4 * k**2 for k in n[1:]) <= FEW


def turned(
    x: Float[Tensor, "edges components channels"], D: Float[Tensor, "edges packed"], lmax: int, mmax: int
) -> Rows:
    """The rows of D x in the m-major layout."""
    x, D = x.unbind(1), _numbers(D)
    return [
        _sum((1, D[place_in_packed(degree, m, k)], x[degree**2 + k]) for k in range(2 * degree + 1))
        for degree, m in m_major(lmax, mmax)
    ]


def turned_back(y: Rows, D: Float[Tensor, "edges packed"], lmax: int, mmax: int) -> Rows:
    """The rows of D^T y degree after degree, for those of y in the m-major layout."""
    D, row = _numbers(D), dict(zip(m_major(lmax, mmax), y, strict=True))
    return [
        _sum(
            (1, D[place_in_packed(degree, m, k)], row[degree, m])
            for m in range(-min(degree, mmax), min(degree, mmax) + 1)
        )
        for degree in range(lmax + 1)
        for k in range(2 * degree + 1)
    ]


def mixed(x: Rows, weight: Float[Tensor, "edges pairs channels"], lmax: int, mmax: int) -> Rows:
    """The rows of y_m + i y_-m = w_m (x_m + i x_-m), degree by degree (so2.py says how the weights stand)."""
    weights, row = weight.unbind(1), dict(zip(m_major(lmax, mmax), x, strict=True))
    terms: dict = {place: [] for place in row}
    for m, (n, part) in enumerate(zip(degrees(lmax, mmax), pair_slices(lmax, mmax), strict=True)):
        for pair in range(n * n):
            to, of = m + pair // n, m + pair % n
            real = weights[part.start + pair]
            terms[to, m].append((1, real, row[of, m]))
            if m:
                imaginary = weights[part.start + n * n + pair]
                terms[to, m].append((-1, imaginary, row[of, -m]))
                terms[to, -m] += [(1, real, row[of, -m]), (1, imaginary, row[of, m])]
    return [_sum(terms[place]) for place in row]


def m_major(lmax: int, mmax: int) -> list[tuple[int, int]]:
    """The (degree, order) of each row of the m-major layout."""
    kept = orders(lmax, mmax)
    return [kept[place] for place in l_major_places(lmax, mmax)]


def place_in_packed(degree: int, m: int, k: int) -> int:
    """Where the number of row m = -degree..degree and column k = 0..2 degree stands in packed D."""
    size = 2 * degree + 1
    return degree * (4 * degree**2 - 1) // 3 + (m + degree) * size + k


def _numbers(D: Tensor) -> tuple[Tensor, ...]:
    """Each of the packed numbers as (edges, 1). Unlike that of slices, the gradient of unbind is one stack."""
    return D.unsqueeze(2).unbind(1)


def _sum(terms) -> Tensor:
    """The sum of sign * factor * row; the first sign is +."""
    total = None
    for sign, factor, row in terms:
        product = factor * row
        total = product if total is None else total + product if sign > 0 else total - product
    return total
