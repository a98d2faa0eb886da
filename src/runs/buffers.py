"""One set of buffers (running means, masks, queues) for all processes of a training."""

from collections import defaultdict
from typing import Any

import lightning as L
import torch
from torch import Tensor, nn


class SharedBuffers(L.Callback):
    """Shares buffers where DDP leaves it out: before a validation, and before the first step after one.

    Without it the processes would validate different networks, and a step after a validation would depend on whether the
    run was resumed there: every process of a resumed run begins with what the first one saved.
    """

    def __init__(self) -> None:
        self.validated = False

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if trainer.world_size > 1:
            share_buffers(pl_module)
        self.validated = True

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        if trainer.world_size > 1 and self.validated:
            share_buffers(pl_module)
        self.validated = False


@torch.no_grad()
def share_buffers(module: nn.Module) -> None:
    """Every process takes the first one's buffers; called by all of them."""
    kinds: dict[torch.dtype, list[Tensor]] = defaultdict(list)
    for buffer in module.buffers():
        kinds[buffer.dtype].append(buffer)
    for buffers in kinds.values():
        values = torch.cat([buffer.flatten() for buffer in buffers])
        torch.distributed.broadcast(values, src=0)
        for buffer, value in zip(buffers, values.split([b.numel() for b in buffers]), strict=True):
            buffer.copy_(value.view_as(buffer))
