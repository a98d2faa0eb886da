"""Which samples make up which batch, and their randomness: pure functions of seed, epoch, process and position.

Any run can therefore be resumed, with any number of workers, and meets just what it would have met.
"""

import random
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.utils.data import Dataset, Sampler

from ..errors import UserError

STREAMS = ("train", "val", "test", "epoch", "train data", "eval data")
"""What randomness is for: drawing from one never changes another."""


def seed_for(seed: int, stream: str, rank: int, epoch: int, step: int) -> int:
    """A 64-bit seed for one batch; different for any two places of a run."""
    words = np.random.SeedSequence([seed, STREAMS.index(stream), rank, epoch, step]).generate_state(2)
    return int(words[0]) << 32 | int(words[1])


def set_seed(value: int) -> None:
    """Seeds torch on every device that is in use, numpy and Python."""
    torch.default_generator.manual_seed(value)  # torch.manual_seed formats a stack trace for every device it lacks
    if torch.cuda.is_initialized():
        torch.cuda.manual_seed_all(value)
    if torch.backends.mps.is_available():
        torch.mps.manual_seed(value)
    np.random.seed(value % 2**32)  # noqa: NPY002 (the legacy state is what libraries draw from)
    random.seed(value)


class Draw(NamedTuple):
    """What a sampler yields: the samples of one batch, and the seed for whatever is random in making it."""

    seed: int
    indices: np.ndarray


class Seeded(Dataset):
    """A data set read by `Draw`: its random augmentation is the same in any worker and after any resume."""

    def __init__(self, dataset: Dataset):
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, draw: Draw) -> Any:
        set_seed(draw.seed)
        return self.dataset[draw.indices]


class EpochBatches(Sampler):
    """The training batches of one process: shuffled anew every epoch, nothing left out, the same number on every process.

    Together the processes see each sample once an epoch. The last batch holds what is left over; where that is too little
    to give every process a sample, it joins the batch before.

    Args:
        size: the number of samples in the split; UserError if they are fewer than the processes.
        batch_size: samples a batch and process.
        seed: fixes the order, together with the epoch.
        rank, world_size: this process, and how many there are.
        epoch, start: where to begin; `start` batches of that epoch were done before a resumed run was stopped.
    """

    def __init__(
        self, size: int, batch_size: int, seed: int, rank: int = 0, world_size: int = 1, epoch: int = 0, start: int = 0
    ):
        self.bounds = batch_bounds(size, batch_size, world_size)
        self.seed, self.rank, self.world_size = seed, rank, world_size
        self.epoch, self.start = epoch, start

    def set_epoch(self, epoch: int) -> None:
        """Called by the trainer before every epoch."""
        if epoch != self.epoch:
            self.epoch, self.start = epoch, 0

    def __len__(self) -> int:
        """All batches of an epoch, those before `start` included."""
        return len(self.bounds) - 1

    def __iter__(self) -> Iterator[Draw]:
        order = np.random.default_rng([self.seed, self.epoch]).permutation(self.bounds[-1])
        for batch in range(self.start, len(self)):
            seed = seed_for(self.seed, "train data", self.rank, self.epoch, batch)
            yield Draw(seed, share(order, self.bounds, batch, self.rank, self.world_size))


class InOrder(Sampler):
    """Evaluation batches of one process, in order: every sample once, the same number of batches on every process.

    The numbers must be equal, because a process that has one batch more would wait for the others for ever (DDP broadcasts
    a network's buffers at every step). Whatever is random in making them is the same in every run, whatever its seed.
    """

    def __init__(self, size: int, batch_size: int, rank: int = 0, world_size: int = 1):
        self.bounds = batch_bounds(size, batch_size, world_size)
        self.rank, self.world_size = rank, world_size

    def __len__(self) -> int:
        return len(self.bounds) - 1

    def __iter__(self) -> Iterator[Draw]:
        order = np.arange(self.bounds[-1])
        for batch in range(len(self)):
            seed = seed_for(0, "eval data", self.rank, 0, batch)
            yield Draw(seed, share(order, self.bounds, batch, self.rank, self.world_size))


def batch_bounds(size: int, batch_size: int, world_size: int) -> list[int]:
    """Where the batches of all processes together begin in an epoch's order, and its end."""
    if batch_size < 1:
        raise UserError(f"data.batch_size and data.eval_batch_size must be at least 1, not {batch_size}")
    if size < world_size:
        raise UserError(
            f"a split of {size} samples cannot be shared by {world_size} processes: use trainer.devices={size}"
        )
    bounds = [*range(0, size, batch_size * world_size), size]
    if len(bounds) > 2 and bounds[-1] - bounds[-2] < world_size:
        del bounds[-2]
    return bounds


def share(order: np.ndarray, bounds: list[int], batch: int, rank: int, world_size: int) -> np.ndarray:
    """One process's samples of a batch."""
    return np.array_split(order[bounds[batch] : bounds[batch + 1]], world_size)[rank]
