"""Real furniture, and some other things, to be classified from points on its surface: models of Sweet Home 3D.

283 models in 20 classes from Debian's package `sweethome3d-furniture` (authors and licences: furniture_labels.py). No
published number belongs to them: they are real shapes of many hands for where ModelNet is not to be had. A quarter of every
class is the test split, the same in every run.
"""

import hashlib
import logging
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ..errors import UserError
from .clouds import Cloud, CloudDataset, PointClouds, cloud_of, held_out, to_arrays
from .files.cache import cached_arrays
from .files.furniture_labels import MODELS
from .files.sweethome import read_catalogue, read_model

log = logging.getLogger("erlangen")

LIBRARIES = sorted({library for libraries in MODELS.values() for library in libraries})
TEST_FRACTION = 0.25
DEBIAN = (
    "apt install sweethome3d-furniture (or unpack that package) and give its folder usr/share/sweethome3d/furniture"
)


class Furniture(PointClouds):
    """Models of furniture, read from their libraries.

    Args:
        path: the folder with the libraries, e.g. Scopia.sh3f; where Debian's package puts them by default.
        num_points, normals, train_rotation, val_fraction, votes: see clouds.PointClouds.
    """

    benchmark = "furniture"
    form = "mesh"
    classes = len(MODELS)

    def __init__(
        self,
        root: str | Path,
        seed: int,
        path: str,
        num_points: int,
        normals: bool,
        train_rotation: str,
        val_fraction: float,
        batch_size: int,
        eval_batch_size: int,
        num_workers: int = 0,
        votes: int | None = None,
    ):
        super().__init__(
            root,
            seed,
            num_points,
            normals,
            train_rotation,
            val_fraction,
            batch_size,
            eval_batch_size,
            num_workers,
            votes,
        )
        self.path = Path(path)

    def load(self) -> dict[str, CloudDataset]:
        for library in LIBRARIES:
            if not (self.path / f"{library}.sh3f").exists():
                raise UserError(f"data.path={self.path} has no {library}.sh3f: {DEBIAN}")
        arrays = cached_arrays(self.root / "furniture" / f"cache-{version(self.path)}", self.read)
        everything = np.ones(len(arrays["label"]), dtype=bool)
        _, held = held_out(arrays["label"], everything, TEST_FRACTION, np.random.default_rng(0))
        test = np.isin(np.arange(len(everything)), held)
        rng = np.random.default_rng(self.seed)
        return self.datasets(arrays, self.chosen_on(arrays["label"], ~test, test, rng))

    def read(self) -> dict[str, np.ndarray]:
        log.warning("reading the furniture libraries in %s (once)", self.path)
        return to_arrays(read_furniture(self.path))


def version(path: Path) -> str:
    """Changes with the libraries and with the labels."""
    sizes = [(path / f"{library}.sh3f").stat().st_size for library in LIBRARIES]
    return hashlib.sha256(repr((sizes, MODELS)).encode()).hexdigest()[:10]


def read_furniture(path: Path) -> Iterator[Cloud]:
    """Points on every labelled model, class after class."""
    catalogues = {library: read_catalogue(path / f"{library}.sh3f") for library in LIBRARIES}
    archives = {library: zipfile.ZipFile(path / f"{library}.sh3f") for library in LIBRARIES}
    for label, libraries in enumerate(MODELS.values()):
        for library, names in libraries.items():
            for name in names.split():
                if name not in catalogues[library]:
                    raise UserError(f"{path / library}.sh3f has no model {name}: version 1.8 of the package has it")
                mesh = read_model(archives[library], catalogues[library][name])
                yield cloud_of(mesh, f"{library}/{name}", label, test=False)
