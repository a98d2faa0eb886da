"""The convolution of eSCN: Reducing SO(3) Convolutions to SO(2) for Efficient Equivariant GNNs, arXiv:2302.03655."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..errors import UserError
from . import edge_rows
from .compiled import compiled
from .m_layout import (
    check_convolution,
    degrees,
    example_edges,
    from_edge_frame,
    m_slices,
    rotation_flop,
    static,
    to_edge_frame,
)
from .native import native_backend
from .registry import Backend, Cost, Op, plain, traffic
from .rotate_native import Rotations
from .segment import segment_sum
from .so2 import pairs, places_of_radial, radial_of_row, radial_rows, so2_blocks, so2_linear
from .triton import backend


def so2_conv(
    x: Float[Tensor, "nodes components channels_in"],
    edge_index: Int[Tensor, "2 edges"],
    D: Float[Tensor, "edges packed"],
    radial: Float[Tensor, "edges radial_rows channels_in"],
    weight: Float[Tensor, "pairs channels_in channels_out"],
    size: int,
    *,
    lmax: int,
    mmax: int,
) -> Float[Tensor, "size components channels_out"]:
    """Turn each source into the frame of its edge, mix degrees and channels order by order, turn back, and sum.

    radial  one weight for each m = 0..mmax, degree m..lmax (in that order) and channel of the source, by which the rows
            +m and -m are multiplied before they are mixed; it comes from the edge's length.
    weight  a complex matrix over degrees and channels for each m, real for m = 0; so2.py says in which order.

    With mmax = lmax and weights `path_matrix(lmax, lmax) @ w` it is the fully connected Clebsch-Gordan product with
    the edge's spherical harmonics of degrees up to 2 lmax. For any weights and mmax it is equivariant under rotations;
    under reflections only where imaginary parts are zero. Edges may come in any order.
    """
    lmax, mmax = static(lmax, mmax)
    source, destination = edge_index
    h = to_edge_frame(x[source], D, lmax, mmax)
    h = h * radial[:, radial_of_row(lmax, mmax, dtype=torch.int64, device=x.device)]
    message = from_edge_frame(so2_linear(h, weight, lmax, mmax), D, lmax, mmax)
    return segment_sum(message, destination, size)


def by_rows(
    x: Tensor, edge_index: Tensor, D: Tensor, radial: Tensor, weight: Tensor, size: int, *, lmax: int, mmax: int
) -> Tensor:
    """The same as it is best compiled: row by row on the way there and back, where there are few of them."""
    lmax, mmax = static(lmax, mmax)
    if not edge_rows.is_short(lmax, mmax):
        return so2_conv(x, edge_index, D, radial, weight, size, lmax=lmax, mmax=mmax)
    source, destination = edge_index
    scales = radial.unbind(1)
    h = zip(edge_rows.turned(x[source], D, lmax, mmax), places_of_radial(lmax, mmax), strict=True)
    h = [row * scales[place] for row, place in h]
    mixed = so2_blocks([torch.cat(h[part], 1) for part in m_slices(lmax, mmax)], weight, lmax, mmax)
    message = [row for rows in mixed for row in rows.split(weight.shape[2], 1)]
    return segment_sum(torch.stack(edge_rows.turned_back(message, D, lmax, mmax), 1), destination, size)


class AroundLoops:
    """The same with loops in C on the way there and back, around the library's matrix products."""

    def __init__(self, lmax: int, mmax: int):
        self.lmax, self.mmax, self.rotations = lmax, mmax, Rotations(lmax, mmax)

    def __call__(self, x: Tensor, edge_index: Tensor, D: Tensor, radial: Tensor, weight: Tensor, size: int) -> Tensor:
        source, destination = edge_index
        n = degrees(self.lmax, self.mmax)
        h = self.rotations.gather(x, source, D).split([k * (2 if m else 1) for m, k in enumerate(n)], 1)
        scaled = [
            (rows.unflatten(1, (-1, k)) * scale.unsqueeze(1)).flatten(1)
            for rows, scale, k in zip(h, radial.split(n, 1), n, strict=True)
        ]
        message = torch.cat(so2_blocks(scaled, weight, self.lmax, self.mmax), 1).unflatten(1, (-1, weight.shape[2]))
        return self.rotations.scatter(message, destination, D, size)


def check(
    x: Tensor, edge_index: Tensor, D: Tensor, radial: Tensor, weight: Tensor, size: int, *, lmax: int, mmax: int
) -> None:
    check_convolution("so2_conv", x, edge_index, D, size, lmax=lmax, mmax=mmax)
    want = (D.shape[0], radial_rows(lmax, mmax), x.shape[2])
    if tuple(radial.shape) != want:
        raise UserError(f"so2_conv: radial is {tuple(radial.shape)}; give {want} for these edges, orders and channels")
    want = (pairs(lmax, mmax), x.shape[2])
    if weight.ndim != 3 or tuple(weight.shape[:2]) != want:
        raise UserError(f"so2_conv: weight is {tuple(weight.shape)}; give ({want[0]}, {want[1]}, channels out)")


def cost(
    out: Tensor,
    x: Tensor,
    edge_index: Tensor,
    D: Tensor,
    radial: Tensor,
    weight: Tensor,
    size: int,
    *,
    lmax: int,
    mmax: int,
) -> Cost:
    """Per edge 2 (n_0 C)^2 + sum of 8 (n_m C)^2 for C channels in and out, the radial weights, and both rotations."""
    c_in, c_out = weight.shape[1:]
    n = degrees(lmax, mmax)
    mixing = 2 * n[0] ** 2 + sum(8 * k**2 for k in n[1:])
    rotating = rotation_flop(lmax, mmax) * (c_in + c_out) + (lmax + 1) ** 2 * c_out
    flop = mixing * c_in * c_out + (2 * sum(n) - n[0]) * c_in + rotating
    return Cost(D.shape[0] * flop, traffic(out, x, edge_index, D, radial, weight))


def example(dtype, device, seed, *, nodes=6, degree=4, channels=4, lmax=2, mmax=1):
    edge_index, D = example_edges(dtype, device, seed, nodes=nodes, degree=degree, lmax=lmax)
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(nodes, (lmax + 1) ** 2, channels, generator=g, dtype=torch.float64)
    radial = torch.rand(nodes * degree, radial_rows(lmax, mmax), channels, generator=g, dtype=torch.float64)
    weight = torch.randn(pairs(lmax, mmax), channels, channels, generator=g, dtype=torch.float64)
    weight = weight / ((lmax + 1) * channels) ** 0.5
    args = (x.to(device, dtype), edge_index, D, radial.to(device, dtype), weight.to(device, dtype), nodes)
    return args, {"lmax": lmax, "mmax": mmax}


OP = Op(
    reference=so2_conv,
    backends={
        "native": native_backend(AroundLoops),
        "compiled": compiled(by_rows),
        "reference": Backend(plain(so2_conv), device=None),
        "triton": backend("so2_conv"),
    },
    check=check,
    cost=cost,
    example=example,
)
