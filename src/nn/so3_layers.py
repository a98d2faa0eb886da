"""Layers on features of degrees 0..lmax, (nodes, (lmax+1)^2, channels), that commute with rotations."""

from math import sqrt

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import silu

from ..geometry.tables import constant_table


class SO3Linear(nn.Module):
    """A linear layer over channels for each degree, with a bias for degree 0.

    Args:
        lmax: the highest degree.
        in_channels, out_channels: of each component.
    """

    def __init__(self, lmax: int, in_channels: int, out_channels: int):
        super().__init__()
        self.lmax = lmax
        self.weight = nn.Parameter(torch.empty(lmax + 1, in_channels, out_channels))
        self.bias = nn.Parameter(torch.zeros(out_channels))
        nn.init.uniform_(self.weight, -1 / sqrt(in_channels), 1 / sqrt(in_channels))

    def forward(self, x: Float[Tensor, "nodes components in_channels"]) -> Float[Tensor, "nodes components out"]:
        parts = x.split([2 * degree + 1 for degree in range(self.lmax + 1)], 1)
        scalars, *others = (part @ weight for part, weight in zip(parts, self.weight, strict=True))
        return torch.cat([scalars + self.bias, *others], 1)


class SeparableLayerNorm(nn.Module):
    """Layer norm of degree 0 by itself, and one scale for all higher degrees together (arXiv:2306.12059, section 4.3).

    The scale is 1 / the root mean square over channels and degrees, each degree counted by the mean of its components;
    then each degree and channel has its own weight.

    Args:
        lmax: the highest degree, at least 1.
        channels: of each component.
        eps: added to the mean square.
    """

    def __init__(self, lmax: int, channels: int, eps: float = 1e-5):
        super().__init__()
        self.lmax, self.eps = lmax, eps
        self.scalars = nn.LayerNorm(channels, eps=eps)
        self.weight = nn.Parameter(torch.ones(lmax * channels))  # flat: norms have no weight decay

    def forward(self, x: Float[Tensor, "nodes components channels"]) -> Float[Tensor, "nodes components channels"]:
        scalars, others = x[:, :1], x[:, 1:]
        shares = balanced_shares(self.lmax, dtype=x.dtype, device=x.device)
        mean_square = torch.einsum("nkc,k->n", others.square(), shares) / x.shape[2]
        degree = component_degrees(self.lmax, dtype=torch.int64, device=x.device)
        weight = self.weight.view(self.lmax, -1)[degree[1:] - 1]
        others = others * (mean_square + self.eps).rsqrt()[:, None, None] * weight
        return torch.cat([self.scalars(scalars), others], 1)


def gated(
    x: Float[Tensor, "rows components channels"],
    gates: Float[Tensor, "rows gates"],
    degree: Int[Tensor, " components"],
) -> Float[Tensor, "rows components channels"]:
    """SiLU of the first component, of degree 0, and each other times the sigmoid of its degree's gate."""
    factors = torch.sigmoid(gates).unflatten(1, (-1, x.shape[2])).index_select(1, degree[1:] - 1)
    return torch.cat([silu(x[:, :1]), x[:, 1:] * factors], 1)


@constant_table
def component_degrees(lmax: int) -> np.ndarray:
    """The degree of each of the (lmax+1)^2 components."""
    return np.repeat(np.arange(lmax + 1), 2 * np.arange(lmax + 1) + 1)


@constant_table
def balanced_shares(lmax: int) -> np.ndarray:
    """1 / (lmax (2l + 1)) for each component of the degrees 1..lmax: 1 together."""
    degree = component_degrees(lmax).numpy()[1:]
    return 1 / (lmax * (2 * degree + 1))


def with_scalars(
    x: Float[Tensor, "rows components channels"], scalars: Float[Tensor, "rows channels"]
) -> Float[Tensor, "rows components channels"]:
    """x, which is used up, with these in the place of degree 0."""
    return x.index_copy_(1, torch.zeros(1, dtype=torch.long, device=x.device), scalars.to(x.dtype).unsqueeze(1))
