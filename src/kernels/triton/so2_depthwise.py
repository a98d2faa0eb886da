"""The edge-frame depthwise product: turned in, mixed with the edges' weights, turned back and summed."""

from collections.abc import Callable

from torch import Tensor

from .rotate import gather, scatter
from .so2_mix import mix


def build(lmax: int, mmax: int) -> Callable:
    def so2_depthwise(x: Tensor, edge_index: Tensor, D: Tensor, weight: Tensor, size: int) -> Tensor:
        source, destination = edge_index
        message = mix(gather(x, source, D, lmax, mmax), weight, None, lmax, mmax, False)
        return scatter(message, destination, D, size, lmax, mmax)

    return so2_depthwise
