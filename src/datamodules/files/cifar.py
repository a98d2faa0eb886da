"""CIFAR's own files: archives of Python pickles (Krizhevsky 2009), read without running them, and written for the miniature.

A batch is a pickled dictionary with byte strings as keys: `data` (images, 3072) uint8, the red, green and blue planes row
by row, and a list of labels. Members are read straight from the archive: nothing is unpacked.
"""

import gzip
import io
import os
import pickle
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import UserError
from ..images import check_images
from ..synthetic import images as miniature_images
from . import safe_pickle

SHAPE = (3, 32, 32)
HOST = "https://www.cs.toronto.edu/~kriz/"


@dataclass(frozen=True)
class Release:
    """One of the two archives.

    Args:
        archive, md5: its name and checksum.
        folder: inside the archive.
        train, test: the members.
        keys: where a batch keeps each kind of label.
        classes: how many labels of each kind there are.
        official, miniature: how many training and test images each has.
        textures: how many textures every shape of the miniature comes in.
    """

    archive: str
    md5: str
    folder: str
    train: tuple[str, ...]
    test: str
    keys: Mapping[str, bytes]
    classes: Mapping[str, int]
    official: tuple[int, int]
    miniature: tuple[int, int]
    textures: int


CIFAR10 = Release(
    archive="cifar-10-python.tar.gz",
    md5="c58f30108f718f92721af3b95e74349a",
    folder="cifar-10-batches-py",
    train=tuple(f"data_batch_{number}" for number in range(1, 6)),
    test="test_batch",
    keys={"fine": b"labels"},
    classes={"fine": 10},
    official=(50_000, 10_000),
    miniature=(6000, 2000),
    textures=2,
)
CIFAR100 = Release(
    archive="cifar-100-python.tar.gz",
    md5="eb9058c3a382ffc7106e4002c42a8d85",
    folder="cifar-100-python",
    train=("train",),
    test="test",
    keys={"fine": b"fine_labels", "coarse": b"coarse_labels"},
    classes={"fine": 100, "coarse": 20},
    official=(50_000, 10_000),
    miniature=(10_000, 2000),
    textures=5,
)


def read_archive(path: Path, release: Release) -> dict[str, np.ndarray]:
    """`images` (images, 3, 32, 32) and one array of labels for each kind, the training images first."""
    parts: dict[str, list[np.ndarray]] = {"images": [], **{kind: [] for kind in release.keys}}
    try:
        with tarfile.open(path, "r:gz") as tar:
            for name in (*release.train, release.test):
                member = f"{release.folder}/{name}"
                batch = read_batch(tar.extractfile(member).read(), release, f"{member} in {path}")
                for key, values in batch.items():
                    parts[key].append(values)
    except (KeyError, tarfile.TarError, EOFError, gzip.BadGzipFile) as error:
        raise UserError(f"{path} is no intact {release.archive} ({error}): remove it and get it again") from None
    return {key: np.concatenate(values) for key, values in parts.items()}


def read_batch(content: bytes, release: Release, where: str) -> dict[str, np.ndarray]:
    """One pickled batch, checked."""
    batch = safe_pickle.load(content, safe_pickle.ARRAYS, where)
    needed = [b"data", *release.keys.values()]
    if not isinstance(batch, dict) or any(key not in batch for key in needed):
        raise UserError(f"{where} is no batch of CIFAR: it should hold {', '.join(key.decode() for key in needed)}")
    if not isinstance(batch[b"data"], np.ndarray) or batch[b"data"].shape[1:] != (np.prod(SHAPE),):
        raise UserError(f"{where} should hold images as an array of rows of {np.prod(SHAPE)} bytes ({SHAPE})")
    images = batch[b"data"].reshape(-1, *SHAPE)
    labels = {}
    for kind, key in release.keys.items():
        if not all(isinstance(label, int) for label in batch[key]):
            raise UserError(f"{where} has labels that are no integers")
        values = np.array(batch[key], dtype=np.int64)
        check_images(images, values, SHAPE, release.classes[kind], where)
        labels[kind] = values.astype(np.uint8)
    return {"images": images, **labels}


def write_miniature(path: Path, release: Release) -> Path:
    """Draws the miniature and writes it at `path` as the official archive is written; whole or not at all."""
    train, test = release.miniature
    per_batch = train // len(release.train)
    sizes = {**dict.fromkeys(release.train, per_batch), release.test: test}
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with tarfile.open(temporary, "w:gz", compresslevel=1) as tar:
        for number, (name, size) in enumerate(sizes.items()):
            images, labels = miniature_images.classified(
                size, release.classes["fine"], release.textures, channels=SHAPE[0], size=SHAPE[1], seed=number
            )
            content = pickle.dumps(pickled_batch(name, images, labels, release), protocol=2)
            member = tarfile.TarInfo(f"{release.folder}/{name}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    temporary.replace(path)
    return path


def pickled_batch(name: str, images: np.ndarray, labels: np.ndarray, release: Release) -> dict[bytes, Any]:
    """The dictionary that a batch of the official archive holds. A coarse class is a shape, a fine one its texture too."""
    kinds = {"fine": labels, "coarse": labels // release.textures}
    return {
        b"batch_label": name.encode(),
        **{key: kinds[kind].tolist() for kind, key in release.keys.items()},
        b"data": images.reshape(len(images), -1),
        b"filenames": [f"{name}_{number:05d}.png".encode() for number in range(len(images))],
    }
