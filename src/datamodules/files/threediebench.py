"""3DIEBench's own files (arXiv:2302.10283): a folder SYNSET/OBJECT of views for each object, and the split files.

A folder holds image_0.jpg and latent_0.npy, image_1.jpg and latent_1.npy, and so on. {train,val}_images.npy list folders as
"/SYNSET/OBJECT/", {train,val}_labels.npy the class of each. Nothing outside the data's folder is read, whatever a list
says, and no file's bytes are run.
"""

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int, UInt8
from PIL import Image

from ...errors import UserError

IMAGES = "3DIEBench"
"""The folder that the official archive unpacks to."""
SPLITS = ("train", "val")


class Objects(NamedTuple):
    """The objects of one official split: their folders, relative to the data's, and their classes."""

    folders: list[str]
    labels: Int[np.ndarray, " objects"]


def is_there(root: Path) -> bool:
    """Whether the images and all split files lie in `root`."""
    names = [f"{split}_{kind}.npy" for split in SPLITS for kind in ("images", "labels")]
    return (root / IMAGES).is_dir() and all((root / name).is_file() for name in names)


def read_objects(root: Path, split: str, classes: int) -> Objects:
    """The objects that a split's files list.

    Raises:
        UserError: where a file is missing or no list of names or of labels, or a name would lead out of the data's folder.
    """
    names, labels = (load_array(root / f"{split}_{kind}.npy") for kind in ("images", "labels"))
    if names.ndim != 1 or names.dtype.kind != "U":
        raise UserError(f"{root}/{split}_images.npy should hold a list of folders, not {names.dtype} of {names.shape}")
    if labels.shape != names.shape or labels.dtype.kind not in "iu":
        raise UserError(
            f"{root}/{split}_labels.npy holds {labels.dtype} of shape {labels.shape}; it should hold one integer for each of "
            f"the {len(names)} objects of {split}_images.npy"
        )
    wrong = np.flatnonzero((labels < 0) | (labels >= classes))
    if len(wrong):
        raise UserError(
            f"{root}/{split}_labels.npy gives object {wrong[0]} the class {labels[wrong[0]]}; "
            f"classes go from 0 to {classes - 1}"
        )
    return Objects([inside(str(name), root / f"{split}_images.npy") for name in names], labels.astype(np.int64))


def inside(name: str, source: Path) -> str:
    """SYNSET/OBJECT of an entry like "/SYNSET/OBJECT/", whose leading slash means the data's folder and not the disk's root.

    Raises UserError for anything that could lead elsewhere.
    """
    parts = PurePosixPath(name.lstrip("/")).parts
    if len(parts) != 2 or any(part in ("..", ".") or "\\" in part or ":" in part or "\0" in part for part in parts):
        raise UserError(f"{source} names {name!r}, which is no folder SYNSET/OBJECT inside the data")
    return "/".join(parts)


def incomplete(images: Path, folders: Sequence[str], views: int) -> dict[str, int]:
    """The objects that lack an image or a latent of some view, and how many of their views are whole."""
    lacking = {}
    for folder in folders:
        try:
            there = set(os.listdir(images / folder))
        except (FileNotFoundError, NotADirectoryError):
            there = set()
        whole = sum(f"image_{view}.jpg" in there and f"latent_{view}.npy" in there for view in range(views))
        if whole < views:
            lacking[folder] = whole
    return lacking


def read_latents(
    images: Path, folders: Sequence[str], views: int, count: int
) -> Float[np.ndarray, "objects views latents"]:
    """The latents of every view; UserError naming the file where they are not `count` finite numbers."""
    latents = np.empty((len(folders), views, count))
    for i, folder in enumerate(folders):
        for view in range(views):
            path = images / folder / f"latent_{view}.npy"
            values = load_array(path)
            if values.shape != (count,) or values.dtype.kind != "f" or not np.isfinite(values).all():
                raise UserError(
                    f"{path} holds {values.dtype} of shape {values.shape}; it should hold {count} finite numbers"
                )
            latents[i, view] = values
    return latents


def read_image(path: Path, size: int) -> UInt8[np.ndarray, "3 size size"]:
    """A view, scaled to `size` pixels; UserError where the file is missing, cut short or no JPEG."""
    try:
        with Image.open(path, formats=["JPEG"]) as image:
            image.draft("RGB", (size, size))  # lets the decoder leave out what a smaller picture does not need
            picture = image.convert("RGB")
            if picture.size != (size, size):
                picture = picture.resize((size, size), Image.Resampling.BILINEAR)
            return np.asarray(picture).transpose(2, 0, 1)
    except OSError as error:
        raise UserError(f"{path} is no whole JPEG image ({' '.join(str(error).split())}): get it again") from None


def read_images(
    images: Path, folders: Sequence[str], views: int, size: int
) -> UInt8[np.ndarray, "objects views 3 h w"]:
    """All views of all objects."""
    pictures = np.empty((len(folders), views, 3, size, size), dtype=np.uint8)
    for i, folder in enumerate(folders):
        for view in range(views):
            pictures[i, view] = read_image(images / folder / f"image_{view}.jpg", size)
    return pictures


def load_array(path: Path) -> np.ndarray:
    try:
        return np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        reason = "it is missing" if isinstance(error, FileNotFoundError) else str(error).splitlines()[0]
        raise UserError(f"{path} is no readable array ({reason}): get it again") from None


def fingerprint(*parts: object) -> str:
    """Twelve hexadecimal digits that stand for what a cache was made from."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part.tobytes() if isinstance(part, np.ndarray) else str(part).encode())
        digest.update(b"\0")
    return digest.hexdigest()[:12]
