"""3DIEBench: views of objects under known rotations and colours of floor and light (Garrido et al., arXiv:2302.10283).

The split files that the papers evaluate on are the test split here, scored once, by the checkpoint that was best on
validation objects taken from the training objects. No object is in two splits.
"""

import logging
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch.utils.data import Dataset

from ..errors import UserError
from ..nn.probes import ProbeRecipe
from ..tasks.batch import TensorBatch
from ..tasks.capabilities import Represents
from ..tasks.normalizer import Statistics
from ..tasks.poses import relative_color, relative_rotation
from ..tasks.representation import RepresentationTask
from ..tasks.spec import Field, Spec
from .base import DataModule
from .files import threediebench as files
from .files.cache import cached_arrays
from .images import Source, choose_source
from .sampling import InOrder
from .synthetic import threediebench as miniature
from .turning import Turning, turned_pictures

log = logging.getLogger("erlangen")

CACHE_LIMIT = 4 << 30
"""Bytes of pixels up to which all views are decoded once and kept; beyond, a view is decoded when it is asked for."""
VIEWS = {"official": 50, "miniature": miniature.VIEWS}
CLASSES = {"official": 55, "miniature": len(miniature.CLASSES)}
OFFICIAL_SIZES = (41_920, 10_552)
"""Training and test objects of the benchmark."""

