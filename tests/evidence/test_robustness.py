"""Accuracy against the angle of rotation, beside a closed form."""

from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.data import Dataset

from erlangen.datamodules.base import DataModule
from erlangen.evidence.robustness import CLOUDS, accuracy_by_angle, draw_robustness
from erlangen.models.paper import Paper
from erlangen.tasks.normalizer import Statistics
from erlangen.tasks.point_classification import PointClassification
from tests.point_clouds import SPEC, clouds


class Up(Dataset):
    """Clouds of one point at (0, 0, 1), all of class 1."""

    def __len__(self) -> int:
        return 10 * CLOUDS

    def __getitem__(self, indices: np.ndarray) -> Any:
        batch = clouds([1] * len(indices))
        batch.pos = torch.tensor([[0.0, 0.0, 1.0]]).repeat(len(indices), 1)
        batch.label, batch.id = torch.ones(len(indices), dtype=torch.long), torch.as_tensor(indices)
        return batch


class UpData(DataModule):
    modality = "points"
    spec = SPEC
    task = PointClassification(SPEC, "none")

    def load(self) -> dict[str, Dataset]:
        return {"test": Up()}

    def statistics(self) -> dict[str, Statistics]:
        return {}


class Looks(Paper):
    """Says 1 where the first number of every cloud is above 1/2: of z, or of the length."""

    modalities = frozenset({"points"})

    def __init__(self, what: str):
        super().__init__(SPEC)
        self.what = what

    def forward(self, batch: Any) -> dict[str, Tensor]:
        value = batch.pos[:, 2] if self.what == "z" else batch.pos.norm(dim=1)
        return {"label": torch.stack([torch.full_like(value, 0.5), value], 1)}


@pytest.fixture
def data(tmp_path: Path) -> UpData:
    return UpData(tmp_path, 1, 50, 150)


def test_what_sees_no_rotation_loses_nothing(data: UpData) -> None:
    assert {row["accuracy"] for row in accuracy_by_angle(Looks("length"), data)} == {100.0}


def test_what_sees_rotations_loses_what_it_must(data: UpData) -> None:
    """Turned by a about the axis u, (0, 0, 1) has z = cos a + u_z^2 (1 - cos a), and u_z is uniform on [-1, 1]."""
    for row in accuracy_by_angle(Looks("z"), data):
        cos = np.cos(np.deg2rad(row["angle"]))
        chance = 1.0 if cos >= 0.5 else 1 - np.sqrt((0.5 - cos) / (1 - cos))
        assert row["accuracy"] == pytest.approx(100 * chance, abs=400 / np.sqrt(CLOUDS) / 2 + 1e-9)


def test_the_curve_can_be_drawn(data: UpData) -> None:
    file = BytesIO()
    draw_robustness({"after training": accuracy_by_angle(Looks("z"), data)}, file)
    assert file.getvalue().startswith(b"\x89PNG")
