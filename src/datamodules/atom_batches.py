"""Batches of equally many atoms, none with more than a cap: for samples whose sizes differ by a factor of ten."""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Int

from ..errors import UserError
from .sampling import Draw, EpochBatches, InOrder, seed_for


class AtomBatches(EpochBatches):
    """The training batches of one process, drawn anew every epoch; as many every epoch and on every process.

    Together the processes see each sample once an epoch. Batches hold equally many samples (up to one) and nearly equally many
    atoms, so that processes do not wait for each other and no batch needs much more memory than another. A batch is
    random up to this: it has one of the largest samples, one of the next, and so on.

    Args:
        sizes: atoms of each sample (a graph of k neighbours an atom has k times as many edges: both are balanced).
        batch_size: the most samples a batch and process.
        max_atoms: the most atoms a batch and process; None for no limit. UserError if a sample is larger.
        seed: fixes the batches, together with the epoch.
        rank, world_size: this process, and how many there are.
        epoch, start: where to begin; `start` batches of that epoch were done before a resumed run was stopped.
    """

    def __init__(
        self,
        sizes: Int[np.ndarray, " samples"],
        batch_size: int,
        max_atoms: int | None,
        seed: int,
        rank: int = 0,
        world_size: int = 1,
        epoch: int = 0,
        start: int = 0,
    ):
        super().__init__(len(sizes), batch_size, seed, rank, world_size, epoch, start)
        self.sizes = np.asarray(sizes)
        self.steps = count_steps(self.sizes, batch_size, max_atoms, world_size)

    def __len__(self) -> int:
        """All batches of an epoch, those before `start` included."""
        return self.steps

    def __iter__(self) -> Iterator[Draw]:
        rng = np.random.default_rng([self.seed, self.epoch])
        bins = self.steps * self.world_size
        dealt = balanced(self.sizes, bins, rng.permutation(numbers(len(self.sizes))))
        places = rng.permutation(bins)
        for step in range(self.start, self.steps):
            place = places[step * self.world_size + self.rank]
            seed = seed_for(self.seed, "train data", self.rank, self.epoch, step)
            yield Draw(seed, members(dealt[:, place]))


class AtomBatchesInOrder(InOrder):
    """Evaluation batches of one process: the same in every run, every sample once, as many on every process.

    Arguments as for `AtomBatches`.
    """

    def __init__(
        self,
        sizes: Int[np.ndarray, " samples"],
        batch_size: int,
        max_atoms: int | None,
        rank: int = 0,
        world_size: int = 1,
    ):
        super().__init__(len(sizes), batch_size, rank, world_size)
        self.sizes = np.asarray(sizes)
        self.steps = count_steps(self.sizes, batch_size, max_atoms, world_size)

    def __len__(self) -> int:
        return self.steps

    def __iter__(self) -> Iterator[Draw]:
        dealt = balanced(self.sizes, self.steps * self.world_size, numbers(len(self.sizes)))
        for step in range(self.steps):
            place = step * self.world_size + self.rank
            seed = seed_for(0, "eval data", self.rank, 0, step)
            yield Draw(seed, np.sort(members(dealt[:, place])))


def balanced(
    sizes: Int[np.ndarray, " samples"], bins: int, order: Int[np.ndarray, " samples"]
) -> Int[np.ndarray, "rounds bins"]:
    """Shares samples among bins: each bin's samples in a column; the last row has -1 where it has none.

    Samples are dealt out from the largest to the smallest, one to each bin in a round, in every round the larger ones to the
    bins that have least. `order` decides between samples of the same size, and so does not change what bins sum up to.
    """
    order = order[largest_first(sizes[order])]
    dealt = np.full((-(-len(order) // bins), bins), -1, order.dtype)
    load = np.zeros(bins, np.int64)
    for row, first in zip(dealt, range(0, len(order), bins), strict=True):
        samples = order[first : first + bins]
        lightest = np.argsort(load, kind="stable")[: len(samples)]
        row[lightest] = samples
        load[lightest] += sizes[samples]
    return dealt


def largest_first(sizes: Int[np.ndarray, " samples"]) -> Int[np.ndarray, " samples"]:
    """np.argsort(-sizes, kind="stable") in a third of its memory: numbers are sorted in place."""
    keys = sizes.astype(np.int64)
    keys *= -(2**32)
    keys += numbers(len(sizes))
    keys.sort()
    keys &= 2**32 - 1
    return keys


def members(column: Int[np.ndarray, " rounds"]) -> Int[np.ndarray, " batch"]:
    """The samples of one bin."""
    return column[column >= 0].astype(np.int64)


def numbers(count: int) -> Int[np.ndarray, " count"]:
    """0, 1, ... in as little memory as they and -1 need."""
    return np.arange(count, dtype=np.min_scalar_type(-1 - count))


def count_steps(sizes: Int[np.ndarray, " samples"], batch_size: int, max_atoms: int | None, world_size: int) -> int:
    """The fewest batches a process (found to 2%) that keep to both limits."""
    most = len(sizes) // world_size
    steps = min(most, -(-len(sizes) // (batch_size * world_size)))
    if max_atoms is None:
        return steps
    if max_atoms < sizes.max():
        raise UserError(
            f"data.max_atoms_per_batch={max_atoms} is less than the {sizes.max()} atoms of the largest sample: raise it"
        )
    steps = min(most, max(steps, -(-int(sizes.sum()) // (max_atoms * world_size))))
    while largest(sizes, steps * world_size) > max_atoms:
        if steps == most:
            raise UserError(
                f"{len(sizes)} samples cannot be shared by {world_size} processes with data.max_atoms_per_batch={max_atoms}: "
                "raise it or use fewer processes"
            )
        steps = min(most, steps + max(1, steps // 50))
    return steps


def largest(sizes: Int[np.ndarray, " samples"], bins: int) -> int:
    """The most atoms in a bin."""
    dealt = balanced(sizes, bins, numbers(len(sizes)))
    return int(np.where(dealt < 0, 0, sizes[dealt]).sum(0, dtype=np.int64).max())
