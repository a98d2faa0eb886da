"""Wigner matrices of edges, packed."""

from operator import index

import torch
from jaxtyping import Float
from torch import Tensor

from ..errors import UserError
from ..geometry import wigner as geometry
from ..geometry.clebsch_gordan import signed_squares
from ..geometry.rotations import edge_frames, random_rotations, unit_vectors
from .compiled import compiled
from .registry import Backend, Cost, Op, Tolerance, plain, traffic
from .triton import backend


def wigner(R: Float[Tensor, "edges 3 3"], *, lmax: int) -> Float[Tensor, "edges packed"]:
    """The blocks D^0(R), ..., D^lmax(R) of each edge, packed: `erlangen.geometry.wigner`, a recursion in the degree.

    The zero matrix, which `conv_frames` gives to edges without direction, has D^0 = 1 and D^l = 0 for l > 0.
    """
    return geometry.wigner(R, index(lmax))


def conv_frames(r: Float[Tensor, "edges 3"]) -> Float[Tensor, "edges 3 3"]:
    """Edge frames for a convolution: `edge_frames`, but the zero matrix where the edge has no length.

    An edge without direction may let scalars pass and nothing else, lest the convolution depend on the axes: that is
    what the Wigner matrices of the zero matrix do, and what Y_l(0) = 0 for l > 0 does in a Clebsch-Gordan product.
    """
    directed = (unit_vectors(r.detach()) != 0).any(-1)
    return torch.where(directed[:, None, None], edge_frames(r), 0)


def check(R: Tensor, *, lmax: int) -> None:
    if R.ndim != 3 or R.shape[1:] != (3, 3):
        raise UserError(f"wigner: R is {tuple(R.shape)}; give (edges, 3, 3)")
    if lmax < 0:
        raise UserError(f"wigner: lmax={lmax}; need lmax >= 0")


def has_products(*, lmax: int) -> bool:
    """Up to degree 1 there is nothing to compute: a compiled copy takes longer to call than the reference."""
    return lmax > 1


def cost(out: Tensor, R: Tensor, *, lmax: int) -> Cost:
    """Per edge and degree: the product states of `erlangen.geometry.wigner`, then the non-zero coefficients of C^T."""
    flop = 0
    for degree in range(2, lmax + 1):
        low, high = 2 * degree - 1, 2 * degree + 1
        flop += 3 * low * (low + 6) + 2 * high * len(signed_squares(1, degree - 1, degree))
    return Cost(R.shape[0] * flop, traffic(out, R))


def example(dtype, device, seed, *, edges=30, lmax=3):
    R = random_rotations(edges, generator=torch.Generator().manual_seed(seed))
    return (R.to(device, dtype),), {"lmax": lmax}


OP = Op(
    reference=wigner,
    backends={
        "compiled": compiled(wigner, pays=has_products),
        "reference": Backend(plain(wigner), device=None),
        "triton": backend("wigner"),
    },
    check=check,
    cost=cost,
    example=example,
    tolerance=Tolerance(forward=1e-6),
)
