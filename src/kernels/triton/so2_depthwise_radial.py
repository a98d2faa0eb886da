"""The edge-frame depthwise product with the last layer of its radial network, whose output is never written."""

from collections.abc import Callable

from torch import Tensor

from .rotate import gather, scatter
from .so2_mix import mix


def build(lmax: int, mmax: int) -> Callable:
    def so2_depthwise_radial(
        x: Tensor, edge_index: Tensor, D: Tensor, hidden: Tensor, layer: Tensor, size: int
    ) -> Tensor:
        source, destination = edge_index
        message = mix(gather(x, source, D, lmax, mmax), hidden, layer, lmax, mmax, False)
        return scatter(message, destination, D, size, lmax, mmax)

    return so2_depthwise_radial
