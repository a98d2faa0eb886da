"""trainer=fsdp: weights, gradients and the optimiser's state shared out among processes, for networks too large for one.

This is FSDP2 (`torch.distributed.fsdp.fully_shard`), whose shards keep the shapes of their tensors, so that a paper's groups of
parameters and the norm of its gradient mean what they mean without it. Checkpoints hold whole tensors, as any other run's.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.strategies import ModelParallelStrategy, Strategy
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import StateDictOptions, set_model_state_dict
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import FSDPModule, fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.optim import Optimizer

from ..errors import UserError
from ..models.paper import Paper
from ..nn.gradient import ForcesFromEnergy
from .replicas import share_buffers

TARGET = f"{__name__}.FullySharded"
CONTAINERS = (nn.ModuleList, nn.ModuleDict, nn.ParameterList, nn.ParameterDict)
STEPS = ("training_step", "validation_step", "test_step")
"""What the trainer calls: before each of them the root's weights are gathered."""


class FullySharded(ModelParallelStrategy):
    """Shards a paper among all processes of a run; on GPUs over NCCL, on CPUs over gloo."""

    def __init__(self) -> None:
        super().__init__(tensor_parallel_size=1, save_distributed_checkpoint=False)

    def setup_environment(self) -> None:
        self._data_parallel_size = self.num_nodes * self.num_processes
        super().setup_environment()

    def setup(self, trainer: L.Trainer) -> None:
        """As the base class does, with sharding in place of a paper's own `configure_model`."""
        self.accelerator.setup(trainer)
        self.model = self.precision_plugin.convert_module(self.model)
        self.model_to_device()
        if not isinstance(self.model, FSDPModule):
            shard(self.model, self.device_mesh["data_parallel"])
        share_buffers(self.lightning_module)
        if trainer.state.fn == TrainerFn.FITTING:
            self.setup_optimizers(trainer)
        self.setup_precision_plugin()

    @property
    def restore_checkpoint_after_setup(self) -> bool:
        """No: where a resumed run goes on in its epoch must be known when `setup` asks for the batches."""
        return False

    @property
    def lightning_restore_optimizer(self) -> bool:
        return True

    def load_checkpoint(self, checkpoint_path: str | Path, weights_only: bool | None = None) -> dict[str, Any]:
        return self.checkpoint_io.load_checkpoint(checkpoint_path, weights_only=weights_only)

    def load_model_state_dict(self, checkpoint: Mapping[str, Any], strict: bool = True) -> None:
        load_weights(self.lightning_module, checkpoint["state_dict"])

    def optimizer_state(self, optimizer: Optimizer) -> dict[str, Any]:
        """Whole tensors under the numbers that any optimiser gives them; all processes take part."""
        state = Strategy.optimizer_state(self, optimizer)
        return {**state, "state": {n: {k: whole(v) for k, v in kept.items()} for n, kept in state["state"].items()}}

    def load_optimizer_state_dict(self, checkpoint: Mapping[str, Any]) -> None:
        for optimizer, state in zip(self.optimizers, checkpoint["optimizer_states"], strict=True):
            parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
            shards = {n: {k: own(v, parameters[n]) for k, v in kept.items()} for n, kept in state["state"].items()}
            optimizer.load_state_dict({**state, "state": shards})

    def training_step(self, *args: Any, **kwargs: Any) -> Any:
        share_buffers(self.lightning_module)  # as DDP does
        return super().training_step(*args, **kwargs)


def shard(paper: Paper, mesh: DeviceMesh) -> None:
    """Each layer is gathered when it is used, what is in no layer (embeddings, heads) for the whole step."""
    for layer in layers(paper):
        fully_shard(layer, mesh=mesh)
    fully_shard(paper, mesh=mesh)
    for name in STEPS:
        register_fsdp_forward_method(paper, name)


def layers(module: nn.Module) -> Iterator[nn.Module]:
    """The outermost elements of lists of modules: a deep network's blocks, which are called one after the other."""
    for child in module.children():
        if not isinstance(child, nn.ModuleList):
            yield from layers(child)
            continue
        for element in child:
            if isinstance(element, CONTAINERS):
                yield from layers(element)
            elif any(True for _ in element.parameters()):
                yield element


def whole(value: Any) -> Any:
    """A sharded tensor in full, in the processor's memory; anything else as it is."""
    return value.full_tensor().cpu() if isinstance(value, DTensor) else value


def own(value: Any, parameter: DTensor) -> Any:
    """This process's shard of what an optimiser keeps for every element of a parameter; anything else as it is."""
    if not isinstance(value, Tensor) or value.shape != parameter.shape:
        return value
    value = value.to(parameter.device)
    return distribute_tensor(value, parameter.device_mesh, parameter.placements, src_data_rank=None)


def load_weights(paper: Paper, weights: dict[str, Tensor]) -> None:
    """Loads whole tensors into a paper, also into one that is sharded; called by every process."""
    if isinstance(paper, FSDPModule):
        set_model_state_dict(paper, weights, options=StateDictOptions(full_state_dict=True))
    else:
        paper.load_state_dict(weights)


def check_sharding(config: dict[str, Any], paper: Paper) -> None:
    """Raises UserError for what cannot be had of a paper that is shared out, before any data are read."""
    strategy = config["trainer"]["strategy"]
    if not isinstance(strategy, dict) or strategy.get("_target_") != TARGET:
        return
    model = config["choices"]["model"]
    reason = ""
    if not paper.trains:
        reason = f"model={model} has no weights to share out"
    elif any(isinstance(module, ForcesFromEnergy) for module in paper.modules()):
        reason = f"model={model} takes forces from the energy's gradient, which needs a layer's weights twice in a step"
    elif any(type(layer).forward is nn.Module.forward for layer in layers(paper)):
        reason = f"model={model} reads its layers' weights outside of a forward pass, where they are not gathered"
    elif config["ema_decay"] is not None:
        reason = "ema_decay would keep a whole second network on every process"
    elif config["compile"]:
        reason = "compile=true traces weights that are not there until they are gathered"
    elif any(hasattr(module, "own_optimizer") for module in paper.modules()):
        reason = f"model={model} with head={config['choices']['head']} has weights on a manifold, of which no part stands alone"
    elif not config["optimizer"]["_target_"].startswith("torch.optim."):
        reason = f"optimizer={config['choices']['optimizer']} looks at whole tensors, of which a process has a part"
    if reason:
        raise UserError(f"trainer=fsdp: {reason}; use trainer=ddp")
