"""Learning-rate schedules: functions of the time since the start, in epochs; and one that watches the validation score."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from ..errors import UserError

Schedule = Callable[[float, float], float]
"""(epochs done, epochs in all) -> factor of the learning rate."""


@dataclass(frozen=True)
class Constant:
    """The learning rate as it is, after a linear warm-up."""

    warmup_epochs: float | int = 0.0

    def __call__(self, epoch: float, epochs: float) -> float:
        return min(1.0, epoch / self.warmup_epochs) if self.warmup_epochs else 1.0


@dataclass(frozen=True)
class Cosine:
    """Linear warm-up from `warmup_factor`, then half a cosine down to `final_factor` at the end (arXiv:1608.03983, eq. 5)."""

    warmup_epochs: float | int = 0.0
    warmup_factor: float = 0.0
    final_factor: float = 0.0

    def __call__(self, epoch: float, epochs: float) -> float:
        if epoch < self.warmup_epochs:
            return self.warmup_factor + (1 - self.warmup_factor) * epoch / self.warmup_epochs
        progress = min(1.0, (epoch - self.warmup_epochs) / max(epochs - self.warmup_epochs, 1e-12))
        return self.final_factor + (1 - self.final_factor) * (1 + math.cos(math.pi * progress)) / 2


@dataclass(frozen=True)
class MultiStep:
    """Multiplied by `factor` at each milestone, a fraction of the whole training."""

    milestones: Sequence[float]
    factor: float = 0.1
    warmup_epochs: float | int = 0.0

    def __call__(self, epoch: float, epochs: float) -> float:
        warmup = Constant(self.warmup_epochs)(epoch, epochs)
        return warmup * self.factor ** sum(epoch >= milestone * epochs for milestone in self.milestones)


@dataclass(frozen=True)
class Exponential:
    """Multiplied by `factor` every `every_epochs`, continuously."""

    factor: float
    every_epochs: float | int = 1.0
    warmup_epochs: float | int = 0.0

    def __call__(self, epoch: float, epochs: float) -> float:
        return Constant(self.warmup_epochs)(epoch, epochs) * self.factor ** (epoch / self.every_epochs)


@dataclass(frozen=True)
class Ramps:
    """Half a cosine up over the first part of the training, then constant, and half a cosine down over the last part.

    Args:
        up, down: these parts, as fractions of the whole.
    """

    up: float
    down: float

    def __call__(self, epoch: float, epochs: float) -> float:
        done = min(1.0, epoch / epochs)
        if done < self.up:
            return (1 - math.cos(math.pi * done / self.up)) / 2
        return (1 + math.cos(math.pi * (done - 1 + self.down) / self.down)) / 2 if done > 1 - self.down else 1.0


class Plateau:
    """Multiplied by `factor` whenever more than `patience` validations in a row brought no better score than before.

    The score is the benchmark's own metric, on the validation split. It acts from the second step after
    the validation on, since the rate is set between steps. What is remembered stands in the attributes, which the scheduler
    keeps in checkpoints.

    Args:
        factor: what the learning rate is multiplied by.
        patience: how many validations without a better score are borne.
        final_factor: the least that all factors together become.
    """

    def __init__(self, factor: float, patience: int, final_factor: float = 0.0):
        if not (0 < factor < 1 and patience >= 0 and 0 <= final_factor <= 1):
            raise UserError(
                f"schedule: need 0 < factor < 1, patience >= 0 and 0 <= final_factor <= 1, not {factor}, {patience} and "
                f"{final_factor}"
            )
        self.factor, self.patience, self.final_factor = factor, patience, final_factor
        self.now, self.best, self.waited = 1.0, -math.inf, 0

    def observe(self, score: float) -> None:
        """Takes a validation's score, of which higher is better."""
        self.waited = 0 if score > self.best else self.waited + 1
        self.best = max(self.best, score)
        if self.waited > self.patience:
            self.now, self.waited = max(self.now * self.factor, self.final_factor), 0

    def __call__(self, epoch: float | int, epochs: float = math.inf) -> float:
        return self.now


@dataclass(frozen=True)
class Recipe:
    """How a paper is trained: an optimiser waiting for parameters, and a schedule.

    Args:
        optimizer: a partial, e.g. `partial(torch.optim.Adam, lr=1e-3)`.
        schedule: the learning rate's factor over time.
        update: whether the factor changes at every step or only at the start of an epoch (as many published codes do).
    """

    optimizer: Callable[..., Optimizer]
    schedule: Schedule = Constant()
    update: Literal["step", "epoch"] = "step"

    def scheduler(self, optimizer: Optimizer, steps_per_epoch: int, total_steps: int | float) -> LambdaLR:
        """A scheduler to be stepped after every optimiser step."""
        if isinstance(self.schedule, Plateau):
            return LambdaLR(optimizer, self.schedule)  # as an object, whose numbers its state_dict holds

        def factor(step: int) -> float:
            epoch = step / steps_per_epoch
            if self.update == "epoch":
                epoch = float(step // steps_per_epoch)
            return self.schedule(epoch, total_steps / steps_per_epoch)

        return LambdaLR(optimizer, factor)

    def observe(self, score: float) -> None:
        """Shows a validation's score, of which higher is better, to a schedule that depends on it."""
        if isinstance(self.schedule, Plateau):
            self.schedule.observe(score)
