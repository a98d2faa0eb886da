"""ModelNet's miniature: parametric shapes of the forty classes, as OFF files in the official folders.

Training and test shapes have their parameters from different parts of every range (cad_parts.HELD_OUT). Parts are left
out at random, shapes are stretched and turned a little, and many classes differ only in proportions (night stand and
dresser, cup and flower pot, stool and table), so that the task is not saturated by a small network.
"""

import logging
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
from filelock import FileLock

from ..files.modelnet import CLASSES
from ..files.off import Mesh, write_off
from . import cad_furniture, cad_objects
from .cad_parts import Draw, joined, turned

log = logging.getLogger("erlangen")

VERSION = 1
"""To be raised with every change of the shapes, so that old ones are not taken for new ones."""
COUNTS = {"train": 40, "test": 16}
"""Shapes of each class."""
DROPPED = 0.1
"""The probability that a part other than the first is left out."""


def family(name: str) -> Callable[[Draw], list[Mesh]]:
    """The function that makes the shapes of a class."""
    return getattr(cad_furniture, name, None) or getattr(cad_objects, name)


def make_shape(name: str, split: str, number: int) -> Mesh:
    """The shape of that number, the same whenever it is made."""
    rng = np.random.default_rng([VERSION, CLASSES[40].index(name), split == "test", number])
    draw = Draw(rng, held_out=split == "test")
    first, *others = family(name)(draw)
    vertices, triangles = joined([first, *(part for part in others if not draw.chance(DROPPED))])
    stretch = [draw.between(0.75, 1.3) for _ in range(3)]
    return turned(Mesh(vertices * stretch, triangles), "z", draw.between(-20, 20))


def write_miniature(root: Path, classes: int) -> Path:
    """The folder `ModelNet40` (or 10) with all shapes, written into `root` unless it is there."""
    folder = root / f"miniature-{VERSION}" / f"ModelNet{classes}"
    root.mkdir(parents=True, exist_ok=True)
    with FileLock(root / ".miniature.lock"):
        if not folder.exists():
            temporary = root / ".miniature.partial"
            shutil.rmtree(temporary, ignore_errors=True)  # left by a process that was killed
            try:
                for name in CLASSES[classes]:
                    write_class(temporary / name, name)
                folder.parent.mkdir(exist_ok=True)
                temporary.rename(folder)
            finally:
                shutil.rmtree(temporary, ignore_errors=True)
    return folder


def write_class(folder: Path, name: str) -> None:
    """The shapes of a class, numbered on from the training to the test split as ModelNet's are."""
    number = 0
    for split, count in COUNTS.items():
        (folder / split).mkdir(parents=True)
        for _ in range(count):
            number += 1
            (folder / split / f"{name}_{number:04d}.off").write_bytes(write_off(make_shape(name, split, number)))
