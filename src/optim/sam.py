"""Sharpness-aware minimisation, as vision transformers are trained without pre-training.

Chen, Hsieh, Gong, "When Vision Transformers Outperform ResNets without Pre-training or Strong Data Augmentations", ICLR 2022,
arXiv:2106.01548; the method is Foret et al.'s, arXiv:2010.01412.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

import torch
from lightning.pytorch.utilities.seed import isolate_rng
from torch import Tensor, nn
from torch.nn.utils import get_total_norm
from torch.optim import Optimizer

from ..errors import UserError
from .joint import Joint


class SAM(Joint):
    """A base optimiser that steps with the gradient found a distance rho uphill (arXiv:2106.01548, eq. 2).

    Every step runs the training step twice on the same batch: at w, and at w + rho g / |g| with g the gradient of the first.
    The second draws the same random numbers, updates no batch-norm statistics (nor any other buffer) and logs nothing. Under
    DDP g is the gradient of the joined batch (the authors let every device climb along its own).

    Args:
        params: parameters or groups of them.
        base: makes the base optimiser of these.
        rho: the distance; 0 is the base optimiser, at twice its cost.
    """

    passes: ClassVar[int] = 2

    def __init__(self, params: Iterable[Any], base: Callable[..., Optimizer], rho: float):
        if rho < 0:
            raise ValueError(f"rho={rho} must not be negative")
        super().__init__([base(params)])
        self.rho, self.module = rho, nn.Module()

    def watch(self, module: nn.Module) -> None:
        """Names the module that the closure runs, whose buffers the second pass is to leave alone."""
        self.module = module

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        if closure is None:
            raise UserError("SAM evaluates the loss twice and needs a closure: step(closure)")
        closure = torch.enable_grad()(closure)
        with isolate_rng():  # puts the generators back, so that the second pass draws what the first drew
            loss = closure()
        parameters = [p for group in self.param_groups for p in group["params"] if p.grad is not None]
        here = [p.clone() for p in parameters]
        climb(parameters, self.rho)
        try:
            with unnoticed(self.module):
                closure()
        finally:
            for p, w in zip(parameters, here, strict=True):
                p.copy_(w)
        self.parts[0].step()
        return loss


def climb(parameters: list[Tensor], rho: float) -> None:
    """Adds rho g / |g| to the parameters, |g| over all of them; where the gradient is zero they stay."""
    norm = get_total_norm([p.grad for p in parameters])
    scale = torch.where(norm > 0, rho / norm, 0.0)
    for p in parameters:
        p.add_(p.grad * scale.to(p.grad))


@contextmanager
def unnoticed(module: nn.Module) -> Iterator[None]:
    """Puts the module's buffers back afterwards, and logs nothing meanwhile."""
    kept = {name: buffer.clone() for name, buffer in module.named_buffers()}
    module.log = module.log_dict = lambda *args, **kwargs: None
    try:
        yield
    finally:
        del module.log, module.log_dict
        for name, buffer in module.named_buffers():
            buffer.copy_(kept[name])
