"""The Gaunt tensor product on the smallest exact grid, whose values stay on the chip."""

from collections.abc import Callable

from torch import Tensor

from ..gaunt_product import analysis_matrix, synthesis_matrix
from .grid import grid


def build(lmax1: int, lmax2: int, lmax3: int) -> Callable:
    degree = lmax1 + lmax2 + lmax3

    def product(x: Tensor, y: Tensor) -> Tensor:
        like = {"dtype": x.dtype, "device": x.device}
        first, second = (synthesis_matrix(degree, lmax, **like) for lmax in (lmax1, lmax2))
        return grid(x, y, None, first, second, None, analysis_matrix(degree, lmax3, **like).T, "identity", 0)

    return product
