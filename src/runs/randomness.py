"""Randomness that is a function of where the training stands, so that nothing of it needs to be saved."""

import random
from typing import Any

import lightning as L
import numpy as np
import torch

STAGES = {"train": 0, "val": 1, "test": 2}


def seed_for(seed: int, stage: str, rank: int, epoch: int, step: int) -> int:
    """A 64-bit seed for one batch; different for any two places of a run."""
    words = np.random.SeedSequence([seed, STAGES[stage], rank, epoch, step]).generate_state(2)
    return int(words[0]) << 32 | int(words[1])


def set_seed(value: int) -> None:
    """Seeds torch on every device, numpy and Python."""
    torch.manual_seed(value)
    np.random.seed(value % 2**32)  # noqa: NPY002 (the legacy state is what libraries draw from)
    random.seed(value)


class KeyedRandomness(L.Callback):
    """Seeds all generators before every batch by (seed, stage, rank, epoch, batch): dropout, noise, augmentation.

    A resumed run therefore draws what the uninterrupted one would have drawn, on every rank, with no state to restore.
    """

    def __init__(self, seed: int):
        self.seed = seed

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        set_seed(seed_for(self.seed, "train", trainer.global_rank, trainer.current_epoch, batch_idx))

    def on_validation_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        set_seed(seed_for(self.seed, "val", trainer.global_rank, 0, batch_idx))

    def on_test_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        set_seed(seed_for(self.seed, "test", trainer.global_rank, 0, batch_idx))
