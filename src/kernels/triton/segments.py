"""Which edges arrive at which node, for kernels that give each node a program: sums then need no atomic additions."""

import torch
import triton.language as tl
from torch import Tensor

from ..segment import rowptr_of
from .launch import jit


def csr(index: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """(order, rowptr): the edges sorted by `index`, ties as they stood, and where each of `size` segments begins."""
    ordered, order = torch.sort(index, stable=True)
    return order, rowptr_of(ordered, size)


@jit
def edges_at(order, start, end, ROWS: tl.constexpr):
    """ROWS edges from `start` on, and which of them come before `end`."""
    at = start + tl.arange(0, ROWS)
    exists = at < end
    return tl.load(order + at, exists, 0).to(tl.int64), exists
