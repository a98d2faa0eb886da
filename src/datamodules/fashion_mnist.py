"""Fashion-MNIST (Xiao, Rasul, Vollgraf; arXiv:1708.07747): 28 x 28 grey pictures of ten kinds of clothing, MIT licence.

The same bytes come from the authors' server and from Debian's package `dataset-fashion-mnist`, which packed them anew:
what is checked is their content.
"""

import gzip
import hashlib
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Integer, UInt8

from ..errors import UserError
from .files.cache import cached_arrays
from .files.download import fetch
from .images import ImageBenchmark, check_images, choose_source, warn_of_miniature
from .synthetic import images as miniature_images

URL = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/"
DEBIAN = Path("/usr/share/datasets/fashion-mnist")
# MD5 of the official .gz, and of what is in it
FILES = {
    "train-images-idx3-ubyte": ("8d4fb7e6c68d591d4c3dfef9ec88bf0d", "f4a8712d7a061bf5bd6d2ca38dc4d50a"),
    "train-labels-idx1-ubyte": ("25c81989df183df01b3e8a0aad5dffbe", "9018921c3c673c538a1fc5bad174d6f9"),
    "t10k-images-idx3-ubyte": ("bef4ecab320f06d8554ea6380940ec79", "8181f5470baa50b63fa0f6fddb340f0a"),
    "t10k-labels-idx1-ubyte": ("bb300cfdad3c16e7a12a480ee83cd310", "15d484375f8d13e6eb1aabb0c3f46965"),
}
PARTS = ("train", "t10k")
MINIATURE = (6000, 2000)
TEXTURES = 2
VERSION = 1
"""Of the miniature: to be raised when its pictures change."""


class FashionMNIST(ImageBenchmark):
    """Fashion-MNIST.

    Args:
        root: the four .gz files are looked for in, and downloaded to, root/fashion_mnist; Debian's package is found too.
        seed: see DataModule.
        source: auto (the official files where they are there), official (downloaded if they are not) or miniature.
        options: see ImageBenchmark.
    """

    benchmark = "fashion_mnist"
    shape = (1, 28, 28)

    def __init__(self, root: str | Path, seed: int, *, source: str, **options: Any):
        self.home = Path(root) / self.benchmark
        self.caches = {"official": self.home / "cache-official", "miniature": self.home / f"cache-miniature-{VERSION}"}
        present = all(path.exists() for path in self.files().values()) or self.caches["official"].exists()
        found = choose_source(source, present)
        self.fell_back = source == "auto" and found == "miniature"
        counts = (60_000, 10_000) if found == "official" else MINIATURE
        super().__init__(root, seed, source=found, counts=counts, classes=10, **options)

    def files(self) -> dict[str, Path]:
        """Where each official file is, or would be downloaded to."""
        paths = {}
        for name in FILES:
            own, packaged = self.home / f"{name}.gz", DEBIAN / f"{name}.gz"
            paths[name] = packaged if packaged.exists() and not own.exists() else own
        return paths

    def read(self) -> tuple[UInt8[np.ndarray, "images channels height width"], Integer[np.ndarray, " images"]]:
        if self.fell_back:
            warn_of_miniature(
                self.benchmark, "*-ubyte.gz", self.home, ", and Debian has them in its package dataset-fashion-mnist"
            )
        arrays = cached_arrays(self.caches[self.source], self.read_files)
        return arrays["images"], arrays["labels"]

    def read_files(self) -> dict[str, np.ndarray]:
        if self.source == "miniature":
            folder = write_miniature(self.home / f"miniature-{VERSION}")
            return read_parts({name: unzip(folder / f"{name}.gz") for name in FILES})
        contents = {}
        for name, path in self.files().items():
            if path.parent != DEBIAN:
                fetch(path, f"{URL}{name}.gz", FILES[name][0])
            contents[name] = unzip(path)
            found = hashlib.md5(contents[name], usedforsecurity=False).hexdigest()
            if found != FILES[name][1]:
                raise UserError(f"what is in {path} has MD5 {found}, should have {FILES[name][1]}: get it again")
        return read_parts(contents)


def unzip(path: Path) -> bytes:
    try:
        return gzip.decompress(path.read_bytes())
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise UserError(f"{path} is damaged ({error}): remove it and get it again") from None


def read_parts(contents: dict[str, bytes]) -> dict[str, np.ndarray]:
    """`images` (images, 1, 28, 28) and `labels`, the training images first, from the four idx files."""
    images, labels = [], []
    for part in PARTS:
        images.append(read_idx(contents[f"{part}-images-idx3-ubyte"], f"{part}-images-idx3-ubyte")[:, None])
        labels.append(read_idx(contents[f"{part}-labels-idx1-ubyte"], f"{part}-labels-idx1-ubyte"))
        check_images(images[-1], labels[-1], FashionMNIST.shape, 10, f"Fashion-MNIST's {part} files")
    return {"images": np.concatenate(images), "labels": np.concatenate(labels)}


def read_idx(content: bytes, name: str) -> UInt8[np.ndarray, "..."]:
    """An idx file of unsigned bytes: two zero bytes, the type 8, the number of axes, each length as a big-endian int32."""
    if content[:3] != b"\0\0\x08" or len(content) < 4 or len(content) < 4 + 4 * content[3]:
        raise UserError(f"{name} is no idx file of unsigned bytes: it begins with {content[:4].hex()}")
    start = 4 + 4 * content[3]
    shape = tuple(np.frombuffer(content[4:start], ">i4").tolist())
    if len(content) - start != np.prod(shape):
        raise UserError(f"{name} says that it holds {shape} bytes, and holds {len(content) - start}")
    return np.frombuffer(content[start:], np.uint8).reshape(shape)


def write_idx(path: Path, array: UInt8[np.ndarray, "..."]) -> None:
    """The file that `read_idx` reads, compressed."""
    header = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">i4").tobytes()
    path.write_bytes(gzip.compress(header + array.tobytes(), compresslevel=1, mtime=0))


def write_miniature(folder: Path) -> Path:
    """Draws the miniature and writes its four files as the official ones are written."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, (part, size) in enumerate(zip(PARTS, MINIATURE, strict=True)):
        images, labels = miniature_images.classified(size, 10, TEXTURES, channels=1, size=28, seed=number)
        write_idx(folder / f"{part}-images-idx3-ubyte.gz", images[:, 0])
        write_idx(folder / f"{part}-labels-idx1-ubyte.gz", labels.astype(np.uint8))
    return folder
