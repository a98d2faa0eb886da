"""3DIEBench's miniature: parametric objects of ten of its classes, rendered and written in the official layout.

An object is a shape of its family (those of ModelNet's miniature), stretched, its parts painted in its class's colours, a
little changed. Training and test objects are different objects of the same families, as in the benchmark. Latents are drawn
as the authors draw them (arXiv:2302.10283, appendix B), and 3DIEBench-T's translations uniformly from [-0.5, 0.5]
(arXiv:2506.09895).

Ten classes, colours that tell one side of an object from another, and twenty views of each make it learnable in minutes. With
twenty classes, a third of the views and colours at random, even a supervised network learned no rotation that held for new
objects.
"""

import hashlib
import os
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
from filelock import FileLock
from jaxtyping import Float, UInt8
from PIL import Image
from rich.console import Console
from rich.progress import track

from ..files.off import Mesh
from ..files.threediebench import IMAGES
from .cad_parts import Draw, joined
from .modelnet import family
from .renderer import ColouredMesh, hue_to_rgb, render

VERSION = 1
"""To be raised with every change of the pictures, so that old ones are not taken for new ones."""
CLASSES = {
    "airplane": "02691156",
    "bed": "02818832",
    "car": "02958343",
    "chair": "03001627",
    "monitor": "03211117",
    "guitar": "03467517",
    "laptop": "03642806",
    "cup": "03797390",
    "piano": "03928116",
    "sofa": "04256520",
}
"""Families of shapes, and the synsets in which 3DIEBench has such objects."""
COUNTS = {"train": 64, "val": 16}
"""Objects of each class in the official splits, of which "val" is the one that is tested on."""
VIEWS = 20
QUALITY = 95
GOLDEN = (np.sqrt(5) - 1) / 2
COLOURS, JITTER = 6, 0.12
"""Colours of a class, taken in turn by the parts of its objects, and how far an object's own may be from them."""


class Item(NamedTuple):
    """One object: its class, its split and its number within both."""

    name: str
    split: str
    number: int

    @property
    def folder(self) -> str:
        """SYNSET/OBJECT, the object's name as long as an official one."""
        name = hashlib.md5(f"{self.name} {self.split} {self.number}".encode(), usedforsecurity=False).hexdigest()
        return f"{CLASSES[self.name]}/{name}"

    @property
    def rng(self) -> np.random.Generator:
        return np.random.default_rng([VERSION, list(CLASSES).index(self.name), self.split == "val", self.number])


def make_object(item: Item) -> tuple[ColouredMesh, np.random.Generator]:
    """The object with its bounding box about the origin and of diagonal 1, as ShapeNet's are, and the generator after it."""
    rng = item.rng
    draw = Draw(rng, held_out=False)
    parts = family(item.name)(draw)
    vertices, triangles = joined(parts)
    vertices = vertices * [draw.between(0.75, 1.3) for _ in range(3)]
    low, high = vertices.min(0), vertices.max(0)
    vertices = (vertices - (low + high) / 2) / np.linalg.norm(high - low)
    own = palette(item.name) + rng.uniform(-JITTER, JITTER, (COLOURS, 3))
    colours = own[np.arange(len(parts)) % COLOURS]
    painted = np.repeat(colours, [len(part.triangles) for part in parts], axis=0)
    return ColouredMesh(Mesh(vertices, triangles), painted), rng


def palette(name: str) -> Float[np.ndarray, "colours 3"]:
    """A class's colours, far from one another: like textures of real models, they tell one side of an object from another."""
    first = list(CLASSES).index(name) / len(CLASSES)
    hues = (first + GOLDEN * np.arange(COLOURS)) % 1
    return np.stack([hue_to_rgb(hues[i : i + 1], 0.7, 0.85 - 0.1 * (i % 3))[0] for i in range(COLOURS)])


def draw_latents(rng: np.random.Generator, views: int, translation: bool) -> Float[np.ndarray, "views latents"]:
    """Rotations about x, y, z, floor hue, light theta, phi and hue, and perhaps a translation, all uniform."""
    low = [-np.pi / 2] * 3 + [0.0] * 4 + [-0.5] * 3
    high = [np.pi / 2] * 3 + [1.0, np.pi / 4, 2 * np.pi, 1.0] + [0.5] * 3
    count = 10 if translation else 7
    return rng.uniform(low[:count], high[:count], (views, count))


def write_object(root: Path, item: Item, size: int, translation: bool) -> None:
    """The folder of an object: image_0.jpg, latent_0.npy and so on."""
    shape, rng = make_object(item)
    latents = draw_latents(rng, VIEWS, translation)
    folder = root / item.folder
    folder.mkdir(parents=True)
    for view, picture in enumerate(render(shape, latents, size)):
        Image.fromarray(picture).save(folder / f"image_{view}.jpg", quality=QUALITY)
        np.save(folder / f"latent_{view}.npy", latents[view])


def turntable(
    count: int, steps: int, size: int, translation: bool
) -> tuple[UInt8[np.ndarray, "objects views size size 3"], Float[np.ndarray, "objects views latents"]]:
    """Test objects of the first classes, turning about the vertical from -90 to 90 degrees under one light; and the latents."""
    latents = np.zeros((steps, 10 if translation else 7))
    latents[:, 2] = np.linspace(-np.pi / 2, np.pi / 2, steps)
    latents[:, 3:7] = [0.6, 0.3, 1.0, 0.1]  # floor hue, and the light's theta, phi and hue
    shapes = [make_object(Item(name, "val", 0))[0] for name in list(CLASSES)[:count]]
    return np.stack([render(shape, latents, size) for shape in shapes]), np.stack([latents] * len(shapes))


def items(split: str) -> Iterator[Item]:
    for name in CLASSES:
        for number in range(COUNTS[split]):
            yield Item(name, split, number)


def write_miniature(root: Path, size: int, translation: bool = False) -> Path:
    """The folder with all objects and the split files, written into `root` unless it is there; whole or not at all.

    Args:
        root: of the benchmark.
        size: of the pictures, in pixels.
        translation: write 3DIEBench-T, whose objects are also shifted.
    """
    folder = root / f"miniature-{VERSION}-{size}"
    root.mkdir(parents=True, exist_ok=True)
    with FileLock(root / ".miniature.lock"):
        if not folder.exists():
            temporary = root / ".miniature.partial"
            shutil.rmtree(temporary, ignore_errors=True)  # left by a process that was killed
            try:
                write_files(temporary, size, translation)
                temporary.rename(folder)
            finally:
                shutil.rmtree(temporary, ignore_errors=True)
    return folder


def write_files(folder: Path, size: int, translation: bool) -> None:
    everything = [item for split in COUNTS for item in items(split)]
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # numpy and the JPEG encoder leave the interpreter's lock
        written = pool.map(lambda item: write_object(folder / IMAGES, item, size, translation), everything)
        text = f"rendering {len(everything) * VIEWS:,} views"
        for _ in track(written, text, len(everything), console=Console(stderr=True), transient=True):
            pass
    for split in COUNTS:
        mine = list(items(split))
        order = np.random.default_rng(VERSION).permutation(len(mine))
        np.save(folder / f"{split}_images.npy", np.array([f"/{mine[i].folder}/" for i in order]))
        np.save(folder / f"{split}_labels.npy", np.array([list(CLASSES).index(mine[i].name) for i in order]))
