"""A paper that is hard to resume: random in every way, with a teacher that follows its student in the paper's own hooks."""

import random
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from erlangen.kernels.segment import segment_sum
from erlangen.models.paper import Paper
from erlangen.tasks.spec import Spec


class Noisy(Paper):
    """Dropout, noise from three generators, a mask drawn once an epoch, and a mean teacher.

    Args:
        spec: the benchmark's.
        bad_loss, bad_gradient: the steps whose loss is NaN, or finite with a NaN gradient; on the process `bad_rank`.
        bad_weights: the step after which a weight is infinite.
        running_means: normalises by batches as well, so that what is validated changes without a step of the optimiser.
    """

    title = "Noise"
    modalities = frozenset({"atoms"})
    trains = True

    def __init__(
        self,
        spec: Spec,
        bad_loss: int = -1,
        bad_gradient: int = -1,
        bad_weights: int = -1,
        bad_rank: int = 0,
        running_means: bool = False,
    ):
        super().__init__(spec)
        self.network, self.teacher = Sums(spec, running_means), Sums(spec, running_means).requires_grad_(False)
        self.register_buffer("mask", torch.ones(8))
        self.bad_loss, self.bad_gradient, self.bad_weights, self.bad_rank = (
            bad_loss,
            bad_gradient,
            bad_weights,
            bad_rank,
        )

    def on_train_epoch_start(self) -> None:
        self.mask.copy_(torch.rand(8) > 0.2)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        batch.pos = batch.pos + 0.1 * torch.randn_like(batch.pos) * np.random.rand() * random.random()  # noqa: NPY002
        outputs = self.network(batch, self.mask)
        teacher = self.teacher(batch)
        agreement = sum((outputs[name] - teacher[name]).square().mean() for name in outputs)
        loss = self.task.loss(outputs, batch, self.normalizer) + 0.1 * agreement
        if self.global_rank == self.bad_rank:
            if self.global_step == self.bad_loss:
                loss = loss * torch.nan
            if self.global_step == self.bad_gradient:
                loss = loss + 0 * (outputs[self.spec.targets[0].name][0] * 0).sqrt()  # finite, its derivative is not
        self.check_finite(loss, batch)
        self.log("train/loss", loss)
        return loss

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        with torch.no_grad():
            for mine, theirs in zip(self.teacher.parameters(), self.network.parameters(), strict=True):
                mine.lerp_(theirs, 0.1)
            if self.global_step == self.bad_weights:
                self.network.out.weight[0, 0] = torch.inf


class Sums(nn.Module):
    """A sum of features of the atoms, with dropout."""

    symmetries = ()

    def __init__(self, spec: Spec, running_means: bool):
        super().__init__()
        self.names = [target.name for target in spec.targets]
        norm = nn.BatchNorm1d(8) if running_means else nn.Identity()
        self.atoms = nn.Sequential(nn.Linear(4, 8), norm, nn.SiLU(), nn.Dropout(0.3), nn.Linear(8, 8))
        self.out = nn.Linear(8, len(self.names))

    def features(self, batch: Any, mask: Tensor | None = None) -> Tensor:
        h = self.atoms(torch.cat([batch.z[:, None] / 9, batch.pos / 5], -1))
        return segment_sum(h if mask is None else h * mask, batch.batch, batch.num_graphs) / 20

    def forward(self, batch: Any, mask: Tensor | None = None) -> dict[str, Tensor]:
        return dict(zip(self.names, self.out(self.features(batch, mask)).unbind(-1), strict=True))
