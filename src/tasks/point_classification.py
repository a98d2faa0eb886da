"""Classes of point clouds under three protocols: aligned, turned about the upright axis z, and turned at will."""

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
TEST_KEY = 0
"""Test and validation rotations depend on this and on the sample only: every paper and every seed meets the same ones."""


class PointClassification(Classification):
    """Accuracy on the test clouds as they are (`acc`), turned about z (`acc_z`) and by any rotation (`acc_so3`).

    All are measured with one trained model. With training rotations "none" they are the protocols I/I, I/z and I/SO(3) of
    the literature, with "z" z/I, z/z and z/SO(3), with "so3" the same for SO(3). Every test cloud has its own rotation of
    each kind, drawn once and for all. Validation clouds are turned as training clouds are, so that the checkpoint is
    chosen without a look at the other protocols.

    Args:
        spec: the benchmark's.
        train_rotation: how training clouds are turned.
    """

    def __init__(self, spec: Spec, train_rotation: Rotation):
        super().__init__(spec, test_variants=("", "_z", "_so3"))
        self.train_rotation: Rotation = train_rotation

    def variants(self, stage: Stage, batch: Any) -> dict[str, Any]:
        if stage == "val":
            return {"": self.turned(batch, self.train_rotation)}
        return {"": batch, "_z": self.turned(batch, "z"), "_so3": self.turned(batch, "so3")}

    def turned(self, batch: Any, rotation: Rotation) -> Any:
        """The batch with every cloud turned by its own rotation."""
        return rotate_clouds(batch, self.spec, keyed_rotations(rotation, (TEST_KEY,), batch.id))


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
