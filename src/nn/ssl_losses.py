"""Losses of joint-embedding methods, of the embeddings z_a and z_b of two views of the same objects, row by row.

All compare samples: under several processes they are to be given the joined batch (nn.gather).
"""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import cross_entropy, mse_loss, normalize, relu

from ..errors import UserError

EPSILON = 1e-4
"""Under the square root of VICReg's standard deviation."""


def variance(z: Float[Tensor, "samples channels"]) -> Float[Tensor, ""]:
    """mean_j max(0, 1 - sqrt(Var(z_j) + epsilon)): how far the channels are from unit deviation (arXiv:2105.04906, eq. 1)."""
    return relu(1 - (z.var(0) + EPSILON).sqrt()).mean()


def covariance(z: Float[Tensor, "samples channels"]) -> Float[Tensor, ""]:
    """The sum of the squared covariances of different channels over the number of channels (arXiv:2105.04906, eqs. 3 and 4)."""
    centred = z - z.mean(0)
    matrix = centred.mT @ centred / (len(z) - 1)
    return (matrix.square().sum() - matrix.diagonal().square().sum()) / z.shape[1]


def regularization(
    a: Float[Tensor, "samples channels"], b: Float[Tensor, "samples channels"], std: float, cov: float
) -> Float[Tensor, ""]:
    """VICReg's terms that keep embeddings from collapsing: mu [v(a) + v(b)] / 2 + nu [c(a) + c(b)].

    The half is the authors' code's, whose weights are the published ones; eq. (6) lacks it.
    """
    require_samples(a)
    return std * (variance(a) + variance(b)) / 2 + cov * (covariance(a) + covariance(b))


def vicreg(
    a: Float[Tensor, "samples channels"], b: Float[Tensor, "samples channels"], sim: float, std: float, cov: float
) -> Float[Tensor, ""]:
    """lambda s(a, b) + mu [v(a) + v(b)] / 2 + nu [c(a) + c(b)] (arXiv:2105.04906, eq. 6), s averaged over channels too."""
    return sim * mse_loss(a, b) + regularization(a, b, std, cov)


def nt_xent(
    a: Float[Tensor, "samples channels"], b: Float[Tensor, "samples channels"], temperature: float
) -> Float[Tensor, ""]:
    """Each of the 2N views is to be nearest in angle to its partner among the 2N - 1 others (arXiv:2002.05709, eq. 1)."""
    require_samples(a)
    count = len(a)
    z = normalize(torch.cat([a, b]), dim=-1)
    logits = (z @ z.mT / temperature).fill_diagonal_(float("-inf"))
    partner = torch.arange(2 * count, device=z.device).roll(count)
    return cross_entropy(logits, partner)


def barlow_twins(
    a: Float[Tensor, "samples channels"], b: Float[Tensor, "samples channels"], redundancy: float
) -> Float[Tensor, ""]:
    """sum_i (1 - C_ii)^2 + lambda sum_{i != j} C_ij^2, C correlating a's with b's channels (arXiv:2103.03230, eqs. 1, 2)."""
    require_samples(a)
    standardized = [(z - z.mean(0)) / (z.var(0, unbiased=False) + 1e-5).sqrt() for z in (a, b)]
    correlation = standardized[0].mT @ standardized[1] / len(a)
    diagonal = correlation.diagonal()
    return (1 - diagonal).square().sum() + redundancy * (correlation.square().sum() - diagonal.square().sum())


def require_samples(z: Tensor) -> None:
    if len(z) < 2:
        raise UserError("a loss that compares samples needs two or more in a batch: choose another data.batch_size")
