"""What the processes of a training over DDP share, wherever it was interrupted: buffers, and the order of sums."""

from collections import defaultdict
from typing import Any

import lightning as L
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from ..errors import UserError


class Replicas(L.Callback):
    """Keeps the processes' networks alike, so that a resumed run goes on as the uninterrupted one does.

    Buffers (running means, masks, queues) are shared where DDP leaves it out: before a validation, and before the first step
    after one. Without it the processes would validate different networks, and a step after a validation would depend on
    whether the run was resumed there: every process of a resumed run begins with what the first one saved.

    In what order the gradients of three processes are added depends on their place in DDP's messages, which it arranges anew
    after the first backward pass of a process: on CPUs that is one of no consequence, before the first step.
    """

    def __init__(self) -> None:
        self.validated = self.checked = False

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if isinstance(trainer.strategy.model, DistributedDataParallel) and pl_module.device.type == "cpu":
            arrange_messages(trainer.strategy.model)

    def on_after_backward(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        ddp = trainer.strategy.model
        if not self.checked and isinstance(ddp, DistributedDataParallel) and not ddp.find_unused_parameters:
            check_gradients(pl_module)
        self.checked = True

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


def check_gradients(network: nn.Module) -> None:
    """Raises UserError where a trained parameter has no gradient, for which DDP would wait in the next step."""
    without = [name for name, p in network.named_parameters() if p.requires_grad and p.grad is None]
    if without:
        raise UserError(
            f"DDP wants a gradient of every parameter that is trained, and {', '.join(without)} got none: set their "
            "requires_grad to False, or use trainer.strategy=ddp_find_unused_parameters_true"
        )


def arrange_messages(ddp: DistributedDataParallel) -> None:
    """A forward and backward pass of a sum over all parameters in the network's place."""
    parameters = [parameter for parameter in ddp.module.parameters() if parameter.requires_grad]
    ddp.module.forward = lambda: sum(parameter.abs().sum().double() for parameter in parameters)
    try:
        ddp().backward()
    finally:
        del ddp.module.forward  # the instance's own: the class's is there again
    for parameter in parameters:
        parameter.grad = None


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
