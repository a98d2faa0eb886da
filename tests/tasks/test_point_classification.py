"""Rotation protocols: three scores from one set of predictions' maker, with rotations that belong to the samples."""

import numpy as np
import pytest
import torch
from torch_geometric.data import Batch, Data

from erlangen.tasks.point_classification import PointClassification, keyed_rotations, rotate_clouds
from erlangen.tasks.spec import Field, Spec, Target

SPEC = Spec(
    benchmark="points",
    modality="points",
    split="test",
    source="miniature",
    fields={"pos": Field(irreps="1o", translates=True), "normal": Field(irreps="1o"), "mass": Field()},
    targets=(Target(name="label", classes=3),),
)


def clouds(sizes: list[int], labels: list[int]) -> Batch:
    count = torch.tensor(sizes)
    ptr = torch.cat([torch.zeros(1, dtype=torch.long), count.cumsum(0)])
    nodes = int(ptr[-1])
    batch = Batch(_base_cls=Data, batch=torch.repeat_interleave(count), ptr=ptr, id=torch.arange(len(sizes)) + 7)
    batch.pos, batch.normal, batch.mass = torch.randn(nodes, 3), torch.randn(nodes, 3), torch.rand(nodes, 1)
    batch.label = torch.tensor(labels)
    batch._num_graphs = len(sizes)
    return batch


@pytest.mark.parametrize("kind", ["none", "z", "so3"])
def test_rotations_belong_to_samples(kind: str) -> None:
    ids = torch.tensor([5, 3, 99])
    turns = keyed_rotations(kind, (0,), ids)
    identity = torch.eye(3, dtype=torch.float64)
    torch.testing.assert_close(turns @ turns.mT, identity.expand(3, 3, 3))
    torch.testing.assert_close(torch.linalg.det(turns), torch.ones(3, dtype=torch.float64))
    assert torch.equal(keyed_rotations(kind, (0,), ids.flip(0)), turns.flip(0)), "depends on the batch"
    other = keyed_rotations(kind, (1,), ids)
    if kind == "none":
        assert torch.equal(turns, identity.expand(3, 3, 3))
        return
    assert (turns - other).abs().amax((1, 2)).min() > 1e-3, "the same under another key"
    assert (turns[0] - turns[1]).abs().max() > 1e-3
    if kind == "z":
        assert torch.equal(turns[:, 2], identity[2].expand(3, 3))


def test_so3_rotations_are_haar_and_z_angles_uniform() -> None:
    """First and second moments of a Haar rotation: E R = 0, E (tr R)^2 = 1, E R_ij^2 = 1/3."""
    ids = torch.arange(4000)
    turns = keyed_rotations("so3", (0,), ids)
    assert turns.mean(0).abs().max() < 0.04
    assert turns.diagonal(dim1=1, dim2=2).sum(-1).square().mean().item() == pytest.approx(1, abs=0.1)
    assert (turns.square().mean(0) - 1 / 3).abs().max() < 0.03
    about_z = keyed_rotations("z", (0,), ids)
    angle = torch.atan2(about_z[:, 1, 0], about_z[:, 0, 0])
    counts = np.histogram(angle.numpy(), bins=8, range=(-np.pi, np.pi))[0]
    assert np.abs(counts - 500).max() < 100


def test_every_field_turns_as_its_irreps_say() -> None:
    batch = clouds([4, 1, 3], [0, 1, 2])
    turns = keyed_rotations("so3", (0,), batch.id)
    turned = rotate_clouds(batch, SPEC, turns)
    for node, cloud in enumerate(batch.batch.tolist()):
        for name in ("pos", "normal"):
            torch.testing.assert_close(turned[name][node], turns[cloud].float() @ batch[name][node])
    assert torch.equal(turned.mass, batch.mass)
    assert not torch.equal(turned.pos, batch.pos), "the batch itself was changed"


