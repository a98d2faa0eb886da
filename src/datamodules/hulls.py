"""Hulls: the volume of the convex hull of random points in five dimensions (CSMPN, arXiv:2402.10011).

Eight points from a standard normal distribution, 16,384 such samples for each of training, validation and testing,
scored by the mean squared error of the volume. The published data were drawn without a seed; ours are drawn from one.
"""

import logging
import sys
from pathlib import Path

import numpy as np
from jaxtyping import Float
from rich.progress import track
from scipy.spatial import ConvexHull

from ..errors import UserError
from ..tasks.normalizer import Statistics
from ..tasks.spec import Field, Spec, Target
from .files.cache import cached_arrays
from .ragged import RaggedDataset
from .simulated import Simulated

log = logging.getLogger("erlangen")

DIM = 5
SIZE = 16_384
STREAMS = {"train": 0, "val": 1, "test": 2}
"""Each split has random numbers of its own, so that a smaller one begins like the whole."""


class Hulls(Simulated):
    """Points in R^5 to the volume of their convex hull, which every motion of R^5 leaves as it is.

    Args:
        points: in each sample; 8 as in CSMPN (16 in its predecessor, arXiv:2305.11141).
        train_size, val_size, test_size: how many samples of a split to draw, always the same first ones.
    """

    modality = "points5d"

    def __init__(
        self,
        root: str | Path,
        seed: int,
        points: int,
        train_size: int,
        val_size: int,
        test_size: int,
        batch_size: int,
        eval_batch_size: int,
        num_workers: int = 0,
    ):
        sizes = {"train": train_size, "val": val_size, "test": test_size}
        super().__init__(root, seed, sizes, dict.fromkeys(sizes, SIZE), batch_size, eval_batch_size, num_workers)
        if points <= DIM:
            raise UserError(f"data.points must be at least {DIM + 1}, or there is no volume; it is {points}")
        self.points = points

    @property
    def spec(self) -> Spec:
        return Spec(
            benchmark="hulls",
            modality=self.modality,
            split=f"{self.points} points, {self.sizes_in_short}",
            source="official",
            subset=any(size < SIZE for size in self.sizes.values()),
            fields={"pos": Field(irreps="1o", shape=(DIM,), translates=True)},
            targets=(Target(name="volume"),),
        )

    def statistics(self) -> dict[str, Statistics]:
        return {"volume": Statistics.of(self.splits["train"].values("volume"))}

    def load(self) -> dict[str, RaggedDataset]:
        return {name: self.split(name) for name in self.sizes}

    def split(self, name: str) -> RaggedDataset:
        size = self.sizes[name]
        folder = self.root / "hulls" / f"{name}-{self.points}-{size}"
        arrays = cached_arrays(folder, lambda: draw(name, size, self.points))
        return RaggedDataset(
            np.arange(size + 1) * self.points,
            nodes={"pos": arrays["pos"].reshape(-1, DIM)},
            graphs={"id": STREAMS[name] * SIZE + np.arange(size), "volume": arrays["volume"]},
        )


def draw(name: str, size: int, points: int) -> dict[str, np.ndarray]:
    """pos (samples, points, 5) and volume (samples,), computed in float64 and kept in float32, as published."""
    pos = np.random.default_rng(STREAMS[name]).standard_normal((size, points, DIM))
    log.warning("computing the volumes of %d hulls for %s, once", size, name)
    samples = track(pos, description="hulls", transient=True, disable=not sys.stdout.isatty())
    volume = np.array([hull_volume(sample) for sample in samples])
    return {"pos": pos.astype(np.float32), "volume": volume.astype(np.float32)}


def hull_volume(points: Float[np.ndarray, "points dim"]) -> float:
    return ConvexHull(points).volume
