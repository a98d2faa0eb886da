"""Whether a transformation of the inputs acts on their embeddings as an orthogonal matrix (CARE, arXiv:2306.13924).

There is such a matrix R with b_i = R a_i for all i just when all inner products agree, <a_i, a_j> = <b_i, b_j>.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from ..errors import UserError


def gram_difference(
    a: Float[Tensor, "*groups samples channels"], b: Float[Tensor, "*groups samples channels"]
) -> Float[Tensor, "*groups"]:
    """2 / n sum_{i != j} (<a_i, a_j> - <b_i, b_j>)^2 of each group: zero just where an orthogonal matrix takes a to b.

    For embeddings of unit length, whose products with themselves agree anyway. Sum and factor are those of the authors'
    code, whose weights are the published ones; eq. (3) has the mean.
    """
    difference = (a @ a.mT - b @ b.mT).square()
    return 2 * (difference.sum((-2, -1)) - difference.diagonal(dim1=-2, dim2=-1).sum(-1)) / a.shape[-2]


def wahba_rotation(
    a: Float[Tensor, "samples channels"], b: Float[Tensor, "samples channels"]
) -> Float[Tensor, "channels channels"]:
    """The orthogonal R, reflections included, with the least sum_i |b_i - R a_i|^2 (Wahba 1965), by an SVD."""
    left, _, right = torch.linalg.svd(b.mT @ a)
    return left @ right


def wahba_error(a: Float[Tensor, "samples channels"], b: Float[Tensor, "samples channels"]) -> Float[Tensor, ""]:
    """What the best orthogonal matrix leaves of sum_i |b_i - a_i|^2: 0 for an orthogonal action, 1 where R = 1 is the best.

    Args:
        a, b: embeddings before and after one transformation of all inputs, more of them than channels: fewer can always be
            turned onto each other.
    """
    if len(a) <= a.shape[1]:
        raise UserError(f"Wahba's problem in {a.shape[1]} channels needs more samples than that, not {len(a)}")
    a, b = a.double(), b.double()
    left = (b - a @ wahba_rotation(a, b).mT).square().sum()
    return left / (b - a).square().sum().clamp(min=1e-30)
