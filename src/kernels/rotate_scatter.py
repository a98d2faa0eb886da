"""Messages from the frames of their edges back to the common frame, summed at the destinations."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from .compiled import compiled
from .m_layout import (
    check_features,
    check_index,
    check_orders,
    check_size,
    check_wigner,
    example_edges,
    from_edge_frame,
    m_rows,
    rotation_flop,
    static,
)
from .native import native_backend
from .registry import Backend, Cost, Op, plain, traffic
from .rotate_native import Rotations
from .segment import segment_sum
from .triton import backend


def rotate_scatter(
    y: Float[Tensor, "edges rows channels"],
    destination: Int[Tensor, " edges"],
    D: Float[Tensor, "edges packed"],
    size: int,
    *,
    lmax: int,
    mmax: int,
) -> Float[Tensor, "size components channels"]:
    """The sum of D^T y over the edges that arrive at each of `size` nodes: the transpose of `rotate_gather`.

    y is m-major (m_layout.py), what comes out has (lmax+1)^2 components. Edges may come in any order.
    """
    return segment_sum(from_edge_frame(y, D, *static(lmax, mmax)), destination, size)


def check(y: Tensor, destination: Tensor, D: Tensor, size: int, *, lmax: int, mmax: int) -> None:
    check_orders("rotate_scatter", lmax, mmax)
    check_features("rotate_scatter", "y", y, m_rows(lmax, mmax))
    check_wigner("rotate_scatter", D, lmax)
    check_size("rotate_scatter", size)
    check_index("rotate_scatter", "destination", destination, D.shape[0], size)
    check_index("rotate_scatter", "destination", destination, y.shape[0], size)


def cost(out: Tensor, y: Tensor, destination: Tensor, D: Tensor, size: int, *, lmax: int, mmax: int) -> Cost:
    """The products with the kept rows of D, and an addition for each component, edge and channel."""
    flop = rotation_flop(lmax, mmax) + (lmax + 1) ** 2
    return Cost(D.shape[0] * y.shape[2] * flop, traffic(out, y, destination, D))


def example(dtype, device, seed, *, nodes=6, degree=4, channels=8, lmax=3, mmax=2):
    (_, destination), D = example_edges(dtype, device, seed, nodes=nodes, degree=degree, lmax=lmax)
    g = torch.Generator().manual_seed(seed)
    y = torch.randn(nodes * degree, m_rows(lmax, mmax), channels, generator=g, dtype=torch.float64)
    return (y.to(device, dtype), destination, D, nodes), {"lmax": lmax, "mmax": mmax}


OP = Op(
    reference=rotate_scatter,
    backends={
        "native": native_backend(lambda **spec: Rotations(**spec).scatter),
        "compiled": compiled(rotate_scatter),
        "reference": Backend(plain(rotate_scatter), device=None),
        "triton": backend("rotate_scatter"),
    },
    check=check,
    cost=cost,
    example=example,
)
