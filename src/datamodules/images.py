"""What benchmarks of small labelled images share: bytes in memory, a validation split, subsets, turned test images."""

import logging
from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
import torch
from jaxtyping import Int, Integer, Shaped, UInt8
from torch.utils.data import Dataset

from ..errors import UserError
from ..tasks.batch import TensorBatch
from ..tasks.normalizer import Statistics
from ..tasks.spec import Field, Spec, Target
from .base import DataModule
from .image_tests import ImageClassification
from .image_views import ImageViews

log = logging.getLogger("erlangen")
Source = Literal["official", "miniature"]


class ImageDataset(Dataset):
    """A split of images that are kept as bytes and collated to floats from 0 to 1.

    `dataset[indices]` is a TensorBatch with `image` (samples, channels, height, width), `label` and `id`.

    Args:
        images: of all splits, perhaps memory-mapped.
        labels: likewise; an image's position is its id.
        index: which images belong to this split.
        white: the byte that becomes 1.
    """

    def __init__(
        self,
        images: UInt8[np.ndarray, "images channels height width"],
        labels: Integer[np.ndarray, " images"],
        index: Int[np.ndarray, " split"],
        white: int = 255,
    ):
        self.images, self.labels, self.index, self.white = images, labels, index, white

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, indices: np.ndarray | list[int]) -> TensorBatch:
        rows = self.index[np.asarray(indices)]
        return TensorBatch(
            image=torch.from_numpy(np.asarray(self.images[rows])).float().div_(self.white),
            label=torch.from_numpy(self.labels[rows].astype(np.int64)),
            id=torch.from_numpy(rows),
        )


class ImageBenchmark(DataModule):
    """Images with one label each, a test split of their own, and a validation split carved from the training images.

    Class attributes:
        benchmark: its name.
        shape: (channels, height, width) of every image.
        white: the byte that stands for 1.
        test_name: how the record of the split names the test images.

    Args:
        root, seed, batch_size, eval_batch_size, num_workers: see DataModule.
        source, counts: which data, and how many training and test images they have.
        classes: the number of labels.
        val_fraction: the part of the training images that becomes the validation split.
        split_seed: draws that part: the first of torch.randperm(images) train, the last validate.
        train_size, val_size, test_size: keep only the first so many of a split, for named subsets and quick runs; the split
            recorded with every result says so. Training and validation are in random order, the test images in the file's.
        rotated_test: also score the test images turned, as `acc_rot_c4` and `acc_rot_so2` (see image_tests).
    """

    modality = "images"
    benchmark: ClassVar[str]
    shape: ClassVar[tuple[int, int, int]]
    white: ClassVar[int] = 255
    test_name: ClassVar[str] = "official test"

    def __init__(
        self,
        root: str | Path,
        seed: int,
        *,
        batch_size: int,
        eval_batch_size: int,
        source: Source,
        counts: tuple[int, int],
        classes: int,
        val_fraction: float,
        split_seed: int,
        num_workers: int = 0,
        train_size: int | None = None,
        val_size: int | None = None,
        test_size: int | None = None,
        rotated_test: bool = False,
    ):
        super().__init__(root, seed, batch_size, eval_batch_size, num_workers)
        if not 0 < val_fraction < 1:
            raise UserError(f"data.val_fraction must lie between 0 and 1, not {val_fraction}")
        self.source, self.classes, self.rotated_test = source, classes, rotated_test
        self.split_seed = split_seed
        self.training_images, test = counts
        train = int(self.training_images * (1 - val_fraction))
        self.full_sizes = {"train": train, "val": self.training_images - train, "test": test}
        self.sizes = dict(self.full_sizes)
        for name, size in {"train": train_size, "val": val_size, "test": test_size}.items():
            full = self.full_sizes[name]
            if size is not None and not 1 <= size <= full:
                raise UserError(f"data.{name}_size must lie between 1 and {full} ({source} data), not {size}")
            self.sizes[name] = size or full

    @property
    def spec(self) -> Spec:
        val = f"validation {self.full_sizes['val']} of {self.training_images} (seed {self.split_seed})"
        kept = [
            f"{self.sizes[name]} of {full} {name}" for name, full in self.full_sizes.items() if self.sizes[name] < full
        ]
        return Spec(
            benchmark=self.benchmark,
            modality=self.modality,
            split=", ".join([self.test_name, val, *kept]),
            source=self.source,
            subset=bool(kept),
            fields=self.fields,
            targets=(Target(name="label", classes=self.classes),),
        )

    @property
    def fields(self) -> Mapping[str, Field]:
        """What a network may read."""
        return {"image": Field(level="graph", shape=self.shape)}

    @property
    def training_samples(self) -> int:
        return self.sizes["train"]

    @property
    def task(self) -> ImageClassification:
        return ImageClassification(self.spec, self.rotated_test)

    def offered_to(self, modalities: frozenset[str]) -> DataModule:
        """To papers that learn from views, images in colour come as one view each, for the augmentation to change."""
        fits = self.modality in modalities or "views" not in modalities or "image" not in self.fields
        if fits or self.shape[0] != 3:
            return self
        if self.task.suffixes["test"] != ("",):
            raise UserError(
                "data.rotated_test and data.corrupted_test score predicted labels, and a paper that learns from views predicts "
                "none: leave them out"
            )
        return ImageViews(self, self.classes)

    @abstractmethod
    def read(self) -> tuple[UInt8[np.ndarray, "images channels height width"], Integer[np.ndarray, " images"]]:
        """All images and labels, the training images first."""

    def load(self) -> dict[str, Dataset]:
        images, labels = self.read()
        return {
            name: self.dataset(images, labels, index[: self.sizes[name]])
            for name, index in self.split_indices().items()
        }

    def dataset(
        self,
        images: UInt8[np.ndarray, "images channels height width"],
        labels: Integer[np.ndarray, " images"],
        index: Int[np.ndarray, " split"],
    ) -> ImageDataset:
        """One split."""
        return ImageDataset(images, labels, index, self.white)

    def split_indices(self) -> dict[str, Int[np.ndarray, " split"]]:
        """The ids of each whole split."""
        order = torch.randperm(self.training_images, generator=torch.Generator().manual_seed(self.split_seed)).numpy()
        train, val = np.split(order, [self.full_sizes["train"]])
        return {"train": train, "val": val, "test": self.training_images + np.arange(self.full_sizes["test"])}

    def statistics(self) -> dict[str, Statistics]:
        return {}


