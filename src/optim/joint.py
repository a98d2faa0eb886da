"""Several optimisers in one: a head may bring parameters that live on a manifold, with an optimiser of their own."""

from collections.abc import Callable, Sequence
from typing import Any

from torch import nn
from torch.optim import Optimizer


class Joint(Optimizer):
    """Optimisers that step together, each with its parameters. Schedules see all their groups.

    The first evaluates the closure, once or twice; the others use the gradients that it leaves.
    """

    def __init__(self, parts: Sequence[Optimizer]):
        self.parts = list(parts)
        super().__init__([group for part in parts for group in part.param_groups], {})  # the very same groups

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        loss = self.parts[0].step(closure)
        for part in self.parts[1:]:
            part.step()
        return loss

    def state_dict(self) -> dict[str, Any]:
        return {"parts": [part.state_dict() for part in self.parts]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        for part, state in zip(self.parts, state_dict["parts"], strict=True):
            part.load_state_dict(state)
        self.param_groups[:] = [group for part in self.parts for group in part.param_groups]


def optimizer_for(module: nn.Module, optimizer: Callable[..., Optimizer], groups: list[dict[str, Any]]) -> Optimizer:
    """The optimiser of a module's parameters.

    Submodules with a method `own_optimizer` have their parameters trained by what it returns. An optimiser that wants to
    know the module (SAM) is told by its method `watch`.

    Args:
        module: whose parameters these are.
        optimizer: makes an optimiser of groups.
        groups: the module's parameters.
    """
    own = [part.own_optimizer() for part in module.modules() if hasattr(part, "own_optimizer")]
    taken = {id(p) for part in own for group in part.param_groups for p in group["params"]}
    rest = [{**group, "params": [p for p in group["params"] if id(p) not in taken]} for group in groups]
    made = optimizer([group for group in rest if group["params"]])
    if hasattr(made, "watch"):
        made.watch(module)
    return Joint([made, *own]) if own else made
