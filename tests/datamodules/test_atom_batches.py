"""Batches balanced by atoms: every sample once, as many batches everywhere, none above the cap, found again by a resume."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from erlangen.datamodules.atom_batches import AtomBatches, AtomBatchesInOrder, balanced, largest_first
from erlangen.errors import UserError

counts = st.lists(st.integers(1, 225), min_size=6, max_size=200).map(np.array)


@given(sizes=counts, batch_size=st.integers(1, 40), world=st.integers(1, 4), epoch=st.integers(0, 9), cap=st.booleans())
def test_an_epoch_is_every_sample_once_and_keeps_to_both_limits(
    sizes: np.ndarray, batch_size: int, world: int, epoch: int, cap: bool
) -> None:
    max_atoms = int(2 * sizes.max()) if cap else None
    try:
        ranks = [AtomBatches(sizes, batch_size, max_atoms, 1, rank, world, epoch) for rank in range(world)]
    except UserError:  # samples that do not divide among the processes
        assert cap
        assert world > 1
        return
    batches = [[draw.indices for draw in rank] for rank in ranks]
    assert sorted(np.concatenate([batch for rank in batches for batch in rank])) == list(range(len(sizes)))
    assert {len(rank) for rank in batches} == {len(ranks[0])}
    every = [batch for rank in batches for batch in rank]
    assert min(len(batch) for batch in every) >= 1
    assert max(len(batch) for batch in every) <= max(batch_size, -(-len(sizes) // (len(ranks[0]) * world)))
    if cap:
        assert max(sizes[batch].sum() for batch in every) <= max_atoms


@given(sizes=counts, world=st.integers(1, 4))
def test_evaluation_is_every_sample_once_and_the_same_in_every_run(sizes: np.ndarray, world: int) -> None:
    def batches() -> list[list[int]]:
        ranks = [AtomBatchesInOrder(sizes, 7, None, rank, world) for rank in range(world)]
        assert len({len(rank) for rank in ranks}) == 1
        return [draw.indices.tolist() for rank in ranks for draw in rank]

    assert sorted(sum(batches(), [])) == list(range(len(sizes)))
    assert batches() == batches()


@given(sizes=counts, batch_size=st.integers(1, 20), epoch=st.integers(0, 9), data=st.data())
def test_a_resumed_epoch_is_the_tail_of_the_whole(sizes: np.ndarray, batch_size: int, epoch: int, data) -> None:
    whole = AtomBatches(sizes, batch_size, None, 3, epoch=epoch)
    start = data.draw(st.integers(0, len(whole)))
    resumed = AtomBatches(sizes, batch_size, None, 3, epoch=epoch, start=start)
    assert len(resumed) == len(whole)
    rest = list(whole)[start:]
    resumed.set_epoch(epoch)
    for left, right in zip(resumed, rest, strict=True):
        assert left.seed == right.seed
        assert left.indices.tolist() == right.indices.tolist()
    resumed.set_epoch(epoch + 1)
    assert len(list(resumed)) == len(whole)  # no batch is left out of another epoch


def test_sizes_of_oc20_are_balanced_to_a_few_atoms_and_epochs_differ() -> None:
    sizes = np.random.default_rng(0).gamma(4.0, 18.0, 20_000).astype(int).clip(7, 225)
    atoms = sizes[balanced(sizes, 20_000 // 16, np.arange(20_000))].sum(0)
    assert atoms.max() - atoms.min() <= 0.02 * atoms.mean()
    epochs = [[draw.indices.tolist() for draw in AtomBatches(sizes, 16, None, 1, epoch=epoch)] for epoch in (0, 0, 1)]
    assert epochs[0] == epochs[1]
    assert epochs[0] != epochs[2]


@given(sizes=counts)
def test_samples_of_one_size_keep_their_order(sizes: np.ndarray) -> None:
    assert largest_first(sizes).tolist() == np.argsort(-sizes, kind="stable").tolist()


def test_the_cap_costs_few_batches() -> None:
    sizes = np.random.default_rng(0).gamma(4.0, 18.0, 20_000).astype(int).clip(7, 225)
    steps = len(AtomBatches(sizes, 64, 1000, 1))
    assert steps <= 1.05 * sizes.sum() / 1000


def test_a_sample_larger_than_the_cap_is_named() -> None:
    with pytest.raises(UserError, match="max_atoms_per_batch=50 is less than the 60 atoms"):
        AtomBatches(np.array([10, 60]), 2, 50, 1)