def test_one_predictor_is_scored_under_three_protocols() -> None:
    """It tells the cloud that is longest along z from those along x and y by z^2 > 1/2: right under turns about z only."""
    batches = []
    for first, count in ((0, 240), (240, 60)):
        batch = clouds([1] * count, [0] * count)
        batch.id = torch.arange(first, first + count)
        batch.pos = torch.tensor([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]).repeat(count // 3, 1)
        batch.label = (batch.pos[:, 2] < 0.5).long()
        batches.append(batch)

    def predict(seen: Batch) -> dict[str, torch.Tensor]:
        upright = seen.pos[:, 2] ** 2 > 0.5
        return {"label": torch.stack([upright, ~upright, torch.zeros_like(upright)], -1).float()}

    task = PointClassification(SPEC, "none")
    for batch in batches:
        assert torch.equal(task.score("test", predict, batch)["label"], predict(batch)["label"])
    scores = task.compute("test")
    assert set(scores) == set(task.units) == {"acc", "macc", "acc_z", "macc_z", "acc_so3", "macc_so3"}
    assert scores["acc"] == scores["macc"] == scores["acc_z"] == scores["macc_z"] == 100
    # a uniform z has z^2 > 1/2 with probability 1 - 1/sqrt 2 = 0.293: recalls 29.3 % and 70.7 %, weights 1/3 and 2/3
    assert scores["macc_so3"].item() == pytest.approx(50, abs=6)
    assert scores["acc_so3"].item() == pytest.approx(29.3 / 3 + 70.7 * 2 / 3, abs=6)
    task.reset("test")
    assert all(counts.seen.sum() == 0 for counts in task.counts.values())


@pytest.mark.parametrize("train_rotation", ["none", "z", "so3"])
def test_validation_turns_as_training_does(train_rotation: str) -> None:
    batch = clouds([3, 3], [0, 1])
    variants = PointClassification(SPEC, train_rotation).variants("val", batch)
    assert list(variants) == [""]
    moved = (variants[""].pos - batch.pos).abs()
    assert (moved.max() > 1e-3) == (train_rotation != "none")
    assert (moved[:, 2].max() > 1e-3) == (train_rotation == "so3")


def test_copies_vote_with_their_probabilities() -> None:
    """Class 0 by a little whenever x > 0, class 1 by far whenever x < 0: turned about z at will, class 1 has more in sum."""
    batch = clouds([1] * 200, [1] * 200)
    batch.pos = torch.tensor([[1.0, 0.0, 0.0]]).repeat(200, 1)
    seen = []

    def predict(turned: Batch) -> dict[str, torch.Tensor]:
        seen.append(turned.pos)
        right = turned.pos[:, 0] > 0
        return {"label": torch.stack([right * 0.5, ~right * 9.0, torch.full(right.shape, -9.0)], -1)}

    task = PointClassification(SPEC, "none", votes=32)
    plain = task.score("test", predict, batch)["label"]
    assert torch.equal(plain, predict(batch)["label"]), "a vote must not become the record of the plain predictions"
    scores = task.compute("test")
    assert scores["acc"] == 0
    assert scores["acc_z"].item() == pytest.approx(50, abs=12)
    assert scores["acc_voted"] > 99
    assert set(scores) == set(task.units)
    voters = torch.stack(seen[:32])
    assert (voters[..., 2] == 0).all(), "clouds that are trained upright vote upright"
    assert (voters[1:] - voters[0]).norm(dim=-1).amax(1).min() > 0.1
    task.score("val", predict, batch)
    assert set(task.compute("val")) == {"acc", "macc"}


def test_scores_of_the_best_test_epoch_have_names_of_their_own() -> None:
    task = PointClassification(SPEC, "so3", votes=2, best_epoch=True)
    names = {f"{metric}_best_epoch{turn}" for metric in ("acc", "macc") for turn in ("", "_z", "_so3", "_voted")}
    assert set(task.compute("test")) == names
    assert set(task.compute("val")) == {"acc", "macc"}
    assert names <= set(task.units)
    assert task.monitor in task.units
