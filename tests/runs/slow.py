"""A paper that takes its time, so that a test can catch it wherever it wants to."""

import time
from collections.abc import Callable, Iterator
from typing import Any

from torch import Tensor

from erlangen.models.images.mlp import MLP
from erlangen.tasks.normalizer import Statistics
from erlangen.tasks.spec import Spec
from erlangen.tasks.task import Task


class Slow(MLP):
    """A perceptron that pauses before every step, or before it is ready for any.

    Args:
        spec, hidden: see MLP.
        pause, preparation: seconds.
    """

    def __init__(self, spec: Spec, hidden: list[int], pause: float = 0.0, preparation: float = 0.0):
        super().__init__(spec, hidden)
        self.pause, self.preparation = pause, preparation

    def prepare(self, task: Task, statistics: dict[str, Statistics], batches: Callable[[], Iterator[Any]]) -> None:
        print("preparing", flush=True)
        time.sleep(self.preparation)
        super().prepare(task, statistics, batches)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        time.sleep(self.pause)
        return super().training_step(batch, batch_idx)
