"""Products that commute with turns about one axis: what a convolution is in the frame of its edge (arXiv:2302.03655).

Rows are m-major (m_layout.py). Weights stand along one axis of P = n_0^2 + 2 sum of n_m^2 "pairs", n_m = lmax - m + 1:
for m = 0 one real number for each (degree out, degree in), row-major; then for each m = 1..mmax the real parts for each
(degree out, degree in), both from m to lmax, and then the imaginary parts likewise.
"""

from math import sqrt

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ..geometry.clebsch_gordan import wigner_3j
from ..geometry.tables import constant_table
from .m_layout import check_orders, consecutive, degrees


def pairs(lmax: int, mmax: int) -> int:
    """P, the number of weights for each channel (or pair of channels)."""
    return sum((2 if m else 1) * n * n for m, n in enumerate(degrees(lmax, mmax)))


def pair_slices(lmax: int, mmax: int) -> list[slice]:
    """Where each m = 0..mmax stands along the axis of pairs, real before imaginary parts."""
    sizes = [(2 if m else 1) * n * n for m, n in enumerate(degrees(lmax, mmax))]
    return consecutive(sizes)


def so2_linear(
    x: Float[Tensor, "edges rows channels_in"],
    weight: Float[Tensor, "pairs channels_in channels_out"],
    lmax: int,
    mmax: int,
) -> Float[Tensor, "edges rows channels_out"]:
    """The SO(2) linear layer of eSCN (arXiv:2302.03655): for each m, y_m + i y_-m = W_m (x_m + i x_-m).

    W_m is a complex matrix (real for m = 0) over degrees and channels, so that one matrix product serves each m.
    """
    sizes = [n * (2 if m else 1) for m, n in enumerate(degrees(lmax, mmax))]
    mixed = so2_blocks([rows.flatten(1) for rows in x.split(sizes, 1)], weight, lmax, mmax)
    return torch.cat([rows.unflatten(1, (-1, weight.shape[2])) for rows in mixed], 1)


def so2_blocks(
    x: list[Float[Tensor, "edges _"]],
    weight: Float[Tensor, "pairs channels_in channels_out"],
    lmax: int,
    mmax: int,
) -> list[Float[Tensor, "edges _"]]:
    """`so2_linear` for the rows of each m in a matrix of their own, in which rows and channels are one axis."""
    n = degrees(lmax, mmax)
    blocks = weight.split([k * k * (2 if m else 1) for m, k in enumerate(n)])
    return [rows @ _matrix(block, n[m], m) for m, (rows, block) in enumerate(zip(x, blocks, strict=True))]


def _matrix(weight: Tensor, n: int, m: int) -> Tensor:
    """((real, imaginary) degree channel) in x the same out: [[a, b], [-b, a]] of the complex weight a + i b."""
    weight = weight.unflatten(0, (-1, n, n)).permute(0, 2, 3, 1, 4).flatten(3).flatten(1, 2)  # (parts, in, out)
    if m == 0:
        return weight[0]
    real, imaginary = weight
    return torch.cat([torch.cat([real, imaginary], 1), torch.cat([-imaginary, real], 1)])


def so2_diagonal(
    x: Float[Tensor, "edges rows channels"], weight: Float[Tensor, "edges pairs channels"], lmax: int, mmax: int
) -> Float[Tensor, "edges rows channels"]:
    """`so2_linear` for each channel alone and with weights of each edge: y_m + i y_-m = w_m (x_m + i x_-m)."""
    # split rather than slices: its gradient is a concatenation, theirs are sums into zeros
    sizes = degrees(lmax, mmax)
    rows = iter(x.split([sizes[0], *(n for n in sizes[1:] for _ in range(2))], 1))
    parts = iter(weight.split([sizes[0] ** 2, *(n * n for n in sizes[1:] for _ in range(2))], 1))
    out = [_mix(next(parts), next(rows))]
    for _ in sizes[1:]:
        real, imaginary, plus, minus = next(parts), next(parts), next(rows), next(rows)
        out.append(_mix(real, plus) - _mix(imaginary, minus))
        out.append(_mix(real, minus) + _mix(imaginary, plus))
    return torch.cat(out, 1)


def _mix(w: Tensor, x: Tensor) -> Tensor:
    """Sum over the degrees in, channel by channel."""
    n = x.shape[1]
    return (w.unflatten(1, (n, n)) * x.unsqueeze(1)).sum(2)


def radial_rows(lmax: int, mmax: int) -> int:
    """Radial weights for each channel of an edge: one for each m = 0..mmax and degree, +m and -m sharing theirs."""
    return sum(degrees(lmax, mmax))


@constant_table
def radial_of_row(lmax: int, mmax: int) -> np.ndarray:
    """For each row of the m-major layout, its radial weight."""
    return np.array(places_of_radial(lmax, mmax))


def places_of_radial(lmax: int, mmax: int) -> list[int]:
    """`radial_of_row` as plain numbers."""
    first, *spans = (list(range(part.start, part.stop)) for part in consecutive(degrees(lmax, mmax)))
    return sum((2 * span for span in spans), first)


def paths(lmax: int) -> list[tuple[int, int, int]]:
    """All (l1, l2, l3) of a product x_l1 (x) Y_l2 -> y_l3 with l1, l3 <= lmax, any l2: as many as pairs(lmax, lmax)."""
    span = range(lmax + 1)
    return [(l1, l2, l3) for l1 in span for l3 in span for l2 in range(abs(l1 - l3), l1 + l3 + 1)]


def path_matrix(
    lmax: int, mmax: int, dtype: torch.dtype = torch.float64, device: torch.device | str = "cpu"
) -> Float[Tensor, "pairs paths"]:
    """What takes weights of Clebsch-Gordan paths to weights of pairs: the identity of arXiv:2302.03655.

    sum over paths of w wigner_3j(l1, l2, l3)(x_l1, Y_l2(r)), component-normalised Y, is in the frame of r the SO(2)
    product with the weights path_matrix @ w, exactly if mmax = lmax. Paths are in the order of `paths(lmax)`. Even
    l1 + l2 + l3 gives real parts, odd gives imaginary ones: without the latter the convolution keeps parity.
    """
    check_orders("path_matrix", lmax, mmax)
    return _path_matrix(lmax, mmax, dtype=dtype, device=device).clone()


@constant_table
def _path_matrix(lmax: int, mmax: int) -> np.ndarray:
    matrix = np.zeros((pairs(lmax, mmax), len(paths(lmax))))
    for column, (l1, l2, l3) in enumerate(paths(lmax)):
        zonal = wigner_3j(l1, l2, l3)[:, l2].numpy() * sqrt(2 * l2 + 1)  # Y_l2 on the polar axis has m = 0 only
        for m, (n, part) in enumerate(zip(degrees(lmax, mmax), pair_slices(lmax, mmax), strict=True)):
            if m > min(l1, l3):
                break
            row = part.start + (l3 - m) * n + l1 - m
            matrix[row, column] = zonal[l1 + m, l3 + m]
            if m:
                matrix[row + n * n, column] = zonal[l1 + m, l3 - m]
    return matrix
