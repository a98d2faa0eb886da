"""Wigner matrices D^l as polynomials of the rotation matrix: no angles, and so no singularities.

D^l acts on degree l of the real basis that `erlangen.geometry` states. Packed, the blocks D^0, ..., D^lmax of one
rotation stand in one row of sum_l (2l+1)^2 numbers, degree after degree, each block row-major.
"""

import math

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from .checks import require, require_degree
from .clebsch_gordan import clebsch_gordan
from .irreps import Irreps
from .rotations import determinant
from .tables import constant_table, no_autocast


def packed_size(lmax: int) -> int:
    """sum over l <= lmax of (2l+1)^2."""
    return (lmax + 1) * (2 * lmax + 1) * (2 * lmax + 3) // 3


def wigner(R: Float[Tensor, "*batch 3 3"], lmax: int) -> Float[Tensor, "*batch packed"]:
    """The packed Wigner matrices of orthogonal matrices R, for the degrees 0..lmax.

    An improper R gives the harmonics' parity, D^l(-R) = (-1)^l D^l(R). Off the orthogonal group the value is one of the
    many polynomials that agree on it; gradients are those of a function on the group only along the group. UserError
    for lmax < 0.

    With C the coupling 1 x (l-1) -> l, C^T (R x D^{l-1}) = D^l C^T, and so D^l = C^T (R x D^{l-1}) S for any S with
    C^T S = 1. The dense choice S = C takes about four times the work of this one, whose columns are one or two product
    states each. Autocast is ignored.
    """
    require("wigner: R", R, 3, 3)
    require_degree("wigner", lmax)
    rotations = R.reshape(-1, 9).T.contiguous().view(3, 3, -1)  # rotations last: each step is one large matrix product
    blocks = [torch.ones_like(rotations[:1, :1]), rotations]
    with no_autocast(R):
        for degree in range(2, lmax + 1):
            blocks.append(_next_block(rotations, blocks[-1], degree))
    packed = torch.cat([block.flatten(0, 1) for block in blocks[: lmax + 1]])
    return packed.T.contiguous().view(*R.shape[:-2], packed_size(lmax))


def _next_block(R: Float[Tensor, "3 3 n"], D: Float[Tensor, "k k n"], degree: int) -> Float[Tensor, "k+2 k+2 n"]:
    coupling = _coupling(degree, dtype=R.dtype, device=R.device)
    inverse = _inverse(degree, dtype=R.dtype, device=R.device)
    x, y, z = R.unbind(1)
    sin, cos = D[:, 0], D[:, -1]  # the columns m = -(l-1) and m = l-1
    # S for |m| < l: the product state (0, m), which overlaps with degree l in m only.
    middle = (inverse * y[:, None])[:, None] * D
    # S for |m| = l: the states of the highest weight, combined as in the sine and the cosine of a sum of angles.
    first = (x[:, None] * cos + z[:, None] * sin) * math.sqrt(0.5)
    last = (z[:, None] * cos - x[:, None] * sin) * math.sqrt(0.5)
    product = torch.cat([first[:, :, None], middle, last[:, :, None]], 2)
    return (coupling @ product.flatten(0, 1).flatten(1)).unflatten(1, (2 * degree + 1, -1))


@constant_table
def _coupling(degree: int) -> np.ndarray:
    """C^T, (2l+1, 3(2l-1))."""
    return clebsch_gordan(1, degree - 1, degree).flatten(0, 1).T.numpy()


@constant_table
def _inverse(degree: int) -> np.ndarray:
    """1 / C[(0, m), m] for |m| < l, a column."""
    m = np.arange(1 - degree, degree)[:, None]
    return np.sqrt(degree * (2 * degree - 1) / (degree**2 - m**2))


def unpack_blocks(packed: Float[Tensor, "*batch packed"], lmax: int) -> list[Tensor]:
    """The blocks D^0, ..., D^lmax, each (*batch, 2l+1, 2l+1), as views of the packed form."""
    require("unpack_blocks: packed", packed, packed_size(lmax))
    sizes = [(2 * degree + 1) ** 2 for degree in range(lmax + 1)]
    return [
        block.unflatten(-1, (2 * degree + 1, 2 * degree + 1)) for degree, block in enumerate(packed.split(sizes, -1))
    ]


def wigner_blocks(R: Float[Tensor, "*batch 3 3"], lmax: int) -> list[Tensor]:
    """D^0(R), ..., D^lmax(R), each (*batch, 2l+1, 2l+1); see `wigner`."""
    return unpack_blocks(wigner(R, lmax), lmax)


def rotate(
    x: Float[Tensor, "*batch components channels"], blocks: list[Tensor], inverse: bool = False
) -> Float[Tensor, "*batch components channels"]:
    """D x, or D^T x = D^-1 x, for features of degrees 0..lmax, channels last, and the blocks D^0, ..., D^lmax."""
    require("rotate: x", x, len(blocks) ** 2, x.shape[-1])
    parts = x.split([block.shape[-1] for block in blocks], -2)
    return torch.cat([(D.mT if inverse else D) @ part for D, part in zip(blocks, parts, strict=True)], -2)


def representation(irreps: Irreps | str, R: Float[Tensor, "*batch 3 3"]) -> Float[Tensor, "*batch dim dim"]:
    """The matrix by which R in O(3), proper or improper, acts on a feature vector of these irreps: y = D x."""
    irreps = Irreps(irreps)
    require("representation: R", R, 3, 3)
    blocks = wigner_blocks(R, max([0, *(term.l for term in irreps)]))
    sign = torch.where(determinant(R.detach()) < 0, -1, 1).to(R.dtype)[..., None, None]
    out = R.new_zeros(*R.shape[:-2], irreps.dim, irreps.dim)
    for (_, degree, parity), where in zip(irreps, irreps.slices(), strict=True):
        block = blocks[degree] if parity == (-1) ** degree else sign * blocks[degree]
        for start in range(where.start, where.stop, 2 * degree + 1):
            stop = start + 2 * degree + 1
            out[..., start:stop, start:stop] = block
    return out
