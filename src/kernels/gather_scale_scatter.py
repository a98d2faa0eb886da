"""Messages without a message tensor: y_i = sum over edges j -> i of w_ji x_j, the core of a graph convolution."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..errors import UserError
from .compiled import compiled
from .native import call, native
from .registry import Cost, Op, traffic
from .segment import check_range


def gather_scale_scatter(
    x: Float[Tensor, "nodes channels"],
    weight: Float[Tensor, "edges channels_or_one"],
    edge_index: Int[Tensor, "2 edges"],
    size: int,
) -> Float[Tensor, "size channels"]:
    """Gather `x` at the sources, scale it by `weight` edge by edge, and sum it at the `size` destinations.

    `weight` has one column for each channel, or one for all. Edges may come in any order; sorted by destination is best.
    """
    source, destination = edge_index
    return x.new_zeros(size, x.shape[1]).index_add(0, destination, x.index_select(0, source) * weight)


def forward(x, weight, edge_index, size):
    return messages(x, weight, edge_index, size), ()


def messages(x, weight, edge_index, size):
    source, destination = edge_index.long()
    out, each = x.new_empty(size, x.shape[1]), weight.shape[1] == x.shape[1]
    call("gather_scale_scatter", x, weight, source, destination, out, len(weight), size, x.shape[1], each)
    return out


def backward(gradient, args, saved):
    x, weight, edge_index, _ = args
    by_weight = torch.empty_like(weight)
    numbers = len(weight), x.shape[1], weight.shape[1] == x.shape[1]
    call("gather_scale_scatter_by_weight", gradient, x, *edge_index.long(), by_weight, *numbers)
    return [messages(gradient, weight, edge_index.flip(0), len(x)), by_weight, None]


def check(x: Tensor, weight: Tensor, edge_index: Tensor, size: int) -> None:
    if x.ndim != 2 or weight.ndim != 2 or weight.shape[1] not in (1, x.shape[1]):
        raise UserError(
            f"gather_scale_scatter: x {tuple(x.shape)} and weight {tuple(weight.shape)}; "
            "give x (nodes, channels) and weight (edges, channels) or (edges, 1)"
        )
    if edge_index.ndim != 2 or edge_index.shape[0] != 2 or edge_index.shape[1] != weight.shape[0]:
        raise UserError(
            f"gather_scale_scatter: edge_index {tuple(edge_index.shape)} for {weight.shape[0]} weights; give (2, edges)"
        )
    if size < 0:
        raise UserError(f"gather_scale_scatter: size={size}; give the number of destinations")
    check_range("gather_scale_scatter", "edge_index[0]", edge_index[0], x.shape[0])
    check_range("gather_scale_scatter", "edge_index[1]", edge_index[1], size)


def cost(out: Tensor, x: Tensor, weight: Tensor, edge_index: Tensor, size: int) -> Cost:
    """A multiplication and an addition for each edge and channel."""
    return Cost(2 * edge_index.shape[1] * x.shape[1], traffic(out, x, weight, edge_index))


def example(dtype, device, seed, *, nodes=40, degree=6, channels=8, per_channel=True):
    g = torch.Generator().manual_seed(seed)
    edges = nodes * degree
    index = torch.randint(nodes, (2, edges), generator=g)
    index = index[:, index[1].argsort()]
    x = torch.randn(nodes, channels, generator=g, dtype=torch.float64)
    weight = torch.randn(edges, channels if per_channel else 1, generator=g, dtype=torch.float64)
    return (x.to(device, dtype), weight.to(device, dtype), index.to(device), nodes), {}


OP = Op(
    reference=gather_scale_scatter,
    backends={
        "native": native(gather_scale_scatter, forward, backward),
        "compiled": compiled(gather_scale_scatter),
    },
    check=check,
    cost=cost,
    example=example,
)
