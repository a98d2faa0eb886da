"""Teachers: networks that follow a student and are not trained themselves."""

from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn


class Teacher(nn.Module):
    """An exponential moving average of a student's parameters, which no gradient reaches (BYOL, arXiv:2006.07733, eq. 1).

    Its buffers are its own: the statistics of its batch norms are those of what it has seen. Its parameters need no
    gradient, which keeps them out of a paper's optimiser, and a run's average of the weights leaves it as it is.

    Args:
        student: what it starts as a copy of.
    """

    def __init__(self, student: nn.Module):
        super().__init__()
        self.network = deepcopy(student).requires_grad_(False)

    @torch.no_grad()
    def update(self, student: nn.Module, decay: float) -> None:
        """theta <- decay theta + (1 - decay) student's, to be called after the optimiser's step."""
        for mine, theirs in zip(self.network.parameters(), student.parameters(), strict=True):
            mine.lerp_(theirs, 1 - decay)

    @torch.no_grad()
    def forward(self, *inputs: Any) -> Tensor:
        return self.network(*inputs)
