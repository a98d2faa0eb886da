"""The depthwise edge-frame product with weights from a radial network, its last layer a part of the operation."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..errors import UserError
from . import so2_depthwise
from .compiled import compiled
from .m_layout import check_convolution, degrees, example_edges, rotation_flop
from .registry import Backend, Cost, Op, plain, traffic
from .so2 import pairs
from .triton import backend


def so2_depthwise_radial(
    x: Float[Tensor, "nodes components channels"],
    edge_index: Int[Tensor, "2 edges"],
    D: Float[Tensor, "edges packed"],
    hidden: Float[Tensor, "edges inputs"],
    layer: Float[Tensor, "inputs pairs channels"],
    size: int,
    *,
    lmax: int,
    mmax: int,
) -> Float[Tensor, "size components channels"]:
    """`so2_depthwise` with the weights hidden @ layer, the output of a radial network's last layer.

    Those weights, (edges, pairs, channels), are larger than all else together, and a fused backend never writes them.
    A bias is a column of ones in `hidden`.
    """
    weight = torch.einsum("ek,kpc->epc", hidden, layer)
    return so2_depthwise.so2_depthwise(x, edge_index, D, weight, size, lmax=lmax, mmax=mmax)


def by_rows(
    x: Tensor, edge_index: Tensor, D: Tensor, hidden: Tensor, layer: Tensor, size: int, *, lmax: int, mmax: int
) -> Tensor:
    """The same as it is best compiled."""
    weight = torch.einsum("ek,kpc->epc", hidden, layer)
    return so2_depthwise.by_rows(x, edge_index, D, weight, size, lmax=lmax, mmax=mmax)


def check(
    x: Tensor, edge_index: Tensor, D: Tensor, hidden: Tensor, layer: Tensor, size: int, *, lmax: int, mmax: int
) -> None:
    check_convolution("so2_depthwise_radial", x, edge_index, D, size, lmax=lmax, mmax=mmax)
    if hidden.ndim != 2 or hidden.shape[0] != D.shape[0]:
        raise UserError(f"so2_depthwise_radial: hidden is {tuple(hidden.shape)}; give ({D.shape[0]}, inputs)")
    want = (hidden.shape[1], pairs(lmax, mmax), x.shape[2])
    if tuple(layer.shape) != want:
        raise UserError(
            f"so2_depthwise_radial: layer is {tuple(layer.shape)}; give {want} for these inputs and channels"
        )


def cost(
    out: Tensor, x: Tensor, edge_index: Tensor, D: Tensor, hidden: Tensor, layer: Tensor, size: int, *, lmax, mmax
) -> Cost:
    """`so2_depthwise`, and a multiplication and an addition for each edge and number of the layer."""
    n = degrees(lmax, mmax)
    mixing = 2 * n[0] ** 2 + sum(8 * k**2 for k in n[1:])
    flop = mixing + 2 * rotation_flop(lmax, mmax) + (lmax + 1) ** 2
    edges = D.shape[0]
    return Cost(edges * (x.shape[2] * flop + 2 * layer.numel()), traffic(out, x, edge_index, D, hidden, layer))


def example(dtype, device, seed, *, nodes=6, degree=4, channels=8, inputs=5, lmax=2, mmax=1):
    edge_index, D = example_edges(dtype, device, seed, nodes=nodes, degree=degree, lmax=lmax)
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(nodes, (lmax + 1) ** 2, channels, generator=g, dtype=torch.float64)
    hidden = torch.randn(nodes * degree, inputs, generator=g, dtype=torch.float64)
    layer = torch.randn(inputs, pairs(lmax, mmax), channels, generator=g, dtype=torch.float64) / inputs**0.5
    args = (x.to(device, dtype), edge_index, D, hidden.to(device, dtype), layer.to(device, dtype), nodes)
    return args, {"lmax": lmax, "mmax": mmax}


OP = Op(
    reference=so2_depthwise_radial,
    backends={
        "compiled": compiled(by_rows),
        "reference": Backend(plain(so2_depthwise_radial), device=None),
        "triton": backend("so2_depthwise_radial"),
    },
    check=check,
    cost=cost,
    example=example,
)
