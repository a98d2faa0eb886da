"""CIFAR-10 and CIFAR-100 (Krizhevsky 2009), and CIFAR-10 as sequences of pixels.

The official test split is only tested on; the best epoch is chosen on a validation split carved from the training images.
Published numbers often choose it on the test split, and so are a little too good.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Int, Integer, UInt8
from torch.utils.data import Dataset

from ..errors import UserError
from ..tasks.batch import TensorBatch
from ..tasks.spec import Field
from .files import cifar as cifar_files
from .files import cifar_corruptions
from .files.cache import cached_arrays
from .files.cifar import HOST, SHAPE, Release, read_archive, write_miniature
from .files.cifar_corruptions import CorruptedImages, CorruptionRelease
from .files.download import fetch
from .image_tests import ImageClassification
from .images import ImageBenchmark, ImageDataset, choose_source, warn_of_miniature

VERSION = 1
"""Of the miniature: to be raised when its pictures change, so that no old cache is taken for the new ones."""


class CIFAR(ImageBenchmark):
    """What both releases share.

    Args:
        root: the archive is looked for in, and downloaded to, root/cifar10 or root/cifar100.
        seed: see DataModule.
        source: auto (the official archive where it is there), official (downloaded if it is not) or miniature.
        labels: which kind of label, of those that the release has.
        corrupted_test: also score CIFAR-C (arXiv:1903.12261): `acc_` each of its 15 corruptions over all severities, and
            `mca`, their mean. Official data only.
        options: see ImageBenchmark.
    """

    release: ClassVar[Release]
    corrupted: ClassVar[CorruptionRelease]
    folder: ClassVar[str]
    shape = SHAPE

    def __init__(
        self,
        root: str | Path,
        seed: int,
        *,
        source: str,
        labels: str = "fine",
        corrupted_test: bool = False,
        **options: Any,
    ):
        if labels not in self.release.classes:
            raise UserError(f"data.labels must be one of {', '.join(self.release.classes)}, not {labels!r}")
        home = Path(root) / self.folder
        self.archive, self.labels = home / self.release.archive, labels
        self.caches = {"official": home / "cache-official", "miniature": home / f"cache-miniature-{VERSION}"}
        found = choose_source(source, present=self.archive.exists() or self.caches["official"].exists())
        self.fell_back = source == "auto" and found == "miniature"
        if corrupted_test and found != "official":
            raise UserError("data.corrupted_test=true needs the official data: CIFAR-C has no miniature")
        counts = self.release.official if found == "official" else self.release.miniature
        super().__init__(root, seed, source=found, counts=counts, classes=self.release.classes[labels], **options)
        self.corruptions = CorruptedImages(home, self.corrupted, self.training_images) if corrupted_test else None

    @property
    def task(self) -> ImageClassification:
        return ImageClassification(self.spec, self.rotated_test, self.corruptions)

    def read(self) -> tuple[UInt8[np.ndarray, "images channels height width"], Integer[np.ndarray, " images"]]:
        if self.fell_back:
            warn_of_miniature(self.benchmark, self.archive.name, self.archive.parent)
        arrays = cached_arrays(self.caches[self.source], self.read_files)
        return arrays["images"], arrays[self.labels]

    def read_files(self) -> dict[str, np.ndarray]:
        if self.source == "official":
            path = fetch(self.archive, HOST + self.archive.name, self.release.md5)
        else:
            path = write_miniature(self.archive.parent / f"miniature-{VERSION}" / self.archive.name, self.release)
        return read_archive(path, self.release)

    def load(self) -> dict[str, Dataset]:
        splits = super().load()
        if self.corruptions:
            self.corruptions.check(splits["test"].labels[self.training_images :])
        return splits


class CIFAR10(CIFAR):
    """Ten classes; see CIFAR."""

    benchmark = folder = "cifar10"
    release = cifar_files.CIFAR10
    corrupted = cifar_corruptions.CIFAR10_C


class CIFAR100(CIFAR):
    """A hundred fine classes, or twenty coarse ones with `labels=coarse`; see CIFAR."""

    benchmark = folder = "cifar100"
    release = cifar_files.CIFAR100
    corrupted = cifar_corruptions.CIFAR100_C

    @property
    def test_name(self) -> str:
        return f"official test, {self.labels} labels"


class PixelSequences(ImageDataset):
    """Images read row by row: `sequence` (samples, height * width, channels) in place of `image`."""

    def __getitem__(self, indices: np.ndarray | list[int]) -> TensorBatch:
        batch = super().__getitem__(indices)
        return TensorBatch(sequence=batch.image.flatten(2).mT.contiguous(), label=batch.label, id=batch.id)


class SequentialCIFAR10(CIFAR10):
    """CIFAR-10 as a sequence of 1,024 pixels with three channels each, row by row: S4's sCIFAR (arXiv:2111.00396).

    The validation split is the published one (10%, seed 42). Long Range Arena's grey pixels are another benchmark. There is
    no `rotated_test` or `corrupted_test` here.
    """

    modality = "sequences"
    benchmark = "scifar"

    def __init__(self, root: str | Path, seed: int, **options: Any):
        super().__init__(root, seed, rotated_test=False, corrupted_test=False, **options)

    @property
    def fields(self) -> Mapping[str, Field]:
        channels, height, width = self.shape
        return {"sequence": Field(level="graph", shape=(height * width, channels))}

    def dataset(
        self,
        images: UInt8[np.ndarray, "images channels height width"],
        labels: Integer[np.ndarray, " images"],
        index: Int[np.ndarray, " split"],
    ) -> PixelSequences:
        return PixelSequences(images, labels, index, self.white)