Pixels = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""(objects, views of each) -> their pictures (objects, views, 3, height, width), bytes."""


class ViewsDataset(Dataset):
    """Objects seen several times. `dataset[indices]` is a TensorBatch with one row an object:

    images (objects, views, 3, height, width) from 0 to 1, latents (objects, views, latents), label (objects,), id, and
    what leads from each view to the next: rotation (objects, views - 1, 4), a quaternion (w, x, y, z) of R_1^-1 R_2, and
    color (objects, views - 1, 2), the differences of floor and light hue.

    Args:
        pixels: see Pixels.
        latents, labels: of all objects; an object's position is its id.
        index: the objects of this split.
        views: how many different views to draw at random; None for all of them in order.
    """

    def __init__(
        self,
        pixels: Pixels,
        latents: Float[np.ndarray, "objects views latents"],
        labels: Int[np.ndarray, " objects"],
        index: Int[np.ndarray, " split"],
        views: int | None,
    ):
        self.pixels, self.latents, self.labels, self.index, self.views = pixels, latents, labels, index, views

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, indices: np.ndarray | list[int]) -> TensorBatch:
        rows = self.index[np.asarray(indices)]
        chosen = self.choose(len(rows))
        latents = torch.from_numpy(np.asarray(self.latents[rows[:, None], chosen])).float()
        return TensorBatch(
            images=torch.from_numpy(self.pixels(rows, chosen)).float().div_(255),
            **motion(latents),
            label=torch.from_numpy(self.labels[rows]),
            id=torch.from_numpy(rows),
        )

    def choose(self, objects: int) -> Int[np.ndarray, "objects views"]:
        there = self.latents.shape[1]
        if self.views is None:
            return np.broadcast_to(np.arange(there), (objects, there))
        return torch.rand(objects, there).argsort(1)[:, : self.views].numpy()


def motion(latents: Float[torch.Tensor, "objects views latents"]) -> dict[str, torch.Tensor]:
    """The latents, and what leads from each view to the next."""
    before, after = latents[:, :-1], latents[:, 1:]
    return {
        "latents": latents,
        "rotation": relative_rotation(before, after),
        "color": relative_color(before, after),
    }


class ThreeDIEBench(DataModule):
    """The benchmark or its miniature; every object of a batch is shown `views` times.

    Args:
        root, seed, batch_size, eval_batch_size, num_workers: see DataModule.
        source: official (in root/3diebench: the folder 3DIEBench and the four split files), miniature, or auto.
        views: of an object in a training batch, 2 or more.
        resolution: height and width in pixels that views are scaled to, or, in the miniature, rendered at.
        val_fraction: the part of the training objects that validates.
        split_seed: draws it.
        quick_objects: training objects for the probes that watch the training (tasks.representation).
        probe_epochs, probe_batch_size, probe_lr, probe_width: of the final protocol's probes (nn.probes).
    """

    modality = "views"
    requires = (Represents,)
    benchmark: ClassVar[str] = "3diebench"
    latent_count: ClassVar[int] = 7
    origin: ClassVar[str] = "unpack https://dl.fbaipublicfiles.com/SIE/3DIEBench.tar.gz, 17 GB, there"

    def __init__(
        self,
        root: str | Path,
        seed: int,
        source: str,
        views: int,
        resolution: int,
        val_fraction: float,
        split_seed: int,
        quick_objects: int,
        probe_epochs: int,
        probe_batch_size: int,
        probe_lr: float,
        probe_width: int,
        batch_size: int,
        eval_batch_size: int,
        num_workers: int = 0,
    ):
        super().__init__(root, seed, batch_size, eval_batch_size, num_workers)
        self.folder = self.root / self.benchmark
        self.source: Source = choose_source(source, present=files.is_there(self.folder))
        self.fell_back = source == "auto" and self.source == "miniature"
        if not 2 <= views <= VIEWS[self.source]:
            raise UserError(f"data.views must lie between 2 and {VIEWS[self.source]} ({self.source} data), not {views}")
        if not 8 <= resolution <= 256:
            raise UserError(f"data.resolution must lie between 8 and 256, not {resolution}")
        if not 0 < val_fraction < 1:
            raise UserError(f"data.val_fraction must lie between 0 and 1, not {val_fraction}")
        self.views, self.resolution = views, resolution
        self.val_fraction, self.split_seed, self.quick_objects = val_fraction, split_seed, quick_objects
        self.recipe = ProbeRecipe(probe_epochs, probe_batch_size, probe_lr, probe_width)

    @property
    def spec(self) -> Spec:
        return Spec(
            benchmark=self.benchmark,
            modality=self.modality,
            split=f"official test objects, {self.val_fraction:g} of the others for validation (seed {self.split_seed}), "
            f"{self.resolution} px",
            source=self.source,
            targets=(),
            fields={
                "images": Field(level="graph", irreps="", shape=(self.views, 3, self.resolution, self.resolution)),
                "latents": Field(level="graph", irreps="", shape=(self.views, self.latent_count)),
                "rotation": Field(level="graph", irreps="", shape=(self.views - 1, 4)),
                "color": Field(level="graph", irreps="", shape=(self.views - 1, 2)),
            },
        )

    @property
    def training_samples(self) -> int | None:
        if self.source == "miniature":
            return None
        return OFFICIAL_SIZES[0] - max(1, round(self.val_fraction * OFFICIAL_SIZES[0]))

    @property
    def task(self) -> RepresentationTask:
        return RepresentationTask(self.spec, CLASSES[self.source], self.train_views, self.recipe, self.quick_objects)

    def statistics(self) -> dict[str, Statistics]:
        return {}

    def load(self) -> dict[str, Dataset]:
        pixels, latents, labels, test = self.arrays
        index = self.split_indices(test)
        views = {"train": self.views, "val": None, "test": None}
        return {name: ViewsDataset(pixels, latents, labels, index[name], views[name]) for name in views}

    def train_views(self, objects: int | None) -> Iterator[TensorBatch]:
        """All views of the training objects, or of the first so many, in order."""
        pixels, latents, labels, test = self.arrays
        dataset = ViewsDataset(pixels, latents, labels, self.split_indices(test)["train"], None)
        for _, indices in InOrder(min(objects or len(dataset), len(dataset)), self.eval_batch_size):
            yield dataset[indices]

    def turning(self, objects: int, steps: int) -> Turning:
        """Test objects on a turntable; the official data have none, so that their pictures are turned instead."""
        if self.source == "official":
            return turned_pictures(self.splits["test"][np.arange(objects)].images[:, 0], steps)
        pictures, latents = miniature.turntable(objects, steps, self.resolution, self.latent_count == 10)
        images = torch.from_numpy(pictures).movedim(-1, 2).float() / 255
        numbers = torch.arange(len(images))
        batch = TensorBatch(images=images, **motion(torch.from_numpy(latents).float()), label=numbers, id=numbers)
        return Turning(batch, torch.linspace(-90, 90, steps), "the object turns about the vertical")

    def split_indices(self, test: np.ndarray) -> dict[str, Int[np.ndarray, " split"]]:
        training = np.random.default_rng(self.split_seed).permutation(np.flatnonzero(~test))
        held_out = max(1, round(self.val_fraction * len(training)))
        return {"train": training[held_out:], "val": np.sort(training[:held_out]), "test": np.flatnonzero(test)}

    @cached_property
    def arrays(self) -> tuple[Pixels, np.ndarray, np.ndarray, np.ndarray]:
        """Pixels, latents, labels, and which objects are test objects; the files are read once and what is small is kept."""
        root = self.find()
        views = VIEWS[self.source]
        folders, labels, test = self.whole_objects(root)
        keep = len(folders) * views * 3 * self.resolution**2 <= CACHE_LIMIT

        def read() -> dict[str, np.ndarray]:
            arrays = {"latents": files.read_latents(root / files.IMAGES, folders, views, self.latent_count)}
            if keep:
                arrays["images"] = files.read_images(root / files.IMAGES, folders, views, self.resolution)
            return arrays

        key = files.fingerprint(root.name, "\n".join(folders), views, self.resolution if keep else None)
        arrays = cached_arrays(self.folder / f"cache-{self.source}-{key}", read)
        pixels = Kept(arrays["images"]) if keep else Files(root / files.IMAGES, folders, self.resolution)
        return pixels, arrays["latents"], labels, test

    def find(self) -> Path:
        """The folder of the data, made if it is the miniature's."""
        if self.source == "official":
            if not files.is_there(self.folder):
                raise UserError(
                    f"{self.folder} should hold the folder {files.IMAGES} ({self.origin}) and train_images.npy, "
                    "train_labels.npy, val_images.npy and val_labels.npy (data/ of github.com/facebookresearch/SIE)"
                )
            return self.folder
        if self.fell_back:
            log.warning(
                "data=%s: no %s and split files in %s: using the MINIATURE (rendered shapes); data.source=official says how to "
                "get the real data",
                self.benchmark,
                files.IMAGES,
                self.folder,
            )
        return miniature.write_miniature(self.folder, self.resolution, translation=self.latent_count == 10)

    def whole_objects(self, root: Path) -> tuple[list[str], Int[np.ndarray, " objects"], np.ndarray]:
        """Folders, labels and whether in the official test split, of the objects that lack no view; the others are counted."""
        splits = [files.read_objects(root, split, CLASSES[self.source]) for split in files.SPLITS]
        folders = [folder for split in splits for folder in split.folders]
        if len(set(folders)) < len(folders):
            twice = next(folder for folder in folders if folders.count(folder) > 1)
            raise UserError(f"the split files in {root} name {twice} twice: an object belongs to one split, once")
        labels = np.concatenate([split.labels for split in splits])
        test = np.repeat([False, True], [len(split.folders) for split in splits])
        lacking = files.incomplete(root / files.IMAGES, folders, VIEWS[self.source])
        if lacking:
            name, whole = next(iter(lacking.items()))
            found = (
                f"{len(lacking)} of {len(folders)} objects in {root / files.IMAGES} lack views (the first: {name} has "
            )
            found += f"{whole} of {VIEWS[self.source]})"
            kept = np.array([folder not in lacking for folder in folders])
            if (kept & ~test).sum() < 2 or not (kept & test).any():
                raise UserError(f"{found}: too few are left")
            log.warning("%s: they are left out, and the results are not the benchmark's", found)
            folders, labels, test = [f for f in folders if f not in lacking], labels[kept], test[kept]
        elif self.source == "official" and (found := (int((~test).sum()), int(test.sum()))) != OFFICIAL_SIZES:
            log.warning(
                "the split files in %s name %d training and %d test objects; 3DIEBench has %d and %d",
                root,
                *found,
                *OFFICIAL_SIZES,
            )
        return folders, labels, test


class ThreeDIEBenchT(ThreeDIEBench):
    """3DIEBench-T, whose objects are also shifted: three more latents (Konstantinou et al., arXiv:2506.09895)."""

    benchmark = "3diebench_t"
    latent_count = 10
    origin = "rendered by the script of github.com/AberdeenML/EquiCaps"


class Kept:
    """Views that were decoded before."""

    def __init__(self, images: UInt8[np.ndarray, "objects views 3 height width"]):
        self.images = images

    def __call__(self, objects: np.ndarray, views: np.ndarray) -> np.ndarray:
        return np.asarray(self.images[objects[:, None], views])


class Files:
    """Views decoded from their files when they are asked for."""

    def __init__(self, images: Path, folders: list[str], resolution: int):
        self.images, self.folders, self.resolution = images, folders, resolution

    def __call__(self, objects: np.ndarray, views: np.ndarray) -> np.ndarray:
        return np.stack(
            [
                np.stack(
                    [
                        files.read_image(self.images / self.folders[i] / f"image_{view}.jpg", self.resolution)
                        for view in row
                    ]
                )
                for i, row in zip(objects, views, strict=True)
            ]
        )
