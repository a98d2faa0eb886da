"""The edge-frame depthwise product by cuEquivariance: into the frames, the SO(2) product, and back, a polynomial each.

Beyond rotation matrices it is the same function of D as the reference, so that gradients by D agree, too. (As a product
with the edges' harmonics, of degrees up to 2 lmax, they would agree along rotations only: bench/cases/with_cueq.py.)
"""

import itertools
from collections.abc import Callable
from functools import partial
from typing import Any

from torch import Tensor

from ..m_layout import orders
from ..so2 import pair_slices, pairs
from .polynomial import Polynomial


def build(*, lmax: int, mmax: int) -> Callable:
    turn, mix, turn_back = (Polynomial(partial(each, lmax, mmax)) for each in (turning, mixing, turning_back))

    def run(x: Tensor, edge_index: Tensor, D: Tensor, weight: Tensor, size: int) -> Tensor:
        source, destination = edge_index
        channels = (x.shape[2],)
        turned = turn(channels, (x, D), gather={0: source})
        mixed = mix(channels, (turned, weight))
        return turn_back(channels, (mixed, D), scatter=(destination, size)).unflatten(1, (-1, *channels))

    return run


def turning(lmax: int, mmax: int, channels: int) -> Any:
    """x[ju] D[ij] -> [iu] for each degree, where i goes over the rows of |m| <= mmax."""
    return _turning("ju,ij,iu", lmax, mmax, channels)


def turning_back(lmax: int, mmax: int, channels: int) -> Any:
    """y[iu] D[ij] -> [ju], its transpose."""
    return _turning("iu,ij,ju", lmax, mmax, channels)


def _turning(subscripts: str, lmax: int, mmax: int, channels: int) -> Any:
    import cuequivariance as cue

    product = cue.SegmentedTensorProduct.from_subscripts(subscripts)
    for degree in range(lmax + 1):
        full, kept, left_out = 2 * degree + 1, 2 * min(degree, mmax) + 1, max(0, degree - mmax)
        sizes = {"i": kept, "j": full, "u": channels}
        ends = [product.add_segment(operand, sizes) for operand in (0, 2)]
        block = [product.add_segment(1, (rows, full)) for rows in (left_out, kept, left_out)][1]
        product.add_path(ends[0], block, ends[1], c=1)
    return cue.SegmentedPolynomial.eval_last_operand(product)


def mixing(lmax: int, mmax: int, channels: int) -> Any:
    """x[u] weight[u] -> [u] for each real product in the complex ones of so2.py; rows stand degree after degree."""
    import cuequivariance as cue

    product = cue.SegmentedTensorProduct.from_subscripts("u,u,u")
    row = {order: place for place, order in enumerate(orders(lmax, mmax))}
    for operand, count in enumerate((len(row), pairs(lmax, mmax), len(row))):
        product.add_segments(operand, [(channels,)] * count)
    for m, part in enumerate(pair_slices(lmax, mmax)):
        span = range(m, lmax + 1)
        for place, (l_out, l_in) in enumerate(itertools.product(span, span), part.start):
            product.add_path(row[l_in, m], place, row[l_out, m], c=1)
            if m:
                imaginary = place + len(span) ** 2
                product.add_path(row[l_in, -m], place, row[l_out, -m], c=1)
                product.add_path(row[l_in, -m], imaginary, row[l_out, m], c=-1)
                product.add_path(row[l_in, m], imaginary, row[l_out, -m], c=1)
    return cue.SegmentedPolynomial.eval_last_operand(product)
