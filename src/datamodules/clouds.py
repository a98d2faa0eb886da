"""What point-cloud benchmarks share: clouds of one size in arrays, their batches, rotations and splits."""

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch.utils.data import Dataset
from torch_geometric.data import Batch, Data

from ..errors import UserError
from ..tasks.normalizer import Statistics
from ..tasks.point_classification import PointClassification, Rotation, keyed_rotations, rotate_clouds
from ..tasks.spec import Field, Spec, Target
from .base import DataModule
from .files.off import Mesh, sample_surface

POINTS = 2048
"""Points kept of each cloud: what the h5 files have."""

AUGMENTATION = 1
"""Keeps training rotations apart from those of evaluation."""


class Cloud(NamedTuple):
    """One shape's points, as a form gives them."""

    name: str
    label: int
    test: bool
    pos: Float[np.ndarray, "points 3"]
    normal: Float[np.ndarray, "points 3"] | None


class CloudDataset(Dataset):
    """The clouds of one split.

    `dataset[indices]` is a PyG `Batch` with pos (nodes, 3), each cloud's mean at the origin and its farthest point at
    distance 1, normal (nodes, 3) if asked for, label (samples,), id (samples,), batch and ptr.

    Args:
        arrays: pos and perhaps normal (clouds, points, 3), label (clouds,); a cloud's id is its position in them.
        index: which clouds belong to this split.
        num_points: how many points of each, the first ones.
        normals: whether batches have normals.
    """

    def __init__(self, arrays: dict[str, np.ndarray], index: np.ndarray, num_points: int, normals: bool):
        self.arrays, self.index, self.num_points, self.normals = arrays, np.asarray(index), num_points, normals

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, indices: np.ndarray | list[int]) -> Batch:
        rows = self.index[np.asarray(indices)]
        batch = Batch(
            _base_cls=Data,
            batch=torch.arange(len(rows)).repeat_interleave(self.num_points),
            ptr=torch.arange(len(rows) + 1) * self.num_points,
            pos=torch.from_numpy(normalized(self.arrays["pos"][rows, : self.num_points])).flatten(0, 1),
            label=torch.from_numpy(self.arrays["label"][rows]),
            id=torch.from_numpy(rows),
        )
        if self.normals:
            batch.normal = torch.from_numpy(self.arrays["normal"][rows, : self.num_points]).flatten(0, 1)
        batch._num_graphs = len(rows)
        return batch


def normalized(clouds: Float[np.ndarray, "clouds points 3"]) -> Float[np.ndarray, "clouds points 3"]:
    """Each cloud centred on its mean and scaled so that its farthest point lies on the unit sphere.

    A cloud whose points all coincide has no scale and becomes zero.
    """
    centred = clouds - clouds.mean(1, keepdims=True)
    radius = np.sqrt((centred**2).sum(-1).max(1))[:, None, None]
    return centred / np.where(radius > 0, radius, 1)


