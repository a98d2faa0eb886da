"""Randomness that is a function of where the training stands, so that nothing of it needs to be saved."""

from typing import Any

import lightning as L

from ..datamodules.sampling import seed_for, set_seed


class KeyedRandomness(L.Callback):
    """Seeds all generators before every epoch and every batch by (seed, stage, rank, epoch, batch): dropout, noise, masks.

    A resumed run therefore draws what the uninterrupted one would have drawn, on every rank, with no state to restore.
    What is random in making a batch has seeds of its own (datamodules.sampling.Seeded).
    """

    def __init__(self, seed: int):
        self.seed = seed

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        set_seed(seed_for(self.seed, "epoch", trainer.global_rank, trainer.current_epoch, 0))

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
