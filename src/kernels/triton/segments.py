"""Which edges arrive at which node, for kernels that give each node a program: sums then need no atomic additions."""

import torch
from torch import Tensor

from ..segment import rowptr_of


def csr(index: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """(order, rowptr): the edges sorted by `index`, ties as they stood, and where each of `size` segments begins."""
    ordered, order = torch.sort(index, stable=True)
    return order, rowptr_of(ordered, size)