class PointClouds(DataModule):
    """Clouds of points on the surface of shapes, and the shape's class.

    pos is a position, and so moves with a translation (Field.translates), though every cloud comes centred on the mean of
    its points and scaled into the unit sphere.

    Args:
        num_points: points a cloud, the first ones of the 2,048 kept.
        normals: whether batches have the surface's normals too.
        train_rotation: how training (and validation) clouds are turned: none, z (about the upright axis) or so3. Every
            cloud of every epoch has a rotation of its own, a function of seed, epoch and sample.
        val_fraction: the part of every class's training shapes that validates, drawn by the seed. With 0, as in most papers,
            all of them train and the test split chooses the checkpoint; metrics then have other names, `acc_best_epoch`.
        votes: how many copies of a test cloud vote for `acc_voted`; None for no such metric.
    """

    modality = "points"
    benchmark: str
    form: str
    classes: int

    def __init__(
        self,
        root: str | Path,
        seed: int,
        num_points: int,
        normals: bool,
        train_rotation: str,
        val_fraction: float,
        batch_size: int,
        eval_batch_size: int,
        num_workers: int = 0,
        votes: int | None = None,
    ):
        super().__init__(root, seed, batch_size, eval_batch_size, num_workers)
        if not 1 <= num_points <= POINTS:
            raise UserError(f"data.num_points must lie between 1 and {POINTS}, not {num_points}")
        if train_rotation not in ("none", "z", "so3"):
            raise UserError(f"data.train_rotation must be none, z or so3, not {train_rotation!r}")
        if not 0 <= val_fraction < 1:
            raise UserError(f"data.val_fraction must be 0, or lie between 0 and 1, not {val_fraction}")
        if votes is not None and votes < 2:
            raise UserError(f"data.votes must be null, or 2 or more, not {votes}")
        self.num_points, self.normals, self.val_fraction, self.votes = num_points, normals, val_fraction, votes
        self.train_rotation: Rotation = train_rotation

    @property
    def source(self) -> Literal["official", "miniature"]:
        return "official"

    @property
    def spec(self) -> Spec:
        normals = " with normals" if self.normals else ""
        turned = {"none": "I", "z": "z", "so3": "SO(3)"}[self.train_rotation]
        chosen = (
            f"{self.val_fraction:.0%} of training held out" if self.val_fraction else "best epoch on the test split"
        )
        return Spec(
            benchmark=self.benchmark,
            modality=self.modality,
            split=f"{self.classes} classes, {self.form}, {self.num_points} points{normals}, trained on {turned}, {chosen}",
            source=self.source,
            fields={
                "pos": Field(irreps="1o", translates=True),
                **({"normal": Field(irreps="1o")} if self.normals else {}),
            },
            targets=(Target(name="label", classes=self.classes),),
        )

    @property
    def task(self) -> PointClassification:
        return PointClassification(self.spec, self.train_rotation, self.votes, best_epoch=self.val_fraction == 0)

    def statistics(self) -> dict[str, Statistics]:
        return {}

    def chosen_on(
        self, label: np.ndarray, training: np.ndarray, test: np.ndarray, rng: np.random.Generator
    ) -> dict[str, np.ndarray]:
        """Positions of every split, given which shapes are for training and which for testing."""
        if self.val_fraction == 0:
            return {"train": np.flatnonzero(training), "val": np.flatnonzero(test), "test": np.flatnonzero(test)}
        train, val = held_out(label, training, self.val_fraction, rng)
        return {"train": train, "val": val, "test": np.flatnonzero(test)}

    def datasets(self, arrays: dict[str, np.ndarray], indices: dict[str, np.ndarray]) -> dict[str, CloudDataset]:
        """The splits, from all clouds and which of them belong to which."""
        if self.normals and "normal" not in arrays:
            raise UserError(f"data.normals=true: these {self.form} files have no normals")
        return {name: CloudDataset(arrays, index, self.num_points, self.normals) for name, index in indices.items()}

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Any:
        """Turns training clouds, here rather than in a worker because only the trainer knows the epoch."""
        if not self.trainer.training or self.train_rotation == "none":
            return batch
        key = (AUGMENTATION, self.seed, self.trainer.current_epoch)
        return rotate_clouds(batch, self.spec, keyed_rotations(self.train_rotation, key, batch.id))


def cloud_of(mesh: Mesh, name: str, label: int, test: bool) -> Cloud:
    """Points sampled from a mesh, with a seed that its name determines."""
    rng = np.random.default_rng(list(hashlib.sha256(name.encode()).digest()))
    points, normals = sample_surface(mesh, POINTS, rng)
    return Cloud(name, label, test, points, normals)


def upright(vectors: Float[np.ndarray, "points 3"]) -> Float[np.ndarray, "points 3"]:
    """The quarter turn about x that takes y to z."""
    x, y, z = vectors.T
    return np.stack([x, -z, y], -1)


def to_arrays(clouds: Iterable[Cloud]) -> dict[str, np.ndarray]:
    """The clouds as arrays; UserError for a number that is not finite, and for points that are all the same."""
    columns = []
    for cloud in clouds:
        if not np.isfinite(cloud.pos).all():
            raise UserError(f"{cloud.name} has a point that is not finite")
        if not np.ptp(cloud.pos, axis=0).any():
            raise UserError(f"{cloud.name}: all points are the same, so that the cloud has no shape")
        if cloud.normal is not None and not np.isfinite(cloud.normal).all():
            raise UserError(f"{cloud.name} has a normal that is not finite")
        normal = None if cloud.normal is None else cloud.normal.astype(np.float32)
        columns.append(cloud._replace(pos=cloud.pos.astype(np.float32), normal=normal))
    name, label, test, pos, normal = zip(*columns, strict=True)
    arrays = {"name": np.array(name), "label": np.array(label), "test": np.array(test), "pos": np.stack(pos)}
    return arrays if normal[0] is None else {**arrays, "normal": np.stack(normal)}


def held_out(
    label: np.ndarray, among: np.ndarray, fraction: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Positions of those `among` that stay and of those held out: of every class the fraction, rounded, and at least one
    on either side where the class has two."""
    stay, out = [], []
    for name in np.unique(label[among]):
        members = rng.permutation(np.flatnonzero(among & (label == name)))
        count = min(max(round(fraction * len(members)), 1), len(members) - 1)
        out.append(members[:count])
        stay.append(members[count:])
    return np.sort(np.concatenate(stay)), np.sort(np.concatenate(out))
