"""GWL: the pairs share what they should share and differ in what they should differ in, and in nothing else."""

from collections import Counter
from itertools import combinations, permutations
from pathlib import Path

import numpy as np
import pytest
import torch

from erlangen.datamodules.gwl import COUNTEREXAMPLES, GWL, MARGIN, STRUCTURES
from erlangen.datamodules.ragged import RaggedDataset
from erlangen.datamodules.synthetic.gwl_structures import Structure, chains, four_body, spokes, star
from erlangen.errors import UserError
from erlangen.geometry.spherical_harmonics import spherical_harmonics


def gwl(**options) -> GWL:
    sizes = {"k": 4, "fold": 5, "batch_size": 1, "eval_batch_size": 2}
    return GWL(**{"root": Path("data"), "seed": 1, "structures": "chains", **sizes, **options})


def scalars(structure: Structure, order: int, handed: bool) -> Counter:
    """All scalars of the centre and `order` - 1 neighbours: Gram matrices, with handedness also the triple products."""
    found: Counter = Counter()
    for chosen in combinations(structure.pos[1:] - structure.pos[0], order - 1):
        descriptions = []
        for vectors in permutations(chosen):
            x = np.stack(vectors)
            numbers = [*(x @ x.T).ravel()]
            if handed:
                numbers += [np.linalg.det(x[list(three)]) for three in combinations(range(len(x)), 3)]
            descriptions.append(tuple(np.round(numbers, 6) + 0.0))
        found[min(descriptions)] += 1
    return found


@pytest.mark.parametrize("handed", [False, True])
@pytest.mark.parametrize(("name", "body_order"), [("two_body", 2), ("three_body", 3), ("four_body", 4)])
def test_counterexamples_differ_one_body_order_higher(name: str, body_order: int, handed: bool) -> None:
    first, second = COUNTEREXAMPLES[name]()
    for order in range(2, body_order + 1):
        assert scalars(first, order, handed) == scalars(second, order, handed)
    assert scalars(first, body_order + 1, handed) != scalars(second, body_order + 1, handed)


def rigid_motion(first: np.ndarray, second: np.ndarray) -> np.ndarray | None:
    """An orthogonal matrix that takes the points of `first`, about the origin, to those of `second` in some order."""
    for order in permutations(range(len(first))):
        other = second[list(order)]
        if np.allclose(first @ first.T, other @ other.T):
            u, _, vt = np.linalg.svd(first.T @ other)
            return u @ vt
    return None


def test_the_public_four_body_pair_is_one_structure_twice() -> None:
    """With the notebook's isosceles triangle the pair is congruent by a rotation; with ours it is not."""
    ours, theirs = four_body(), []
    for sign in (1, -1):
        above = np.array([[3, 2, -4], [0, 2, 5], [-3, 2, -4.0]])
        cos, sin = np.cos(np.pi / 5), np.sin(np.pi / 5)
        below = above * [1, -1, 1] @ np.array([[cos, 0, sin], [0, 1, 0], [-sin, 0, cos]])
        theirs.append(star(np.vstack([above, below, [0, sign * 5, 0]])))
    motion = rigid_motion(theirs[0].pos[1:], theirs[1].pos[1:])
    assert motion is not None
    assert np.linalg.det(motion) == pytest.approx(1)
    assert rigid_motion(ours[0].pos[1:], ours[1].pos[1:]) is None


def neighbourhoods(structure: Structure, hops: int) -> Counter:
    """Every node's neighbourhood along the chain up to a motion: the distances in it, read in either direction."""
    found: Counter = Counter()
    count = len(structure.pos)
    for node in range(count):
        chosen = range(max(0, node - hops), min(count, node + hops + 1))
        x = structure.pos[chosen]
        distances = np.round(np.linalg.norm(x[:, None] - x, axis=-1), 6)
        centre = node - chosen[0]
        forward = (centre, tuple(distances.ravel()))
        backward = (len(x) - 1 - centre, tuple(distances[::-1, ::-1].ravel()))
        found[min(forward, backward)] += 1
    return found


@pytest.mark.parametrize("k", [2, 3, 4, 5, 8])
def test_chains_differ_only_beyond_half_their_length(k: int) -> None:
    """They are (floor(k / 2) + 1)-hop distinguishable and no sooner."""
    first, second = chains(k)
    assert len(first.pos) == len(second.pos) == k + 2
    np.testing.assert_array_equal(first.edge_index, second.edge_index)
    for structure in (first, second):
        source, destination = structure.edge_index
        bonds = np.linalg.norm(structure.pos[source] - structure.pos[destination], axis=1)
        np.testing.assert_allclose(bonds, 5)
        np.testing.assert_allclose(structure.pos.mean(0), 0, atol=1e-12)
    assert neighbourhoods(first, k // 2) == neighbourhoods(second, k // 2)
    assert neighbourhoods(first, k // 2 + 1) != neighbourhoods(second, k // 2 + 1)


def same_points(first: np.ndarray, second: np.ndarray) -> bool:
    return bool((np.linalg.norm(first[:, None] - second, axis=-1).min(1) < 1e-9).all())


def about_z(angle: float) -> np.ndarray:
    cos, sin = np.cos(angle), np.sin(angle)
    return np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]])


