"""Fair timing on a noisy machine: competitors interleaved in one process, medians, and a mark on noisy rows."""

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass

import torch

WARM_UP = 3
NOISY = 1.3
"""A row whose median is so many times its minimum says that it is noisy."""


@dataclass(frozen=True)
class Times:
    """Seconds a call: median, minimum and interquartile range."""

    median: float
    minimum: float
    iqr: float

    @classmethod
    def of(cls, seconds: list[float]) -> "Times":
        low, _, high = statistics.quantiles(seconds, n=4)
        return cls(statistics.median(seconds), min(seconds), high - low)

    @property
    def noisy(self) -> bool:
        return self.median > NOISY * self.minimum

    def to_dict(self) -> dict[str, float | bool]:
        return {**asdict(self), "noisy": self.noisy}


def interleaved(competitors: Mapping[str, Callable[[], object]], repetitions: int) -> dict[str, Times]:
    """Times A B C A B C …, so that a slow moment of the machine falls on all of them alike."""
    seconds: dict[str, list[float]] = {name: [] for name in competitors}
    for repetition in range(WARM_UP + repetitions):
        for name, call in competitors.items():
            synchronize()
            start = time.perf_counter()
            call()
            synchronize()
            if repetition >= WARM_UP:
                seconds[name].append(time.perf_counter() - start)
    return {name: Times.of(values) for name, values in seconds.items()}


def synchronize() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


class SavedBytes(torch.autograd.graph.saved_tensors_hooks):
    """Counts the bytes that a forward pass keeps for its backward; tensors kept twice count once.

    >>> with SavedBytes() as saved: loss = network(batch)
    >>> saved.bytes
    """

    def __init__(self) -> None:
        self.storages: dict[int, int] = {}
        super().__init__(self._pack, lambda tensor: tensor)

    @property
    def bytes(self) -> int:
        return sum(self.storages.values())

    def _pack(self, tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        self.storages[storage.data_ptr()] = storage.nbytes()
        return tensor.detach()  # the tensor itself would refer to the graph that keeps it, and never be freed

    def __enter__(self) -> "SavedBytes":
        super().__enter__()
        return self
