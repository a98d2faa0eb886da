"""Stochastic depth: a residual branch left out at random, for a whole sample at a time."""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn


class DropPath(nn.Module):
    """In training, zero for each graph with probability `rate` and divided by 1 - rate otherwise (arXiv:1603.09382)."""

    def __init__(self, rate: float):
        super().__init__()
        self.rate = rate

    def forward(
        self, x: Float[Tensor, "nodes *channels"], graph: Int[Tensor, " nodes"], graphs: int
    ) -> Float[Tensor, "nodes *channels"]:
        if not self.training or self.rate == 0:
            return x
        kept = torch.rand(graphs, device=x.device) >= self.rate
        factor = kept.to(x.dtype) / (1 - self.rate)
        return x * factor[graph].view(-1, *[1] * (x.ndim - 1))
