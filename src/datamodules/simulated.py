"""What benchmarks that are computed here have in common."""

from collections.abc import Mapping
from pathlib import Path

from ..errors import UserError
from ..tasks.normalizer import Statistics
from ..tasks.squared_error import MeanSquaredError
from .base import DataModule


class Simulated(DataModule):
    """A benchmark of which the first samples of each split can be had without the rest, scored by the mean squared error.

    Args:
        sizes: how many samples of each split to compute and use.
        drawn: how many the whole splits have.
    """

    def __init__(
        self,
        root: str | Path,
        seed: int,
        sizes: Mapping[str, int],
        drawn: Mapping[str, int],
        batch_size: int,
        eval_batch_size: int,
        num_workers: int,
    ):
        super().__init__(root, seed, batch_size, eval_batch_size, num_workers)
        for name, size in sizes.items():
            if not 1 <= size <= drawn[name]:
                raise UserError(f"data.{name}_size must lie between 1 and {drawn[name]}, not {size}")
        self.sizes = dict(sizes)

    @property
    def training_samples(self) -> int:
        return self.sizes["train"]

    @property
    def task(self) -> MeanSquaredError:
        return MeanSquaredError(self.spec)

    def statistics(self) -> dict[str, Statistics]:
        """None by default: a position is learned in its own unit, as published."""
        return {}

    @property
    def sizes_in_short(self) -> str:
        """As a split's name tells them."""
        return "/".join(str(size) for size in self.sizes.values())
