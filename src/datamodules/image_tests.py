"""Classification of images, also scored on test images that were turned or corrupted: one trained model, several tests."""

import math
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..nn.rotate_images import quarter_turns, rotate
from ..tasks.batch import TensorBatch
from ..tasks.classification import Classification
from ..tasks.spec import Spec
from ..tasks.task import Stage

GOLDEN = (math.sqrt(5) - 1) / 2


@runtime_checkable
class Corruptions(Protocol):
    """The test images under every kind of corruption."""

    names: tuple[str, ...]

    def __call__(self, name: str, batch: TensorBatch) -> TensorBatch: ...


class ImageClassification(Classification):
    """`acc` and `macc` in per cent; on the test split also for turned images, and their mean over corruptions, `mca`.

    Rotated CIFAR has no canonical version. Here `acc_rot_c4` is of each test image turned by 0, 90, 180 or 270 degrees,
    and `acc_rot_so2` of each turned by any angle (bilinear, reflected at the border). An image's turn is fixed by its id,
    whatever the run's seed, so that every model meets the same images.

    Args:
        spec: the benchmark's.
        rotated: whether to score turned test images.
        corruptions: the corrupted test images, where the benchmark has them (CIFAR-C).
    """

    def __init__(self, spec: Spec, rotated: bool = False, corruptions: Corruptions | None = None):
        self.corruptions = corruptions
        corrupted = tuple(f"_{name}" for name in corruptions.names) if corruptions else ()
        super().__init__(spec, test_variants=("", *(("_rot_c4", "_rot_so2") if rotated else ()), *corrupted))
        self.rotated, self.corrupted = rotated, corrupted
        if corrupted:
            self.units["mca"] = "%"

    def variants(self, stage: Stage, batch: TensorBatch) -> dict[str, TensorBatch]:
        batches = {"": batch}
        if stage == "val":
            return batches
        if self.rotated:
            turn = fixed_turn(batch.id)
            batches["_rot_c4"] = with_image(batch, quarter_turns(batch.image, (4 * turn).long()))
            batches["_rot_so2"] = with_image(batch, rotate(batch.image, 2 * math.pi * turn))
        for suffix in self.corrupted:
            batches[suffix] = self.corruptions(suffix[1:], batch)
        return batches

    def compute(self, stage: Stage) -> dict[str, Tensor]:
        metrics = super().compute(stage)
        if stage == "test" and self.corrupted:
            metrics["mca"] = torch.stack([metrics[f"acc{suffix}"] for suffix in self.corrupted]).mean()
        return metrics


def fixed_turn(ids: Int[Tensor, " samples"]) -> Float[Tensor, " samples"]:
    """A part of a full turn for each image: multiples of the golden ratio, which fill [0, 1) evenly over any run of ids."""
    return (ids.double() * GOLDEN).frac()


def with_image(batch: Any, image: Tensor) -> Any:
    changed = batch.clone()
    changed["image"] = image
    return changed
