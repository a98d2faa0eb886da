"""Features of the sources in the frames of their edges."""

from collections.abc import Callable

from torch import Tensor

from .rotate import gather


def build(lmax: int, mmax: int) -> Callable:
    def rotate_gather(x: Tensor, source: Tensor, D: Tensor) -> Tensor:
        return gather(x, source, D, lmax, mmax)

    return rotate_gather
