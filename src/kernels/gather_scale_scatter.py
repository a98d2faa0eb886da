"""Messages without a message tensor: y_i = sum over edges j -> i of w_ji x_j, the core of a graph convolution."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..errors import UserError
from .compiled import compiled
from .native import Native, call, native
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


def edge_products(
    x: Float[Tensor, "nodes channels"],
    y: Float[Tensor, "size channels"],
    edge_index: Int[Tensor, "2 edges"],
    each: bool,
) -> Float[Tensor, "edges channels_or_one"]:
    """x at the source times y at the destination of every edge, by channels (`each`) or summed: the gradient by weights."""
    source, destination = edge_index
    product = x.index_select(0, source) * y.index_select(0, destination)
    return product if each else product.sum(1, keepdim=True)


def forward(x, weight, edge_index, size):
    out, (edges, width), channels = x.new_empty(size, x.shape[1]), weight.shape, x.shape[1]
    sizes = edges, len(x), size, channels, width == channels
    if call("gather_scale_scatter", x, weight, edge_index.long(), out, *sizes):
        check_values(x, weight, edge_index, size)
    return out, ()


def backward(gradient, args, saved):
    x, weight, edge_index, _ = args
    return [*gradients(gradient, x, weight, edge_index, (x.requires_grad, weight.requires_grad)), None]


def gradients(gradient, x, weight, edge_index, wanted):
    """By x and by the weights, those that are wanted, in one pass over edges."""
    by_x, by_weight = (torch.empty_like(a) if want else None for a, want in zip((x, weight), wanted, strict=True))
    (edges, width), (nodes, channels) = weight.shape, x.shape
    sizes = edges, nodes, channels, width == channels
    call("gather_scale_scatter_backward", gradient, x, weight, edge_index.long(), by_x, by_weight, *sizes)
    return by_x, by_weight


def pullback(gradient, args, _):
    x, weight, edge_index, _ = args
    by_weight = PRODUCTS(x, gradient, edge_index, weight.shape[1] == x.shape[1])
    return [MESSAGES(gradient, weight, edge_index.flip(0), len(x)), by_weight, None]


def products(x, y, edge_index, each):
    weight = x.new_empty(edge_index.shape[1], x.shape[1] if each else 1)
    return gradients(y, x, weight, edge_index, (False, True))[1], ()


def products_backward(gradient, args, saved):
    x, y, edge_index, _ = args
    by_x, _ = forward(y, gradient, edge_index.flip(0), len(x))
    by_y, _ = forward(x, gradient, edge_index, len(y))
    return [by_x, by_y, None]


def products_pullback(gradient, args, _):
    x, y, edge_index, _ = args
    return [MESSAGES(y, gradient, edge_index.flip(0), len(x)), MESSAGES(x, gradient, edge_index, len(y)), None]


# Each is the other's gradient, so that derivatives of any order are made of these two.
MESSAGES = Native(gather_scale_scatter, forward, backward, pullback)
PRODUCTS = Native(edge_products, products, products_backward, products_pullback)


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


def check_values(x: Tensor, weight: Tensor, edge_index: Tensor, size: int) -> None:
    if size == len(x):  # one look at both rows
        check_range("gather_scale_scatter", "edge_index", edge_index, size)
    else:
        check_range("gather_scale_scatter", "edge_index[0]", edge_index[0], len(x))
        check_range("gather_scale_scatter", "edge_index[1]", edge_index[1], size)


def checked(x: Tensor, weight: Tensor, edge_index: Tensor, size: int) -> Tensor:
    """The reference, for where the loops that look at edges themselves do not run."""
    check_values(x, weight, edge_index, size)
    return gather_scale_scatter(x, weight, edge_index, size)


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
        "native": native(checked, forward, backward, pullback, careful=True),
        "compiled": compiled(gather_scale_scatter),
    },
    check=check,
    check_values=check_values,
    cost=cost,
    example=example,
)
