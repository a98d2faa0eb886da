"""Features of the source nodes, each in the frame of its edge."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from .compiled import compiled
from .m_layout import (
    check_features,
    check_index,
    check_orders,
    check_wigner,
    example_edges,
    rotation_flop,
    static,
    to_edge_frame,
)
from .native import native_backend
from .registry import Backend, Cost, Op, plain, traffic
from .rotate_native import Rotations
from .triton import backend


def rotate_gather(
    x: Float[Tensor, "nodes components channels"],
    source: Int[Tensor, " edges"],
    D: Float[Tensor, "edges packed"],
    *,
    lmax: int,
    mmax: int,
) -> Float[Tensor, "edges rows channels"]:
    """D x at the source of each edge, without the orders |m| > mmax, in the m-major layout (m_layout.py).

    x has (lmax+1)^2 components; D are packed Wigner matrices of the edges' frames. Edges may come in any order.
    """
    return to_edge_frame(x[source], D, *static(lmax, mmax))


def check(x: Tensor, source: Tensor, D: Tensor, *, lmax: int, mmax: int) -> None:
    check_orders("rotate_gather", lmax, mmax)
    check_features("rotate_gather", "x", x, (lmax + 1) ** 2)
    check_wigner("rotate_gather", D, lmax)
    check_index("rotate_gather", "source", source, D.shape[0], x.shape[0])


def cost(out: Tensor, x: Tensor, source: Tensor, D: Tensor, *, lmax: int, mmax: int) -> Cost:
    """The products with the kept rows of D, for each edge and channel."""
    return Cost(D.shape[0] * x.shape[2] * rotation_flop(lmax, mmax), traffic(out, x, source, D))


def example(dtype, device, seed, *, nodes=6, degree=4, channels=8, lmax=3, mmax=2):
    (source, _), D = example_edges(dtype, device, seed, nodes=nodes, degree=degree, lmax=lmax)
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(nodes, (lmax + 1) ** 2, channels, generator=g, dtype=torch.float64)
    return (x.to(device, dtype), source, D), {"lmax": lmax, "mmax": mmax}


OP = Op(
    reference=rotate_gather,
    backends={
        "native": native_backend(lambda **spec: Rotations(**spec).gather),
        "compiled": compiled(rotate_gather),
        "reference": Backend(plain(rotate_gather), device=None),
        "triton": backend("rotate_gather"),
    },
    check=check,
    cost=cost,
    example=example,
)
