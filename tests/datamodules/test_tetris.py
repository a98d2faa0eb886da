"""The eight shapes: which differ how, that test samples are moved and nothing else, and how hands are scored."""

from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
import torch

from erlangen.datamodules.tetris import CHIRAL, REACH, SHAPES, VAL_TURNS, Tetris
from erlangen.errors import UserError

POINTS = {name: np.array(cubes, dtype=float) for name, cubes in SHAPES.items()}


def tetris(modality: str = "points", seed: int = 1, **options) -> Tetris:
    return Tetris(Path("unused"), seed, modality, **{"test_turns": 3, "batch_size": 8, "eval_batch_size": 80} | options)


def superposition(a: np.ndarray, b: np.ndarray) -> tuple[bool, bool]:
    """Whether a turns into b by a rotation, and by an improper one, for some order of the cubes (Kabsch's algorithm)."""
    found = [False, False]
    a = a - a.mean(0)
    for order in permutations(range(len(b))):
        other = (b - b.mean(0))[list(order)]
        u, _, vt = np.linalg.svd(a.T @ other)
        for improper in (False, True):
            sign = (-1 if improper else 1) * np.linalg.det(u @ vt)
            turn = u @ np.diag([1, 1, np.sign(sign)]) @ vt
            found[improper] |= bool(np.allclose(a @ turn, other, atol=1e-9))
    return found[0], found[1]


def test_the_chiral_pair_are_mirror_images_and_no_others_are_alike() -> None:
    names = list(POINTS)
    for i, first in enumerate(names):
        for j, second in enumerate(names):
            proper, improper = superposition(POINTS[first], POINTS[second])
            chiral = i in CHIRAL
            assert proper == (i == j), (first, second)
            assert improper == ((i, j) in ((0, 1), (1, 0)) if chiral else i == j), (first, second)


def test_every_shape_is_four_cubes_in_one_piece() -> None:
    for pos in POINTS.values():
        touching = np.linalg.norm(pos[:, None] - pos, axis=-1) <= 1
        assert np.linalg.matrix_power(touching.astype(int), 3).all()
        assert len(np.unique(pos, axis=0)) == 4


@pytest.mark.parametrize("modality", ["points", "graphs"])
def test_training_keeps_one_orientation_and_tests_are_moved(modality: str) -> None:
    splits = tetris(modality).splits
    train = splits["train"][np.arange(8)]
    np.testing.assert_array_equal(train.pos.view(8, 4, 3).numpy(), np.stack(list(POINTS.values())))
    assert train.label.tolist() == list(range(8))
    assert (len(splits["val"]), len(splits["test"])) == (8 * VAL_TURNS, 24)
    shapes = list(POINTS.values())
    centres = []
    for split in ("val", "test"):
        batch = splits[split][np.arange(len(splits[split]))]
        assert batch.label.bincount().tolist() == [len(splits[split]) // 8] * 8
        for pos, label in zip(batch.pos.view(-1, 4, 3).double().numpy(), batch.label, strict=True):
            distances = [np.linalg.norm(p[:, None] - p, axis=-1) for p in (shapes[label], pos)]
            np.testing.assert_allclose(*distances, atol=1e-5)
            if label in CHIRAL:
                handed = [np.linalg.det((p - p[0])[1:]) for p in (shapes[label], pos)]
                np.testing.assert_allclose(*handed, atol=1e-5)
            centres.append(pos.mean(0))
    spread = np.std(centres, axis=0)
    assert (spread > 1).all()
    assert (spread < 2 * REACH).all()


def test_the_same_test_for_every_seed_and_a_longer_one_begins_like_it() -> None:
    batches = [tetris(**o).splits["test"][np.arange(24)] for o in ({}, {"seed": 7}, {"test_turns": 5})]
    for other in batches[1:]:
        assert torch.equal(batches[0].pos, other.pos)
        assert torch.equal(batches[0].id, other.id)
    ids = np.concatenate([split.values("id") for split in tetris().splits.values()])
    assert len(np.unique(ids)) == len(ids)


def test_graphs_join_cubes_that_share_a_face() -> None:
    data = tetris("graphs")
    assert data.spec.modality == data.modality == "graphs"
    assert set(data.spec.fields) == {"z", "pos", "edge_index"}
    assert set(tetris().spec.fields) == {"pos"}
    for split in data.splits.values():
        batch = split[np.arange(len(split))[::-1].copy()]
        j, i = batch.edge_index
        torch.testing.assert_close((batch.pos[i] - batch.pos[j]).norm(dim=1), torch.ones(len(i)))
        assert torch.equal(batch.batch[i], batch.batch[j])
        edges = batch.batch[i].bincount()
        expected = {label: 8 if name == "square" else 6 for label, name in enumerate(POINTS)}
        assert edges.tolist() == [expected[int(label)] for label in batch.label]


def test_hands_that_were_not_told_apart_are_a_coin_toss() -> None:
    data = tetris()
    task, batch = data.task, data.splits["test"][np.arange(24)]
    logits = 10 * torch.nn.functional.one_hot(batch.label, 8).float()
    task.update("test", {"label": logits}, batch)
    assert task.compute("test") == {"acc": 100, "macc": 100, "acc_chiral": 100}
    task.reset("test")
    mixed = logits.clone()
    mixed[:, CHIRAL] = logits[:, CHIRAL].sum(1, keepdim=True) + 1e-7 * logits[:, CHIRAL]
    task.update("test", {"label": mixed}, batch)
    assert task.compute("test")["acc_chiral"] == 50
    task.reset("test")
    swapped = logits.clone()
    swapped[:, CHIRAL] = logits[:, CHIRAL].flip(1)
    task.update("test", {"label": swapped}, batch)
    assert task.compute("test") == {"acc": 75, "macc": 75, "acc_chiral": 0}
    assert task.units["acc_chiral"] == "%"


@pytest.mark.parametrize(
    ("options", "words"),
    [({"modality": "images"}, "data.modality"), ({"test_turns": 0}, "data.test_turns"), ({"seed": -1}, "seed")],
)
def test_mistakes_are_named(options: dict, words: str) -> None:
    with pytest.raises(UserError, match=words):
        tetris(**options)