def choose_source(asked: str, present: bool) -> Source:
    """Official data where they are there or asked for, else the miniature.

    Args:
        asked: auto, official or miniature.
        present: whether the official data are there.
    """
    if asked not in ("auto", "official", "miniature"):
        raise UserError(f"data.source must be auto, official or miniature, not {asked!r}")
    return "official" if asked == "official" or (asked == "auto" and present) else "miniature"


def warn_of_miniature(benchmark: str, missing: str, place: Path, otherwise: str = "") -> None:
    """The one line for those who asked for no particular data and do not get the benchmark's own."""
    log.warning(
        "data=%s: no %s in %s: using the MINIATURE (drawn pictures); data.source=official downloads the real data%s",
        benchmark,
        missing,
        place,
        otherwise,
    )


def check_images(
    images: Shaped[np.ndarray, "..."],
    labels: Shaped[np.ndarray, "..."],
    shape: tuple[int, ...],
    classes: int,
    where: str,
) -> None:
    """Refuses images of another size or type, and labels that name no class.

    Args:
        images: (images, *shape) expected, unsigned bytes.
        labels: (images,) expected, integers.
        shape: what one image must have.
        classes: labels must lie below.
        where: the file, for the error.
    """
    if images.dtype != np.uint8 or images.shape[1:] != shape:
        raise UserError(
            f"{where} holds images of shape {images.shape[1:]} and type {images.dtype}; they should have {shape} and uint8"
        )
    if labels.shape != images.shape[:1] or labels.dtype.kind not in "iu":
        raise UserError(
            f"{where} has {len(images)} images, but labels of shape {labels.shape} and type {labels.dtype}: there should be "
            "one integer for each"
        )
    wrong = np.flatnonzero((labels < 0) | (labels >= classes))
    if len(wrong):
        raise UserError(
            f"{where} gives image {wrong[0]} the label {labels[wrong[0]]}; labels go from 0 to {classes - 1} "
            f"({len(wrong)} of {len(labels)} are out of range)"
        )
