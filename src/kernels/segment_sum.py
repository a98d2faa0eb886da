"""Sum over the edges that arrive at each node."""

import torch
from torch import Tensor

from .compiled import compiled
from .registry import Backend, Cost, Op, plain, traffic
from .segment import check_range, check_segments, segment_sum
from .triton import backend


def check(values: Tensor, index: Tensor, size: int) -> None:
    check_segments(values, index, size)
    check_range("segment_sum", "index", index, size)


def cost(out: Tensor, values: Tensor, index: Tensor, size: int) -> Cost:
    """An addition for each value."""
    return Cost(values.numel(), traffic(out, values, index))


def example(dtype, device, seed, *, nodes=40, degree=6, channels=8):
    g = torch.Generator().manual_seed(seed)
    index = torch.randint(nodes, (nodes * degree,), generator=g).sort().values
    values = torch.randn(nodes * degree, channels, generator=g, dtype=torch.float64)
    return (values.to(device, dtype), index.to(device), nodes), {}


# Nothing is fused in a sum by itself, so the reference comes first: compilation gains 10-20% with the backward pass.
OP = Op(
    reference=segment_sum,
    backends={
        "reference": Backend(plain(segment_sum), device=None),
        "compiled": compiled(segment_sum),
        "triton": backend("segment_sum"),
    },
    check=check,
    cost=cost,
    example=example,
)
