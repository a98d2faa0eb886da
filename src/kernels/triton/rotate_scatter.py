"""Messages back to the common frame, summed at their destinations."""

from collections.abc import Callable

from torch import Tensor

from .rotate import scatter


def build(lmax: int, mmax: int) -> Callable:
    def rotate_scatter(y: Tensor, destination: Tensor, D: Tensor, size: int) -> Tensor:
        return scatter(y, destination, D, size, lmax, mmax)

    return rotate_scatter
