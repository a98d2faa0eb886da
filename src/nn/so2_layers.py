"""Layers in the frames of edges: on m-major rows (`erlangen.kernels.m_layout`), commuting with turns about the edge."""

from math import sqrt

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from .. import kernels
from ..geometry.tables import constant_table
from ..kernels import Kernels
from ..kernels.m_layout import degrees


def orders_of(x: Float[Tensor, "edges rows channels"], lmax: int, mmax: int) -> list[Tensor]:
    """For each m = 0..mmax the rows of m-major features: (edges, 1, n_0 channels), then (edges, 2, n_m channels)."""
    zero, *others = degrees(lmax, mmax)
    parts = x.split([zero, *(2 * n for n in others)], 1)  # one split: its backward is one concatenation
    return [part.unflatten(1, (1 if m == 0 else 2, -1)).flatten(2) for m, part in enumerate(parts)]


def scaled_orders(orders: list[Tensor], radial: Float[Tensor, "edges weights"]) -> list[Tensor]:
    """Each order times the edge's weights for its degrees and channels; +m and -m share theirs."""
    weights = radial.split([part.shape[2] for part in orders], 1)
    return [part * weight.unsqueeze(1) for part, weight in zip(orders, weights, strict=True)]


class SO2Linear(nn.Module):
    """y_m + i y_-m = W_m (x_m + i x_-m) for each order m, over degrees and channels (arXiv:2302.03655).

    W_0 is real and has a bias; W_m is complex. Together they are the most general linear map that commutes with turns
    about the edge. From m = 0 `scalars` more invariant channels may be read.

    Args:
        choice: which backends run its kernels.
        lmax, mmax: the highest degree, the highest order.
        in_channels, out_channels: of each row.
        scalars: how many invariants come out beside.
        order: the highest derivative that is taken.
    """

    def __init__(
        self,
        choice: Kernels,
        lmax: int,
        mmax: int,
        in_channels: int,
        out_channels: int,
        scalars: int = 0,
        order: int = 2,
    ):
        super().__init__()
        self.complex_linear = kernels.get("complex_linear", choice, order=order)
        self.scalars, self.out_channels = scalars, out_channels
        zero, *others = degrees(lmax, mmax)
        self.invariant = nn.Linear(zero * in_channels, scalars + zero * out_channels)
        self.complex = nn.ParameterList(torch.empty(2, n * in_channels, n * out_channels) for n in others)
        for weight in self.complex:
            nn.init.uniform_(weight, -1 / sqrt(2 * weight.shape[1]), 1 / sqrt(2 * weight.shape[1]))

    def forward(
        self, orders: list[Tensor]
    ) -> tuple[Float[Tensor, "edges scalars"], Float[Tensor, "edges rows out_channels"]]:
        zero, *others = orders
        scalars, first = self.invariant(zero.squeeze(1)).tensor_split([self.scalars], 1)
        out = [self.complex_linear(part, *weight).flatten(1) for part, weight in zip(others, self.complex, strict=True)]
        return scalars, torch.cat([first, *out], 1).unflatten(1, (-1, self.out_channels))


@constant_table
def row_degrees(lmax: int, mmax: int) -> np.ndarray:
    """The degree of each row of the m-major layout."""
    spans = [np.tile(np.arange(m, lmax + 1), 2 if m else 1) for m in range(mmax + 1)]
    return np.concatenate(spans)


@constant_table
def truncation_gain(lmax: int, mmax: int) -> np.ndarray:
    """sqrt((2l+1) / n_l) for each of the (lmax+1)^2 components, n_l = 2 min(l, mmax) + 1 those that the edge keeps.

    What a message that is turned back is multiplied by, so that degrees that lost components keep their variance.
    """
    degree = np.repeat(np.arange(lmax + 1), 2 * np.arange(lmax + 1) + 1)[:, None]
    return np.sqrt((2 * degree + 1) / (2 * np.minimum(degree, mmax) + 1))
