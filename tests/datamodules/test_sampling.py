"""Every sample once an epoch, on any number of processes, in an order that a resumed run finds again."""

import random

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from torch.utils.data import DataLoader, Dataset

from erlangen.datamodules.sampling import STREAMS, Draw, EpochBatches, InOrder, Seeded, seed_for
from erlangen.errors import UserError

sizes, batch_sizes, worlds = st.integers(1, 300), st.integers(1, 40), st.integers(1, 6)


def indices(sampler) -> list[np.ndarray]:
    return [draw.indices for draw in sampler]


@given(size=sizes, batch_size=batch_sizes, world=worlds, seed=st.integers(0, 2**40), epoch=st.integers(0, 1000))
def test_an_epoch_is_every_sample_once(size: int, batch_size: int, world: int, seed: int, epoch: int) -> None:
    assume(size >= world)
    samplers = [EpochBatches(size, batch_size, seed, rank, world, epoch) for rank in range(world)]
    batches = [indices(sampler) for sampler in samplers]
    assert sorted(np.concatenate([batch for rank in batches for batch in rank])) == list(range(size))
    assert {len(rank) for rank in batches} == {len(samplers[0])}
    lengths = [len(batch) for rank in batches for batch in rank]
    assert min(lengths) >= 1
    assert max(lengths) <= batch_size + (world > 1)  # what cannot be shared by all joins the batch before


@given(size=sizes, batch_size=batch_sizes, world=worlds)
def test_evaluation_is_every_sample_once_in_order_with_as_many_batches_on_every_process(
    size: int, batch_size: int, world: int
) -> None:
    assume(size >= world)
    samplers = [InOrder(size, batch_size, rank, world) for rank in range(world)]
    batches = [indices(sampler) for sampler in samplers]
    assert {len(rank) for rank in batches} == {len(samplers[0])}
    assert min(len(batch) for rank in batches for batch in rank) >= 1
    together = [batch for step in zip(*batches, strict=True) for batch in step]
    assert np.concatenate(together).tolist() == list(range(size))


@given(size=sizes, batch_size=batch_sizes, seed=st.integers(0, 99), epoch=st.integers(0, 9), data=st.data())
def test_a_resumed_epoch_is_the_tail_of_the_whole(size: int, batch_size: int, seed: int, epoch: int, data) -> None:
    whole = EpochBatches(size, batch_size, seed, epoch=epoch)
    start = data.draw(st.integers(0, len(whole)))
    resumed = EpochBatches(size, batch_size, seed, epoch=epoch, start=start)
    assert len(resumed) == len(whole)  # schedules and progress bars count in whole epochs
    assert_same(list(resumed), list(whole)[start:])
    resumed.set_epoch(epoch)  # as the trainer does before it goes on
    assert_same(list(resumed), list(whole)[start:])
    resumed.set_epoch(epoch + 1)
    assert_same(list(resumed), list(EpochBatches(size, batch_size, seed, epoch=epoch + 1)))


def assert_same(left: list[Draw], right: list[Draw]) -> None:
    assert [(seed, list(rows)) for seed, rows in left] == [(seed, list(rows)) for seed, rows in right]


def test_epochs_and_seeds_have_orders_of_their_own() -> None:
    orders = {
        tuple(np.concatenate(indices(EpochBatches(50, 8, seed, epoch=epoch))))
        for seed in range(4)
        for epoch in range(4)
    }
    assert len(orders) == 16


def test_too_few_samples_for_the_processes_are_refused() -> None:
    with pytest.raises(UserError, match="3 samples cannot be shared by 4 processes"):
        EpochBatches(3, 2, seed=0, world_size=4)
    with pytest.raises(UserError, match="must be at least 1, not 0"):
        InOrder(3, 0)


def test_no_two_places_of_a_run_share_a_seed() -> None:
    places = [
        (seed, stream, rank, epoch, step)
        for seed in (0, 1)
        for stream in STREAMS
        for rank in range(3)
        for epoch in range(5)
        for step in range(20)
    ]
    assert len({seed_for(*place) for place in places}) == len(places)


class Augmented(Dataset):
    """Draws from every generator that an augmentation may use."""

    def __len__(self) -> int:
        return 40

    def __getitem__(self, rows: np.ndarray) -> list:
        return [rows.tolist(), torch.rand(2).tolist(), np.random.rand(), random.random()]  # noqa: NPY002


def batches(start: int, workers: int) -> list:
    sampler = EpochBatches(40, 6, seed=3, epoch=2, start=start)
    loader = DataLoader(Seeded(Augmented()), sampler=sampler, batch_size=None, num_workers=workers)
    return list(loader)


def test_augmentation_is_the_same_in_any_worker_and_after_a_resume() -> None:
    whole = batches(start=0, workers=0)
    assert len({str(batch[1:]) for batch in whole}) == len(whole)
    torch.manual_seed(12)  # whatever was drawn before does not matter
    assert batches(start=0, workers=2) == whole
    assert batches(start=3, workers=2) == whole[3:]
