"""The run's average of the weights."""

from typing import Any

import lightning as L
from lightning.pytorch.callbacks import EMAWeightAveraging

from ..nn.teacher import Teacher
from .replicas import share_buffers


class WeightAverage(EMAWeightAveraging):
    """An exponential moving average of all weights but a teacher's, which is an average already and stays what it is."""

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)
        for name, module in pl_module.named_modules():
            if isinstance(module, Teacher):
                self._average_model.module.get_submodule(name).load_state_dict(module.state_dict())

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if trainer.world_size > 1 and self._average_model is not None:
            share_buffers(self._average_model)
