"""Tetris: eight shapes of four cubes each, two of them mirror images (Tensor Field Networks, arXiv:1802.08219, section 5).

Trained on one orientation of each shape and tested on others, as published: a network that is not equivariant has to
guess, and one that cannot tell left from right takes the mirror images for one shape. The test motions are a random
rotation and a translation of up to 3 along each axis (as in the authors' code); they are the same for every seed.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..errors import UserError
from ..tasks.classification import Classification
from ..tasks.normalizer import Statistics
from ..tasks.point_classification import TEST_KEY, keyed_rotations
from ..tasks.spec import Field, Spec, Target
from ..tasks.task import Averages, Stage
from .base import DataModule
from .gwl import MARGIN
from .ragged import RaggedDataset

SHAPES: dict[str, tuple[tuple[int, int, int], ...]] = {
    "chiral_1": ((0, 0, 0), (0, 0, 1), (1, 0, 0), (1, 1, 0)),
    "chiral_2": ((0, 0, 0), (0, 0, 1), (1, 0, 0), (1, -1, 0)),
    "square": ((0, 0, 0), (1, 0, 0), (0, 1, 0), (1, 1, 0)),
    "line": ((0, 0, 0), (0, 0, 1), (0, 0, 2), (0, 0, 3)),
    "corner": ((0, 0, 0), (0, 0, 1), (0, 1, 0), (1, 0, 0)),
    "L": ((0, 0, 0), (0, 0, 1), (0, 0, 2), (0, 1, 0)),
    "T": ((0, 0, 0), (0, 0, 1), (0, 0, 2), (0, 1, 1)),
    "zigzag": ((0, 0, 0), (1, 0, 0), (1, 1, 0), (2, 1, 0)),
}
"""Where the cubes of each shape have their centres."""

CHIRAL = (0, 1)
"""The labels of the mirror images."""

MODALITIES = ("points", "graphs")
REACH = 3.0
VAL_TURNS = 10


class Tetris(DataModule):
    """The eight shapes.

    Args:
        modality: "points" for papers on point clouds; "graphs" for papers on geometric graphs, with an edge between any
            two cubes that share a face.
        test_turns: test samples of each shape, each moved in its own way.
    """

    modality = "points"

    def __init__(
        self,
        root: str | Path,
        seed: int,
        modality: str,
        test_turns: int,
        batch_size: int,
        eval_batch_size: int,
        num_workers: int = 0,
    ):
        super().__init__(root, seed, batch_size, eval_batch_size, num_workers)
        if modality not in MODALITIES:
            raise UserError(f"data.modality must be {' or '.join(MODALITIES)}, not {modality!r}")
        if test_turns < 1:
            raise UserError(f"data.test_turns must be 1 or more, not {test_turns}")
        self.modality, self.test_turns = modality, test_turns

    @property
    def spec(self) -> Spec:
        graph = {"z": Field(categories=(1,)), "edge_index": Field(level="edge", shape=(2,))}
        return Spec(
            benchmark="tetris",
            modality=self.modality,
            split=f"{self.modality}, trained on one orientation, tested on {self.test_turns}",
            source="official",
            fields={"pos": Field(irreps="1o", translates=True), **(graph if self.modality == "graphs" else {})},
            targets=(Target(name="label", classes=len(SHAPES)),),
        )

    @property
    def training_samples(self) -> int:
        return len(SHAPES)

    @property
    def task(self) -> "ShapesAndHands":
        return ShapesAndHands(self.spec)

    def statistics(self) -> dict[str, Statistics]:
        """None: there is only a class."""
        return {}

    def load(self) -> dict[str, RaggedDataset]:
        """One sample of each shape to train on; moved ones to validate and to test on."""
        count, turns = len(SHAPES), 1 + VAL_TURNS + self.test_turns
        ids = np.arange(count * turns)
        pos = np.tile(np.array(list(SHAPES.values()), dtype=np.float64), (turns, 1, 1))
        pos[count:] = moved(pos[count:], ids[count:])
        cubes = pos.shape[1]
        nodes = {"pos": pos.reshape(-1, 3).astype(np.float32)}
        edges = None
        if self.modality == "graphs":
            nodes["z"] = np.ones(pos.size // 3, dtype=np.int64)
            edges = touching(pos)
        stops = np.cumsum([0, count, VAL_TURNS * count, self.test_turns * count])
        return {
            split: RaggedDataset(
                np.arange(len(ids) + 1) * cubes,
                nodes,
                graphs={"id": ids, "label": ids % count},
                index=np.arange(start, stop),
                edges=edges,
            )
            for split, start, stop in zip(("train", "val", "test"), stops, stops[1:], strict=False)
        }


def moved(
    pos: Float[np.ndarray, "samples cubes 3"], ids: Int[np.ndarray, " samples"]
) -> Float[np.ndarray, "samples cubes 3"]:
    """Every shape turned and shifted by a motion that depends on its id only."""
    rotations = keyed_rotations("so3", (TEST_KEY,), torch.from_numpy(ids)).numpy()
    shifts = [np.random.default_rng([TEST_KEY + 1, int(sample)]).uniform(-REACH, REACH, 3) for sample in ids]
    return pos @ rotations.swapaxes(1, 2) + np.array(shifts)[:, None]


def touching(
    pos: Float[np.ndarray, "samples cubes 3"],
) -> tuple[Int[np.ndarray, " samples_plus_1"], Int[np.ndarray, "2 edges"]]:
    """Where each sample's edges begin, and the edges between cubes one apart, sorted by destination."""
    distance = np.linalg.norm(pos[:, :, None] - pos[:, None], axis=-1)
    sample, destination, source = np.nonzero(np.abs(distance - 1) < 1e-6)
    ptr = np.searchsorted(sample, np.arange(len(pos) + 1))
    return ptr, np.stack([source, destination])


class ShapesAndHands(Classification):
    """Classification with `acc_chiral`, the accuracy on the mirror images.

    Where the two have logits less than MARGIN apart the network has not told them apart, and rounding decides which it
    names: in `acc_chiral` that is a coin toss.
    """

    def __init__(self, spec: Spec):
        super().__init__(spec)
        self.units = {**self.units, "acc_chiral": "%"}
        self.chiral = Averages(("acc_chiral",))

    def update(self, stage: Stage, predictions: Mapping[str, Tensor], batch: Any, variant: str = "") -> None:
        super().update(stage, predictions, batch, variant)
        logits, label = predictions[self.target.name].detach(), batch[self.target.name]
        mine = torch.isin(label, label.new_tensor(CHIRAL))
        left, right = logits[mine][:, CHIRAL].unbind(-1)
        correct = 100 * (logits[mine].argmax(-1) == label[mine]).double()
        self.chiral.update(stage, {"acc_chiral": torch.where((left - right).abs() > MARGIN, correct, 50.0)})

    def compute(self, stage: Stage) -> dict[str, Tensor]:
        return super().compute(stage) | self.chiral.compute(stage)

    def reset(self, stage: Stage) -> None:
        super().reset(stage)
        self.chiral.reset(stage)
