"""The floor of a table on trajectories: every body goes straight on (the "linear" model of EGNN, arXiv:2102.09844, Table 2)."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ...tasks.spec import Spec
from ...tasks.symmetry import E3
from ..paper import Paper


class Inertia(Paper):
    """x + t v, with the one time t for which the squared error on the training split is least.

    The authors of the published number descend to t by gradients.
    """

    title = "Every body goes straight on (floor)"
    arxiv = "2102.09844"
    modalities = frozenset({"trajectories"})
    outputs = frozenset({"node:1o"})
    needs = frozenset({"vel"})
    trains = False

    def __init__(self, spec: Spec):
        super().__init__(spec)
        self.network = StraightOn(spec)

    def fit_closed_form(self, train_batches: Callable[[], Iterable[Any]]) -> None:
        """t = sum v (y - x) / sum v^2, in float64, from one pass over the training split; 0 where nothing moves."""
        moment, squares = torch.zeros(2, dtype=torch.float64)
        for batch in train_batches():
            vel = batch.vel.double()
            for target in self.spec.targets:
                change = batch[target.name] - batch.pos if target.translates else batch[target.name]
                moment += (vel * change).sum()
                squares += vel.square().sum()
        self.network.time.copy_(torch.where(squares > 0, moment / squares, 0.0))


class StraightOn(nn.Module):
    """Where every body is after a time, if nothing acts on it."""

    symmetries = E3

    def __init__(self, spec: Spec):
        super().__init__()
        self.targets = spec.targets
        self.register_buffer("time", torch.zeros((), dtype=torch.float64))

    def features(self, batch: Any) -> Float[Tensor, "nodes 3"]:
        return self.time.to(batch.vel) * batch.vel

    def forward(self, batch: Any) -> dict[str, Tensor]:
        way = self.features(batch)
        return {target.name: batch.pos + way if target.translates else way for target in self.targets}
