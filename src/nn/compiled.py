"""A network run through torch.compile as one graph of tensors."""

import contextlib
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import UserError
from .gradient import ForcesFromEnergy, with_free_positions


class Compiled:
    """`network(batch)`, compiled whole: forward, and energy with its gradient where the network predicts forces.

    What cannot be traced happens before: a network that builds its own neighbour list offers `graph(batch)`, whose
    fields are then part of the batch, and positions are made a leaf of their own for the gradient. Sizes are dynamic,
    so that batches of other sizes do not compile anew. It holds no parameters; they stay the network's.

    Raises:
        UserError: at the first call, where the network cannot be traced as one graph.
    """

    def __init__(self, network: nn.Module):
        self.network = network
        self.forces = isinstance(network, ForcesFromEnergy)
        if self.forces and not hasattr(torch._dynamo.config, "trace_autograd_ops"):
            raise UserError(
                f"compile=true with forces needs a torch that compiles a gradient, which {torch.__version__} does not: "
                "use compile=false"
            )
        self.run = torch.compile(self.evaluate, dynamic=True, fullgraph=True)

    def __call__(self, batch: Any) -> dict[str, Tensor]:
        if self.forces:
            batch = with_free_positions(batch)
        tensors = {name: value for name, value in fields_of(batch).items() if isinstance(value, Tensor)}
        graph = getattr(self.network.network if self.forces else self.network, "graph", None)
        if graph is not None and "edge_index" not in tensors:
            tensors |= graph(batch)
        try:
            with torch.set_grad_enabled(torch.is_grad_enabled() or self.forces), tracing(self.forces):
                return self.run(tensors, getattr(batch, "num_graphs", 0))
        except torch._dynamo.exc.TorchDynamoException as error:
            reason = str(error).strip().splitlines()[0]
            raise UserError(f"compile=true cannot work with this paper ({reason}): use compile=false") from error

    def evaluate(self, tensors: dict[str, Tensor], samples: int) -> dict[str, Tensor]:
        batch = Fields(tensors, samples)
        return self.network.differentiate(batch) if self.forces else self.network(batch)


class Fields:
    """A batch as torch.compile can trace it: named tensors, and the number of samples."""

    def __init__(self, tensors: dict[str, Tensor], num_graphs: int):
        self.tensors = tensors
        self.num_graphs = num_graphs

    def __getattr__(self, name: str) -> Tensor:
        return self.tensors[name]

    def __getitem__(self, name: str) -> Tensor:
        return self.tensors[name]

    def __contains__(self, name: str) -> bool:
        return name in self.tensors

    def __len__(self) -> int:
        return len(next(iter(self.tensors.values())))


def fields_of(batch: Any) -> dict[str, Any]:
    """The named values of a batch, be it PyG's or ours."""
    return batch.to_dict() if hasattr(batch, "to_dict") else {name: batch[name] for name in batch}


def tracing(gradients: bool) -> contextlib.AbstractContextManager:
    """torch.compile with a network's own numbers as constants, and with autograd.grad inside the graph where it is needed."""
    options = {"specialize_float": True}
    return torch._dynamo.config.patch(options | {"trace_autograd_ops": True} if gradients else options)
