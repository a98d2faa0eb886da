"""cuEquivariance's own depthwise product over edges, as a competitor; our backend `cueq` evaluates our product by it."""

from importlib.util import find_spec

import torch

from ...geometry.spherical_harmonics import spherical_harmonics
from ...kernels import so2
from ...kernels.cueq import not_installed
from ...kernels.cueq.polynomial import METHODS
from ..case import Competitor
from .with_e3nn import depthwise_weights, directions


def depthwise(lmax: int, channels: int) -> list[Competitor]:
    """Filters of l2 <= L, the paths kept apart: the function of e3nn's `uvu` product with l2 <= L."""
    on_gpu = torch.cuda.is_available()
    if not_installed() is not None or (on_gpu and find_spec("cuequivariance_ops_torch") is None):
        return []
    kept = [i for i, path in enumerate(so2.paths(lmax)) if path[1] <= lmax]
    device = "cuda" if on_gpu else "cpu"

    def build():
        import cuequivariance as cue
        import cuequivariance_torch as cuet

        def irreps(count):
            return cue.Irreps("O3", [(count, (degree, 1)) for degree in range(lmax + 1)])

        product = cuet.ChannelWiseTensorProduct(
            irreps(channels),
            irreps(1),
            irreps(1),
            layout=cue.ir_mul,
            shared_weights=False,
            internal_weights=False,
            device=device,
            method=METHODS[device],
        )

        def convolution(x, edge_index, Y, weight, size):
            source, destination = edge_index
            return product(x, Y, weight, indices_1=source, indices_out=destination, size_out=size)

        return convolution

    def prepare(x, edge_index, D, weight, size):
        by_path = depthwise_weights(weight, lmax)[:, kept]
        return x.flatten(1), edge_index, spherical_harmonics(directions(D), lmax), by_path.flatten(1), size

    weights = len(kept) * channels
    remark = "fewer paths"
    return [Competitor("cuEquivariance", build, prepare, None, paths=len(kept), weights=weights, remark=remark)]
