"""ModelNet10 and ModelNet40: CAD models to be classified from points on their surface (Wu et al. 2015, arXiv:1406.5670).

The test split is scored once, by the checkpoint that was best on validation shapes taken from the training split.
(Published numbers mostly come from the epoch that was best on the test split, and some from votes over many copies of a
cloud: data.val_fraction=0 and data.votes=10 do the same, under other names.)
"""

import logging
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np

from ..errors import UserError
from .clouds import CloudDataset, PointClouds
from .files.cache import cached_arrays
from .files.modelnet import ARCHIVES, SIZES, download, find, fingerprint, read_clouds, verify
from .synthetic.modelnet import write_miniature

log = logging.getLogger("erlangen")


class ModelNet(PointClouds):
    """ModelNet10 or ModelNet40, in any of the three forms in which it is to be had, or its miniature.

    Args:
        source: official (in root/modelnet, downloaded there if it is missing), miniature, or auto: official if it is
            there, else the miniature.
        classes: 10 or 40.
        form: mesh (OFF files), h5 (2,048 points; 40 classes only) or txt (10,000 points with normals).
        num_points, normals, train_rotation, val_fraction, votes: see clouds.PointClouds. A mesh's normals are its
            triangles', which in ModelNet do not always point outward.
    """

    benchmark = "modelnet"

    def __init__(
        self,
        root: str | Path,
        seed: int,
        source: str,
        classes: int,
        form: str,
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
        if (form, classes) not in ARCHIVES:
            known = ", ".join(f"form={form} classes={classes}" for form, classes in ARCHIVES)
            raise UserError(f"data.form={form} data.classes={classes} does not exist; there are {known}")
        if source not in ("auto", "official", "miniature"):
            raise UserError(f"data.source must be auto, official or miniature, not {source!r}")
        self.asked, self.classes, self.form = source, classes, form
        self.folder = self.root / "modelnet"
        self.archive = ARCHIVES[form, classes]
        if self.source == "miniature" and form != "mesh":
            raise UserError(
                f"data.form={form}: there is no {self.archive.folder} in {self.folder}, and the miniature is OFF meshes: use "
                "data.form=mesh, or data.source=official to download it"
            )

    @cached_property
    def source(self) -> Literal["official", "miniature"]:
        if self.asked == "auto":
            return "official" if find(self.folder, self.archive) else "miniature"
        return "official" if self.asked == "official" else "miniature"

    def load(self) -> dict[str, CloudDataset]:
        arrays = self.arrays()
        rng = np.random.default_rng([self.seed, self.classes])
        return self.datasets(arrays, self.chosen_on(arrays["label"], ~arrays["test"], arrays["test"], rng))

    def arrays(self) -> dict[str, np.ndarray]:
        """All clouds, read once and kept."""
        if self.source == "miniature":
            if self.asked == "auto":
                log.warning(
                    "no %s in %s: using the MINIATURE (synthetic shapes); data.source=official downloads the real data",
                    self.archive.folder,
                    self.folder,
                )
            path = write_miniature(self.folder, self.classes)
        else:
            path = find(self.folder, self.archive) or download(self.folder, self.archive)
        cache = self.folder / f"cache-{self.source}-{self.form}{self.classes}-{fingerprint(path)}"
        arrays = cached_arrays(cache, lambda: self.read(path))
        found = (int((~arrays["test"]).sum()), int(arrays["test"].sum()))
        if self.source == "official" and found != SIZES[self.form, self.classes]:
            log.warning(
                "%s has %d training and %d test shapes; ModelNet%d has %d and %d in this form",
                path,
                *found,
                self.classes,
                *SIZES[self.form, self.classes],
            )
        return arrays

    def read(self, path: Path) -> dict[str, np.ndarray]:
        if self.source == "official":
            verify(path, self.archive)
        return read_clouds(path, self.form, self.classes)
