"""Which samples make up which batch: a pure function of seed, epoch, process and position, so that any run can be resumed."""

from collections.abc import Iterator

import numpy as np
from torch.utils.data import Sampler


class EpochBatches(Sampler):
    """The training batches of one process: shuffled anew every epoch, nothing left out, the same number on every process.

    Together the processes see each sample once an epoch. The last batch holds what is left over; where that is too little
    to give every process a sample, it joins the batch before.

    Args:
        size: the number of samples in the split.
        batch_size: samples a batch and process.
        seed: fixes the order, together with the epoch.
        rank, world_size: this process, and how many there are.
        epoch, start: where to begin; `start` batches of that epoch were done before a resumed run was stopped.
    """

    def __init__(
        self, size: int, batch_size: int, seed: int, rank: int = 0, world_size: int = 1, epoch: int = 0, start: int = 0
    ):
        self.size, self.batch_size, self.seed = size, batch_size, seed
        self.rank, self.world_size = rank, world_size
        self.epoch, self.start = epoch, start

    def set_epoch(self, epoch: int) -> None:
        """Called by the trainer before every epoch."""
        if epoch != self.epoch:
            self.epoch, self.start = epoch, 0

    def __len__(self) -> int:
        """All batches of an epoch, those before `start` included."""
        return len(self._bounds()) - 1

    def __iter__(self) -> Iterator[np.ndarray]:
        order = np.random.default_rng([self.seed, self.epoch]).permutation(self.size)
        bounds = self._bounds()
        for start, stop in zip(bounds[self.start : -1], bounds[self.start + 1 :], strict=True):
            yield np.array_split(order[start:stop], self.world_size)[self.rank]

    def _bounds(self) -> list[int]:
        step = self.batch_size * self.world_size
        bounds = [*range(0, self.size, step), self.size]
        if len(bounds) > 2 and bounds[-1] - bounds[-2] < self.world_size:
            del bounds[-2]
        return bounds


class InOrder(Sampler):
    """Evaluation batches of one process, in order; together the processes see every sample exactly once."""

    def __init__(self, size: int, batch_size: int, rank: int = 0, world_size: int = 1):
        self.mine = np.arange(size)[rank::world_size]
        self.batch_size = batch_size

    def __len__(self) -> int:
        return -(-len(self.mine) // self.batch_size)

    def __iter__(self) -> Iterator[np.ndarray]:
        for start in range(0, len(self.mine), self.batch_size):
            yield self.mine[start : start + self.batch_size]
