"""cuEquivariance's depthwise product, as a competitor; on a CPU by its `naive` method."""

from importlib.util import find_spec

import torch

from ...kernels import so2
from ..case import Competitor
from .with_e3nn import depthwise_weights, directions, harmonics, message_passing, to_e3nn

INSTALLED = all(find_spec(name) is not None for name in ("cuequivariance", "cuequivariance_torch", "e3nn"))


def depthwise(lmax: int, channels: int) -> list[Competitor]:
    """Filters of l2 <= L, the paths kept apart: the function of e3nn's `uvu` product with l2 <= L."""
    if not INSTALLED:
        return []
    kept = [i for i, path in enumerate(so2.paths(lmax)) if path[1] <= lmax]

    def build():
        import cuequivariance as cue
        import cuequivariance_torch as cuet

        def irreps(count):
            return cue.Irreps("O3", [(count, (degree, 1)) for degree in range(lmax + 1)])

        product = cuet.ChannelWiseTensorProduct(
            irreps(channels),
            irreps(1),
            irreps(1),
            layout=cue.mul_ir,
            shared_weights=False,
            internal_weights=False,
            dtype=torch.float32,
            method="fused_tp" if torch.cuda.is_available() else "naive",
        )
        return message_passing(product.to("cuda") if torch.cuda.is_available() else product)

    def prepare(x, edge_index, D, weight, size):
        by_path = depthwise_weights(weight, lmax)[:, kept]
        return to_e3nn(x), edge_index, harmonics(directions(D), lmax), by_path.flatten(1), size

    weights = len(kept) * channels
    remark = "fewer paths"
    return [Competitor("cuEquivariance", build, prepare, None, paths=len(kept), weights=weights, remark=remark)]
