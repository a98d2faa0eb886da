"""Classes of point clouds under three protocols: aligned, turned about the upright axis z, and turned at will."""

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..geometry.rotations import axis_angle_to_matrix, quaternion_to_matrix
from ..geometry.wigner import representation
from .classification import Classification
from .spec import Spec
from .task import Stage

Rotation = Literal["none", "z", "so3"]
TEST_KEY, VOTE_KEY = 0, 2
"""Test and validation rotations depend on this and on the sample only: every paper and every seed meets the same ones."""


class PointClassification(Classification):
    """Accuracy on the test clouds as they are (`acc`), turned about z (`acc_z`) and by any rotation (`acc_so3`).

    All are measured with one trained model. With training rotations "none" they are the protocols I/I, I/z and I/SO(3) of
    the literature, with "z" z/I, z/z and z/SO(3), with "so3" the same for SO(3). Every test cloud has its own rotation of
    each kind, drawn once and for all. Validation clouds are turned as training clouds are, so that the checkpoint is
    chosen without a look at the other protocols.

    What papers also publish has names of its own. `acc_voted` is what the mean of the probabilities of several copies of a
    test cloud says, each turned anew as training clouds are (about z where those are not turned). Where the checkpoint was
    chosen by its score on the test split, so that it is overrated, names are `acc_best_epoch`, `acc_best_epoch_z`, …

    Args:
        spec: the benchmark's.
        train_rotation: how training clouds are turned.
        votes: copies that vote, or None.
        best_epoch: whether the checkpoint is chosen on the test split.
    """

    def __init__(self, spec: Spec, train_rotation: Rotation, votes: int | None = None, best_epoch: bool = False):
        super().__init__(spec, test_variants=("", "_z", "_so3", *(["_voted"] if votes else [])))
        self.train_rotation: Rotation = train_rotation
        self.votes, self.best_epoch = votes or 0, best_epoch
        self.units |= {self.named(name): unit for name, unit in self.units.items()}

    def variants(self, stage: Stage, batch: Any) -> dict[str, Any]:
        if stage == "val":
            return {"": self.turned(batch, self.train_rotation)}
        return {"": batch, "_z": self.turned(batch, "z"), "_so3": self.turned(batch, "so3")}

    def score(self, stage: Stage, predict: Callable[[Any], dict[str, Tensor]], batch: Any) -> dict[str, Tensor]:
        if stage == "test" and self.votes:
            rotation = "z" if self.train_rotation == "none" else self.train_rotation
            copies = (self.turned(batch, rotation, (VOTE_KEY, vote)) for vote in range(self.votes))
            probabilities = sum(predict(copy)[self.target.name].softmax(-1) for copy in copies)
            self.update(stage, {self.target.name: probabilities}, batch, "_voted")
        return super().score(stage, predict, batch)

    def compute(self, stage: Stage) -> dict[str, Tensor]:
        scores = super().compute(stage)
        return {self.named(name): value for name, value in scores.items()} if stage == "test" else scores

    def named(self, name: str) -> str:
        """The name of a test score."""
        metric, *variant = name.split("_")
        return "_".join([metric, *(["best_epoch"] if self.best_epoch else []), *variant])

    def turned(self, batch: Any, rotation: Rotation, key: tuple[int, ...] = (TEST_KEY,)) -> Any:
        """The batch with every cloud turned by its own rotation."""
        return rotate_clouds(batch, self.spec, keyed_rotations(rotation, key, batch.id))


def keyed_rotations(
    rotation: Rotation, key: tuple[int, ...], ids: Int[Tensor, " samples"]
) -> Float[Tensor, "samples 3 3"]:
    """Random rotations in float64 that depend on nothing but the key and each sample's id: uniform in the angle about z, or
    uniform (Haar) on SO(3)."""
    generators = [np.random.default_rng([*key, sample]) for sample in ids.tolist()]
    if rotation == "so3":
        quaternions = np.array([generator.standard_normal(4) for generator in generators])
        return quaternion_to_matrix(torch.from_numpy(quaternions)).to(ids.device)
    angles = torch.zeros(len(generators), 3, dtype=torch.float64)
    if rotation == "z":
        angles[:, 2] = torch.tensor([generator.uniform(-np.pi, np.pi) for generator in generators])
    return axis_angle_to_matrix(angles).to(ids.device)


def rotate_clouds(batch: Any, spec: Spec, rotations: Float[Tensor, "samples 3 3"]) -> Any:
    """The batch with every field of its points turned by its sample's rotation."""
    result = batch.clone()
    for name, field in spec.fields.items():
        if field.level == "node" and field.irreps != "0e":
            turn = representation(field.irreps, rotations).to(batch[name].dtype)
            result[name] = torch.einsum("nij,nj->ni", turn[batch.batch], batch[name])
    return result
