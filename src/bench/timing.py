"""Fair timing on a noisy machine: competitors interleaved in one process, medians, and a mark on noisy rows."""

import os
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass

import torch

WARM_UP = 5
NOISY = 1.3
"""A row whose median is so many times its minimum says that it is noisy."""
TRIES = 3
"""So often, at most, is a competitor timed until it is not noisy."""
SLOW = ((1.0, 4), (0.2, 7), (0.1, 11))
"""(seconds a call, repetitions): who is slower than that is called less often than the rest, and warmed up by one call."""


@dataclass(frozen=True)
class Times:
    """Seconds a call: median, minimum and interquartile range."""

    median: float
    minimum: float
    iqr: float
    repetitions: int

    @classmethod
    def of(cls, seconds: list[float]) -> "Times":
        low, _, high = statistics.quantiles(seconds, n=4)
        return cls(statistics.median(seconds), min(seconds), high - low, len(seconds))

    @property
    def noisy(self) -> bool:
        return self.median > NOISY * self.minimum

    def to_dict(self) -> dict[str, float | bool]:
        return {**asdict(self), "noisy": self.noisy}


def interleaved(
    competitors: Mapping[str, Callable[[], object]], repetitions: int | Mapping[str, int], warm_up: int = WARM_UP
) -> dict[str, Times]:
    """Times A B C A B C …, so that a slow moment of the machine falls on all of them alike.

    Who has fewer `repetitions` than the rest takes part in some of the rounds, evenly spread.
    """
    counts = {name: repetitions if isinstance(repetitions, int) else repetitions[name] for name in competitors}
    rounds = max(counts.values())
    seconds: dict[str, list[float]] = {name: [] for name in competitors}
    for turn in range(-warm_up, rounds):
        for name, call in competitors.items():
            if turn < 0:
                if counts[name] == rounds:
                    call()
            elif len(seconds[name]) * rounds <= turn * counts[name]:
                seconds[name].append(seconds_of(call))
    return {name: Times.of(values) for name, values in seconds.items()}


def repeated(competitors: Mapping[str, Callable[[], object]], repetitions: int) -> dict[str, Times]:
    """`interleaved`, then once more for those that came out noisy, three times in all; the best of each is kept.

    Slow calls are repeated less often (`SLOW`).
    """
    counts = {name: min(repetitions, _count(seconds_of(call), repetitions)) for name, call in competitors.items()}
    times: dict[str, Times] = {}
    for _ in range(TRIES):
        again = {name: call for name, call in competitors.items() if name not in times or times[name].noisy}
        if not again:
            break
        for name, new in interleaved(again, {name: counts[name] for name in again}).items():
            old = times.get(name)
            times[name] = new if old is None or (new.noisy, new.median) < (old.noisy, old.median) else old
    return times


def _count(seconds: float, repetitions: int) -> int:
    return next((count for limit, count in SLOW if seconds > limit), repetitions)


def seconds_of(call: Callable[[], object]) -> float:
    """One call; on a GPU from event to event, after its second-level cache has been overwritten."""
    if not torch.cuda.is_available():
        start = time.perf_counter()
        call()
        return time.perf_counter() - start
    torch.empty(1 << 28, dtype=torch.int8, device="cuda").zero_()
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    start.record()
    call()
    end.record()
    end.synchronize()
    return start.elapsed_time(end) / 1e3


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


def peak_bytes(call: Callable[[], object]) -> int:
    """The most memory that a call holds at one time beyond what was there before."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        call()
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated() - before
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # or some builds print two lines a profile
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        call()
    live = most = 0
    for event in profile.profiler.kineto_results.events():
        if event.name() == "[memory]":
            live += event.nbytes()
            most = max(most, live)
    return most