@pytest.mark.parametrize("fold", [2, 3, 5, 10])
def test_spokes_have_their_symmetry_and_differ_by_a_turn(fold: int) -> None:
    turns = set()
    for seed in range(8 * fold):
        first, second = gwl(structures="spokes", fold=fold, seed=seed).pair()
        for structure in (first, second):
            assert same_points(structure.pos @ about_z(2 * np.pi / fold).T, structure.pos)
            assert not same_points(structure.pos @ about_z(2 * np.pi / (2 * fold)).T, structure.pos)
        assert not same_points(first.pos, second.pos)
        x, y, _ = second.pos[1]
        turn = np.arctan2(y, x)
        assert same_points(first.pos @ about_z(turn).T, second.pos)
        turns.add(round(2 * np.pi / turn) - fold)
    assert turns == set(range(1, fold + 1))


@pytest.mark.parametrize("fold", [2, 3, 5, 10])
def test_harmonics_see_a_turn_from_the_order_of_the_symmetry_on(fold: int) -> None:
    """Why order L solves L-fold structures and none higher: sums of Y_l over the spokes."""
    pair = spokes(fold, 2 * np.pi / (2 * fold))
    first, second = (torch.from_numpy(structure.pos[1:]) for structure in pair)
    difference = (spherical_harmonics(first, fold) - spherical_harmonics(second, fold)).sum(0).abs()
    for degree in range(fold + 1):
        seen = difference[degree**2 : (degree + 1) ** 2].max() > 1e-9
        assert seen == (degree == fold), degree


@pytest.mark.parametrize("structures", STRUCTURES)
def test_a_batch_is_two_labelled_graphs(structures: str) -> None:
    data = gwl(structures=structures)
    splits = data.splits
    assert splits["train"].values("id").tolist() == splits["test"].values("id").tolist() == [0, 1]
    batch = splits["train"][[1, 0]]
    assert batch.structure.tolist() == [1, 0]
    pair = data.pair()
    for place, structure in enumerate((pair[1], pair[0])):
        nodes = slice(batch.ptr[place], batch.ptr[place + 1])
        np.testing.assert_allclose(batch.pos[nodes].numpy(), structure.pos, atol=1e-6)
        mine = (batch.batch[batch.edge_index[0]] == place) & (batch.batch[batch.edge_index[1]] == place)
        np.testing.assert_array_equal(batch.edge_index[:, mine] - batch.ptr[place], structure.edge_index)
    assert batch.edge_index.shape[1] == sum(structure.edge_index.shape[1] for structure in pair)
    both_ways = {(int(i), int(j)) for i, j in batch.edge_index.T}
    assert both_ways == {(j, i) for i, j in both_ways}
    assert set(data.spec.fields) == {"z", "pos", "edge_index"}


def test_edges_follow_their_samples() -> None:
    """Samples with 2, 0 and 1 edges, in another order and with repetition."""
    dataset = RaggedDataset(
        np.array([0, 3, 4, 6]),
        nodes={"value": np.arange(6)},
        graphs={"id": np.arange(3)},
        edges=(np.array([0, 2, 2, 3]), np.array([[0, 2, 1], [1, 0, 0]])),
    )
    batch = dataset[[2, 1, 0, 2]]
    ends = batch.value[batch.edge_index]
    assert ends.tolist() == [[5, 0, 2, 5], [4, 1, 0, 4]]
    assert batch.batch[batch.edge_index[0]].tolist() == [0, 2, 2, 3]
    assert dataset[[1]].edge_index.shape == (2, 0)


def test_what_rounding_names_rightly_is_a_coin_toss() -> None:
    data = gwl()
    task, batch = data.task, data.splits["test"][[0, 1]]
    by_luck = torch.tensor([[1e-7, 0.0], [0.0, 1e-7]])
    task.update("val", {"structure": by_luck}, batch)
    metrics = task.compute("val")
    assert metrics["acc"] == 100
    assert metrics["acc_decided"] == 50
    task.reset("val")
    for logits, expected in ((1e4 * MARGIN * by_luck / 1e-7, 100), (-1e4 * MARGIN * by_luck / 1e-7, 0)):
        task.update("val", {"structure": logits}, batch)
        assert task.compute("val")["acc_decided"] == task.compute("val")["acc"] == expected
        task.reset("val")
    assert task.monitor in task.units


def test_spokes_alone_have_a_label_that_turns_in_no_representation() -> None:
    assert [name for name in STRUCTURES if gwl(structures=name).spec.targets[0].irreps == ""] == ["spokes"]


@pytest.mark.parametrize(
    ("options", "words"),
    [({"structures": "rings"}, "data.structures"), ({"k": 1}, "data.k"), ({"fold": 1}, "data.fold")],
)
def test_mistakes_are_named(options: dict, words: str) -> None:
    with pytest.raises(UserError, match=words):
        gwl(**options)
