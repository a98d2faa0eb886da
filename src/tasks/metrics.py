"""Metrics with float64 states that count every sample once, also over several processes."""

import torch
from jaxtyping import Float
from torch import Tensor
from torchmetrics import Metric


class MeanOf(Metric):
    """The mean over samples of a per-sample value, e.g. of an absolute error."""

    full_state_update = False
    total: Tensor
    count: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("total", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("count", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, values: Float[Tensor, " samples"]) -> None:
        self.total += values.double().sum()
        self.count += values.numel()

    def compute(self) -> Float[Tensor, ""]:
        return self.total / self.count
