"""The Clebsch-Gordan product by cuEquivariance: a path for each of ours."""

from collections.abc import Callable
from functools import partial
from math import sqrt
from typing import Any

from torch import Tensor

from ...geometry.clebsch_gordan import clebsch_gordan
from ..cg_product import paths
from .polynomial import Polynomial


def build(*, lmax1: int, lmax2: int, lmax3: int, odd: bool) -> Callable:
    product = Polynomial(partial(describe, lmax1, lmax2, lmax3, odd))

    def run(x: Tensor, y: Tensor, weight: Tensor) -> Tensor:
        channels = x.shape[2]
        return product((channels, y.shape[2]), (weight, x, y)).unflatten(1, (-1, channels))

    return run


def describe(lmax1: int, lmax2: int, lmax3: int, odd: bool, channels: int, filters: int) -> Any:
    """weight[u] x[iu] y[ju] C[ijk] -> [ku] a path, or y[j] where one channel of y serves all of x's."""
    import cuequivariance as cue

    own = filters == channels
    product = cue.SegmentedTensorProduct.from_subscripts("u,iu,ju,ku+ijk" if own else "u,iu,j,ku+ijk")
    all_paths = paths(lmax1, lmax2, lmax3, odd)
    product.add_segments(0, [(channels,)] * len(all_paths))
    for operand, lmax in ((1, lmax1), (2, lmax2), (3, lmax3)):
        tail = (channels,) if own or operand != 2 else ()
        product.add_segments(operand, [(2 * degree + 1, *tail) for degree in range(lmax + 1)])
    for place, (l1, l2, l3) in enumerate(all_paths):
        count = sum(path[2] == l3 for path in all_paths)
        product.add_path(place, l1, l2, l3, c=clebsch_gordan(l1, l2, l3).numpy() / sqrt(count))
    return cue.SegmentedPolynomial.eval_last_operand(product)
