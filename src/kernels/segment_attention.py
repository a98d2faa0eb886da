"""Attention over the edges that arrive at each node: the values' mean, weighted by the softmax of the logits."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..errors import UserError
from .compiled import Compiled, no_compiler
from .registry import Backend, Cost, Op, plain, traffic
from .segment import check_range, check_segments
from .segment_softmax import CompiledSoftmax, segment_softmax
from .triton import backend


def segment_attention(
    logits: Float[Tensor, "edges heads"],
    values: Float[Tensor, "edges heads channels"],
    index: Int[Tensor, " edges"],
    size: int,
) -> Float[Tensor, "size heads channels"]:
    """Sum `values` at each of `size` nodes with weights softmax(`logits`) over its edges; 0 where there are none.

    Rows may come in any order. A logit of -inf masks its edge.
    """
    return _weighted_sum(segment_softmax(logits, index, size), values, index, size)


def _weighted_sum(weight: Tensor, values: Tensor, index: Tensor, size: int) -> Tensor:
    return values.new_zeros(size, *values.shape[1:]).index_add(0, index, weight.unsqueeze(-1) * values)


def build_compiled():
    """Softmax, then the weighted sum without the tensor of weighted values."""
    softmax, weighted_sum = CompiledSoftmax(), Compiled(_weighted_sum)

    def attention(logits, values, index, size):
        return weighted_sum(softmax(logits, index, size), values, index, size)

    return attention


def check(logits: Tensor, values: Tensor, index: Tensor, size: int) -> None:
    check_segments(logits, index, size)
    if logits.ndim != 2 or values.ndim != 3 or values.shape[:2] != logits.shape:
        raise UserError(
            f"segment_attention: logits {tuple(logits.shape)} and values {tuple(values.shape)}; "
            "give (edges, heads) and (edges, heads, channels)"
        )
    check_range("segment_attention", "index", index, size)


def cost(out: Tensor, logits: Tensor, values: Tensor, index: Tensor, size: int) -> Cost:
    """The softmax's five for each logit, and a multiplication and an addition for each value."""
    return Cost(5 * logits.numel() + 2 * values.numel(), traffic(out, logits, values, index))


def example(dtype, device, seed, *, nodes=40, degree=6, heads=4, channels=3):
    g = torch.Generator().manual_seed(seed)
    index = torch.randint(nodes, (nodes * degree,), generator=g).sort().values
    logits = 3 * torch.randn(nodes * degree, heads, generator=g, dtype=torch.float64)
    values = torch.randn(nodes * degree, heads, channels, generator=g, dtype=torch.float64)
    return (logits.to(device, dtype), values.to(device, dtype), index.to(device), nodes), {}


OP = Op(
    reference=segment_attention,
    backends={
        "compiled": Backend(build_compiled, missing=no_compiler),
        "reference": Backend(plain(segment_attention), device=None),
        "triton": backend("segment_attention"),
    },
    check=check,
    cost=cost,
    example=example,
)
