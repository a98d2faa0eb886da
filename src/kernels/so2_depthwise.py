"""The depthwise ("uvu") tensor product with the spherical harmonics of edges, in the frames of the edges."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..errors import UserError
from . import edge_rows
from .compiled import compiled
from .cueq import backend as cueq
from .m_layout import check_convolution, degrees, example_edges, from_edge_frame, rotation_flop, static, to_edge_frame
from .native import native
from .oeq import backend as oeq
from .registry import Backend, Cost, Op, plain, traffic
from .segment import segment_sum
from .so2 import pairs, so2_diagonal
from .so2_native import backward, forward
from .triton import backend


def so2_depthwise(
    x: Float[Tensor, "nodes components channels"],
    edge_index: Int[Tensor, "2 edges"],
    D: Float[Tensor, "edges packed"],
    weight: Float[Tensor, "edges pairs channels"],
    size: int,
    *,
    lmax: int,
    mmax: int,
) -> Float[Tensor, "size components channels"]:
    """Turn each source into the frame of its edge, mix degrees channel by channel, turn back, and sum.

    In the edge's frame its harmonics have m = 0 only (arXiv:2302.03655), and the sum over Clebsch-Gordan paths becomes
    one complex number for each (degree out, degree in, m, channel), real for m = 0; so2.py says in which order they
    stand in `weight`, which comes from the edge's length. With mmax = lmax there are as many as paths (l1, l2, l3) with
    l2 <= 2 lmax, and `path_matrix(lmax, lmax)` takes the weights of one to those of the other: the result is e3nn's
    `uvu` product, its paths to one l3 summed. Edges may come in any order.
    """
    lmax, mmax = static(lmax, mmax)
    source, destination = edge_index
    message = so2_diagonal(to_edge_frame(x[source], D, lmax, mmax), weight, lmax, mmax)
    return segment_sum(from_edge_frame(message, D, lmax, mmax), destination, size)


def by_rows(x: Tensor, edge_index: Tensor, D: Tensor, weight: Tensor, size: int, *, lmax: int, mmax: int) -> Tensor:
    """The same as it is best compiled: row by row, where there are few of them."""
    lmax, mmax = static(lmax, mmax)
    if not edge_rows.is_short(lmax, mmax):
        return so2_depthwise(x, edge_index, D, weight, size, lmax=lmax, mmax=mmax)
    source, destination = edge_index
    message = edge_rows.mixed(edge_rows.turned(x[source], D, lmax, mmax), weight, lmax, mmax)
    return segment_sum(torch.stack(edge_rows.turned_back(message, D, lmax, mmax), 1), destination, size)


def check(x: Tensor, edge_index: Tensor, D: Tensor, weight: Tensor, size: int, *, lmax: int, mmax: int) -> None:
    check_convolution("so2_depthwise", x, edge_index, D, size, lmax=lmax, mmax=mmax)
    want = (D.shape[0], pairs(lmax, mmax), x.shape[2])
    if tuple(weight.shape) != want:
        raise UserError(f"so2_depthwise: weight is {tuple(weight.shape)}; give {want} for these edges and channels")


def cost(
    out: Tensor, x: Tensor, edge_index: Tensor, D: Tensor, weight: Tensor, size: int, *, lmax: int, mmax: int
) -> Cost:
    """Per edge and channel 2 n_0^2 + 8 sum of n_m^2 and both rotations, which is 4 sum of (2l+1)^2 at full mmax."""
    n = degrees(lmax, mmax)
    mixing = 2 * n[0] ** 2 + sum(8 * k**2 for k in n[1:])
    flop = mixing + 2 * rotation_flop(lmax, mmax) + (lmax + 1) ** 2
    return Cost(D.shape[0] * x.shape[2] * flop, traffic(out, x, edge_index, D, weight))


def example(dtype, device, seed, *, nodes=6, degree=4, channels=8, lmax=2, mmax=1):
    edge_index, D = example_edges(dtype, device, seed, nodes=nodes, degree=degree, lmax=lmax)
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(nodes, (lmax + 1) ** 2, channels, generator=g, dtype=torch.float64)
    weight = torch.randn(nodes * degree, pairs(lmax, mmax), channels, generator=g, dtype=torch.float64)
    args = (x.to(device, dtype), edge_index, D, weight.to(device, dtype), nodes)
    return args, {"lmax": lmax, "mmax": mmax}


OP = Op(
    reference=so2_depthwise,
    backends={
        "native": native(so2_depthwise, forward, backward),
        "compiled": compiled(by_rows),
        "reference": Backend(plain(so2_depthwise), device=None),
        "triton": backend("so2_depthwise"),
        "cueq": cueq(so2_depthwise),
        "oeq": oeq(so2_depthwise),
    },
    check=check,
    cost=cost,
    example=example,
)
