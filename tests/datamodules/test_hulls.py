"""Hulls: volumes that are volumes, and the same data for everyone."""

from math import factorial
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.spatial import Delaunay

from erlangen.datamodules.hulls import DIM, SIZE, Hulls, hull_volume
from erlangen.errors import UserError


def hulls(root: Path, **options) -> Hulls:
    sizes = {"train_size": 40, "val_size": 30, "test_size": 20}
    return Hulls(**{"root": root, "seed": 1, "points": 8, "batch_size": 16, "eval_batch_size": 64, **sizes, **options})


def test_known_volumes() -> None:
    identity = np.eye(DIM)
    assert hull_volume(np.vstack([np.zeros(DIM), identity])) == pytest.approx(1 / factorial(DIM))
    assert hull_volume(np.vstack([identity, -identity])) == pytest.approx(2**DIM / factorial(DIM))
    cube = np.stack(np.meshgrid(*[[0.0, 2.0]] * DIM), axis=-1).reshape(-1, DIM)
    assert hull_volume(cube) == pytest.approx(2**DIM)


def test_volumes_are_those_of_the_simplices_that_fill_the_hull(tmp_path: Path) -> None:
    batch = hulls(tmp_path).splits["test"][np.arange(20)]
    for points, volume in zip(batch.pos.double().numpy().reshape(20, 8, DIM), batch.volume.tolist(), strict=True):
        simplices = points[Delaunay(points).simplices]
        parts = np.abs(np.linalg.det(simplices[:, 1:] - simplices[:, :1])) / factorial(DIM)
        assert volume == pytest.approx(parts.sum(), rel=1e-4)


def test_motions_of_five_dimensions_leave_the_volume(tmp_path: Path) -> None:
    points = hulls(tmp_path).splits["val"][[0]].pos.double().numpy()
    turn, _ = np.linalg.qr(np.random.default_rng(0).standard_normal((DIM, DIM)))
    assert hull_volume(points @ turn + 10) == pytest.approx(hull_volume(points))
    assert hull_volume(2 * points) == pytest.approx(2**DIM * hull_volume(points))


def test_points_are_standard_normal_and_splits_apart(tmp_path: Path) -> None:
    splits = hulls(tmp_path, train_size=500).splits
    pos = splits["train"][np.arange(500)].pos
    assert pos.shape == (4000, DIM)
    assert pos.mean().abs() < 0.03
    assert (pos.std() - 1).abs() < 0.03
    everyone = np.concatenate([part.values("id") for part in splits.values()])
    assert len(np.unique(everyone)) == len(everyone) == 550
    volumes = np.concatenate([part.values("volume") for part in splits.values()])
    assert len(np.unique(volumes)) == 550
    assert (volumes > 0).all()


def test_a_smaller_split_begins_like_the_whole(tmp_path: Path) -> None:
    few, more = hulls(tmp_path, train_size=5).splits["train"], hulls(tmp_path).splits["train"]
    assert torch.equal(few[[4]].pos, more[[4]].pos)
    assert few.values("volume").tolist() == more.values("volume")[:5].tolist()


def test_mean_squared_error_and_statistics_are_of_the_volume(tmp_path: Path) -> None:
    data = hulls(tmp_path)
    batch = data.splits["val"][np.arange(30)]
    mean = data.statistics()["volume"].mean
    assert mean == pytest.approx(float(data.splits["train"].values("volume").mean()), rel=1e-6)
    task = data.task
    for part in (slice(0, 20), slice(20, 30)):
        task.update("test", {"volume": torch.full_like(batch.volume[part], mean)}, data.splits["val"][np.r_[part]])
    expected = (batch.volume.double() - mean).square().mean()
    assert task.compute("test")["mse"].item() == pytest.approx(expected.item(), rel=1e-6)


def test_only_the_published_sizes_are_the_whole_benchmark(tmp_path: Path) -> None:
    whole = hulls(tmp_path, train_size=SIZE, val_size=SIZE, test_size=SIZE).spec
    assert not whole.subset
    assert hulls(tmp_path).spec.subset
    assert whole.fields["pos"].shape == (DIM,)


@pytest.mark.parametrize(
    ("options", "words"), [({"points": 5}, "data.points"), ({"val_size": SIZE + 1}, "data.val_size")]
)
def test_mistakes_are_named(tmp_path: Path, options: dict, words: str) -> None:
    with pytest.raises(UserError, match=words):
        hulls(tmp_path, **options)
