"""CIFAR-C (Hendrycks and Dietterich, arXiv:1903.12261): the test images under 15 corruptions, each in five severities.

One .npy a corruption, (50000, 32, 32, 3) uint8: the 10,000 test images at severity 1, then at severity 2, and so on;
labels.npy likewise.
"""

import os
import shutil
import tarfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Integer, Shaped

from ...errors import UserError
from ...tasks.batch import TensorBatch
from ..images import check_images
from .cifar import SHAPE
from .download import fetch

NAMES = (
    "gaussian_noise",
    "shot_noise",
    "impulse_noise",
    "defocus_blur",
    "glass_blur",
    "motion_blur",
    "zoom_blur",
    "snow",
    "frost",
    "fog",
    "brightness",
    "contrast",
    "elastic_transform",
    "pixelate",
    "jpeg_compression",
)
SEVERITIES = 5


@dataclass(frozen=True)
class CorruptionRelease:
    """One archive: the folder that it holds, where it is, its checksum, and the number of classes."""

    folder: str
    url: str
    md5: str
    classes: int


CIFAR10_C = CorruptionRelease(
    "CIFAR-10-C", "https://zenodo.org/records/2535967/files/CIFAR-10-C.tar", "56bf5dcef84df0e2308c6dcbcbbd8499", 10
)
CIFAR100_C = CorruptionRelease(
    "CIFAR-100-C", "https://zenodo.org/records/3555552/files/CIFAR-100-C.tar", "11f0ed0f1191edbf9fa23466ae6021d3", 100
)


class CorruptedImages:
    """The corrupted twins of the test images in a batch.

    Args:
        home: the folder with CIFAR-C's own folder, or its archive, which is downloaded if both are missing.
        release: which of the two.
        first_id: the id of the first test image.
    """

    names = NAMES

    def __init__(self, home: Path, release: CorruptionRelease, first_id: int):
        self.folder, self.release, self.first_id = home / release.folder, release, first_id

    def __call__(self, name: str, batch: TensorBatch) -> TensorBatch:
        """Severity by severity, five times as many images as in the batch; each keeps its label and id."""
        images = self.read(name)
        position = batch.id.cpu().numpy() - self.first_id
        rows = (position + len(images) // SEVERITIES * np.arange(SEVERITIES)[:, None]).ravel()
        chosen = torch.from_numpy(np.asarray(images[rows])).to(batch.image.device)
        return TensorBatch(
            image=chosen.movedim(-1, 1).float().div_(255).contiguous(),
            label=batch.label.repeat(SEVERITIES),
            id=batch.id.repeat(SEVERITIES),
        )

    def check(self, test_labels: Integer[np.ndarray, " images"]) -> None:
        """Finds, unpacks or downloads the files, before anything is trained; UserError where they are not as published."""
        if not self.folder.exists():
            archive = self.folder.with_name(f"{self.folder.name}.tar")
            unpack(fetch(archive, self.release.url, self.release.md5), self.folder)
        labels = self.read("labels")
        if not np.array_equal(labels, np.tile(test_labels, SEVERITIES)):
            raise UserError(f"{self.folder}/labels.npy is not of this benchmark's test images, {SEVERITIES} times over")
        channels, height, width = SHAPE
        for name in NAMES:
            where = f"{self.folder}/{name}.npy"
            check_images(self.read(name), labels, (height, width, channels), self.release.classes, where)

    def read(self, name: str) -> Shaped[np.ndarray, "..."]:
        """One file, memory-mapped."""
        path = self.folder / f"{name}.npy"
        try:
            return np.load(path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise UserError(
                f"cannot read {path} ({error}): remove {self.folder} and unpack its archive again"
            ) from None


def unpack(archive: Path, folder: Path) -> None:
    """Unpacks beside the archive; the folder appears when it is complete. Members that lead elsewhere are refused."""
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}")
    try:
        with tarfile.open(archive) as tar:
            tar.extractall(temporary, filter="data")
        (temporary / folder.name).rename(folder)
    except (tarfile.TarError, OSError) as error:
        raise UserError(f"cannot unpack {archive}: {error}") from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
