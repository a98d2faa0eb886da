"""Equiangular Basis Vectors. Shen, Sun, Wei; CVPR 2023, arXiv:2303.11637.

Each class has a fixed unit vector, any two of which have a |cosine| of at most alpha. The features are mapped to as many
dimensions, and the softmax reads their cosines with the vectors, divided by a temperature (0.07 in the authors' code).
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import linear, normalize, relu

from ...errors import UserError

STEPS, SLACK = 10_000, 1e-4


class EquiangularBasisVectors(nn.Module):
    """logit_c = cos(w_c, W x + b) / temperature with fixed w_c; only W and b learn.

    Args:
        channels, classes: of the features and of the benchmark.
        dim: of the basis vectors.
        alpha: the largest |cosine| between two of them.
        temperature: of the softmax.
    """

    basis: Tensor

    def __init__(self, channels: int, classes: int, dim: int, alpha: float, temperature: float):
        super().__init__()
        self.temperature = temperature
        self.embedding = nn.Linear(channels, dim)
        self.register_buffer("basis", equiangular_basis(classes, dim, alpha))

    def forward(self, x: Float[Tensor, "samples channels"]) -> Float[Tensor, "samples classes"]:
        return linear(normalize(self.embedding(x), dim=-1), self.basis) / self.temperature


def equiangular_basis(count: int, dim: int, alpha: float, seed: int = 0) -> Float[Tensor, "count dim"]:
    """Unit vectors with |w_i . w_j| <= alpha for i != j (eq. 4).

    With room for a simplex (dim >= count - 1), whose angles are all equal, cos = -1 / (count - 1), that is what they are;
    where alpha forbids even that, they are orthogonal. Otherwise random directions are pushed apart, much as the authors do,
    until no |cosine| exceeds alpha by more than 1e-4.

    Raises:
        UserError: where there are no such vectors (Welch's bound), or none were found.
    """
    bound = math.sqrt(max(count - dim, 0) / (dim * max(count - 1, 1)))
    asked = f"{count} vectors in head.dim={dim} dimensions"
    if alpha < bound:
        raise UserError(f"head.alpha={alpha}: of {asked}, two always have a |cosine| of {bound:.4f} or more")
    with torch.device("cpu"):
        if dim >= count - 1 and alpha * (count - 1) >= 1:
            return simplex(count, dim)
        if dim >= count:
            return torch.eye(count, dim)
        basis, largest = pushed_apart(count, dim, alpha, seed)
    if largest > alpha + SLACK:
        raise UserError(f"head.alpha={alpha}: {asked} came only to {largest:.4f}; use a larger head.alpha or head.dim")
    return basis


def simplex(count: int, dim: int) -> Float[Tensor, "count dim"]:
    """The corners of a regular simplex around the origin: centred unit vectors, in coordinates of the span they have."""
    centred = torch.eye(count, dtype=torch.float64) - 1 / count
    axes = torch.linalg.svd(centred).Vh[: count - 1]
    corners = normalize(centred @ axes.T, dim=-1)
    return nn.functional.pad(corners, (0, dim - (count - 1))).float()


def pushed_apart(count: int, dim: int, alpha: float, seed: int) -> tuple[Float[Tensor, "count dim"], float]:
    """The vectors and the largest |cosine| they reached, by descending the sum of max(|w_i . w_j| - alpha, 0) squared.

    The authors do without the square, and so need small steps and many of them.
    """
    generator = torch.Generator().manual_seed(seed)
    basis = normalize(torch.randn(count, dim, generator=generator), dim=-1)
    largest, rate = math.inf, dim / count  # one over the curvature, for a tight frame
    for _ in range(STEPS):
        gram = (basis @ basis.T).fill_diagonal_(0)
        largest = min(largest, float(gram.abs().max()))
        if largest <= alpha + SLACK:
            break
        basis = normalize(basis - rate * (gram.sign() * relu(gram.abs() - alpha)) @ basis, dim=-1)
    return basis, largest
