"""How much a classifier of point clouds loses when they are turned: accuracy on the test split against the angle."""

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ..datamodules.base import DataModule
from ..geometry.rotations import axis_angle_to_matrix
from ..models.paper import Paper
from ..tasks.point_classification import rotate_clouds
from .plots import PALETTE, Destination, drawing

ANGLES = tuple(float(angle) for angle in range(0, 181, 20))
"""Degrees."""
CLOUDS = 400
"""Test clouds, or all of a smaller split."""
KEY = 1
"""Axes depend on this and on the sample only: every paper meets the same ones, at every angle."""


@torch.no_grad()
def accuracy_by_angle(paper: Paper, datamodule: DataModule) -> list[dict[str, float]]:
    """The accuracy [%] on test clouds when each is turned by an angle [degrees] about an axis of its own.

    Returns:
        Rows of {angle, accuracy}.
    """
    (target,), dataset = paper.spec.targets, datamodule.splits["test"]
    right = dict.fromkeys(ANGLES, 0)
    chosen = np.random.default_rng(KEY).permutation(len(dataset))[:CLOUDS]  # a split may be sorted by class
    for start in range(0, len(chosen), datamodule.eval_batch_size):
        batch = dataset[chosen[start : start + datamodule.eval_batch_size]]
        axes = random_axes(batch.id)
        for angle in ANGLES:
            turned = rotate_clouds(batch, paper.spec, axis_angle_to_matrix(axes * np.deg2rad(angle)))
            right[angle] += int((paper.predict(turned)[target.name].argmax(-1) == batch[target.name]).sum())
    return [{"angle": angle, "accuracy": 100 * count / len(chosen)} for angle, count in right.items()]


def random_axes(ids: Tensor) -> Float[Tensor, "samples 3"]:
    """A uniformly distributed unit vector for each sample, in float64."""
    axes = np.array([np.random.default_rng([KEY, sample]).standard_normal(3) for sample in ids.tolist()])
    return torch.from_numpy(axes / np.linalg.norm(axes, axis=1, keepdims=True))


def draw_robustness(curves: dict[str, list[dict[str, float]]], where: Destination) -> None:
    """Accuracy against angle, one line a stage of training."""
    with drawing(where, 4.2, 3.0) as axes:
        axis = axes[0, 0]
        for color, (label, rows) in zip(PALETTE, curves.items(), strict=False):
            angles, accuracies = zip(*((row["angle"], row["accuracy"]) for row in rows), strict=True)
            axis.plot(angles, accuracies, marker="o", markersize=3.5, color=color, label=label)
        axis.set(xlim=(0, 180), ylim=(0, 102), xticks=range(0, 181, 30))
        axis.set_xlabel("rotation about a random axis [degrees]")
        axis.set_ylabel("test accuracy [%]")
        axis.legend()
