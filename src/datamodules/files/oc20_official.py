"""Where the files of OC20 are to be had and how they lie in a folder (fairchem's documentation, docs/core/datasets/oc20.md).

s2ef/200K/train, s2ef/all/val_id, …      LMDB of pickles or .aselmdb (this package's conversion puts them there too)
s2ef_train_200K/, s2ef_val_id/, …        the raw files, from archives of the same names
is2re/10k/train/data.lmdb, …             or in is2res_train_val_test_lmdbs/data/, as the archive has it
"""

import logging
import shutil
import tarfile
from pathlib import Path
from typing import NamedTuple

from filelock import FileLock

from ...errors import UserError
from .aselmdb import AseStructures, convert
from .download import fetch
from .oc20_lmdb import PickledStructures

log = logging.getLogger("erlangen")

URL = "https://dl.fbaipublicfiles.com/opencatalystproject/data/"
SIZES = {"s2ef": ("200K", "2M", "20M", "all", "all_md"), "is2re": ("10k", "100k", "all")}
TOGETHER = {"all_md": ("all", "md")}
"""Sizes that are made of several archives: All+MD adds molecular dynamics to all relaxations."""
VALIDATION = ("val_id", "val_ood_ads", "val_ood_cat", "val_ood_both")


class Archive(NamedTuple):
    """One file to download, its MD5, and how many structures it has (0: it has several splits)."""

    name: str
    md5: str
    count: int = 0

    @property
    def folder(self) -> str:
        return self.name.split(".")[0]


S2EF = {
    "200K": Archive("s2ef_train_200K.tar", "f8d0909c2623a393148435dede7d3a46", 200_000),
    "2M": Archive("s2ef_train_2M.tar", "953474cb93f0b08cdc523399f03f7c36", 2_000_000),
    "20M": Archive("s2ef_train_20M.tar", "863bc983245ffc0285305a1850e19cf7", 20_000_000),
    "all": Archive("s2ef_train_all.tar", "12a7087bfd189a06ccbec9bc7add2bcd", 133_934_018),
    "md": Archive("s2ef_md.tar", "9fed845aaab8fb4bf85e3a8db57796e0", 38_315_405),
    "val_id": Archive("s2ef_val_id.tar", "f57f7f5c1302637940f2cc858e789410", 999_866),
    "val_ood_ads": Archive("s2ef_val_ood_ads.tar", "431ab0d7557a4639605ba8b67793f053", 999_838),
    "val_ood_cat": Archive("s2ef_val_ood_cat.tar", "532d6cd1fe541a0ddb0aa0f99962b7db", 999_809),
    "val_ood_both": Archive("s2ef_val_ood_both.tar", "5731862978d80502bbf7017d68c2c729", 999_944),
}
IS2RE = Archive("is2res_train_val_test_lmdbs.tar.gz", "cfc04dd2f87b4102ab2f607240d25fb1")
IS2RE_COUNTS = {"10k": 10_000, "100k": 100_000, "all": 460_328}


def training_count(task: str, size: str) -> int:
    """How many structures the official training split of a task and a size has."""
    if task == "is2re":
        return IS2RE_COUNTS[size]
    return sum(S2EF[part].count for part in TOGETHER.get(size, (size,)))


class Place(NamedTuple):
    """One split of one task.

    Args:
        folder: all of OC20.
        task: s2ef or is2re.
        size: of the training split; one that is made of one archive.
        split: train or one of `VALIDATION`.
    """

    folder: Path
    task: str
    size: str
    split: str

    @property
    def archive(self) -> Archive:
        return IS2RE if self.task == "is2re" else S2EF[self.size if self.split == "train" else self.split]

    @property
    def stored(self) -> Path:
        """Where the split is, or else where it would be put."""
        size = self.size if self.split == "train" else "all"
        bases = [self.folder / self.task]
        if self.task == "is2re":
            bases.append(self.folder / IS2RE.folder / "data" / self.task)
        places = [base / name / self.split for base in bases for name in dict.fromkeys((size, size.lower()))]
        return next((place for place in places if has(place, ".aselmdb") or has(place, ".lmdb")), places[0])

    @property
    def ready(self) -> bool:
        """Whether the split can be opened as it is."""
        return has(self.stored, ".aselmdb") or has(self.stored, ".lmdb")

    @property
    def raw(self) -> Path | None:
        """The folder with the raw files of S2EF, if they are there."""
        outer = self.folder / self.archive.folder
        return next((place for place in (outer, outer / outer.name) if has(place, ".extxyz.xz")), None)

    @property
    def present(self) -> bool:
        """Whether the split is there in some form, if only packed."""
        return self.ready or self.raw is not None or (self.folder / self.archive.name).exists()


def has(folder: Path, suffix: str) -> bool:
    return any(folder.glob(f"*{suffix}"))


def open_split(place: Place) -> AseStructures | PickledStructures:
    """The structures of a split: downloaded, unpacked and converted as far as they are not yet."""
    if not place.ready and place.raw is None:
        unpack(place.folder, place.archive)
    if not place.ready and place.task == "s2ef" and place.raw is not None:
        convert(place.raw, place.stored)
    if not place.ready:
        target = place.folder / place.archive.folder
        raise UserError(
            f"{target} has nothing of {place.split}: remove it, to have {place.archive.name} unpacked again"
        )
    return AseStructures(place.stored) if has(place.stored, ".aselmdb") else PickledStructures(place.stored)


def unpack(folder: Path, archive: Archive) -> None:
    """Downloads an archive unless it is there, and unpacks it into a folder of its name, whole or not at all."""
    target, partial = folder / archive.folder, folder / f".{archive.folder}.partial"
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / f".{archive.folder}.lock"):
        if target.exists():
            return
        path = fetch(folder / archive.name, URL + archive.name, md5=archive.md5)
        shutil.rmtree(partial, ignore_errors=True)
        try:
            with tarfile.open(path) as tar:
                tar.extractall(partial, filter="data")
            inner = partial / archive.folder
            (inner if inner.is_dir() else partial).rename(target)
        except (tarfile.TarError, OSError, EOFError) as error:
            raise UserError(f"cannot unpack {path}: {error}") from None
        finally:
            shutil.rmtree(partial, ignore_errors=True)


def check_count(place: Place, found: int) -> None:
    """Raises UserError where a split of S2EF is not as large as published: files are missing."""
    if place.archive.count and found != place.archive.count:
        raise UserError(f"{place.stored} holds {found} structures, should be {place.archive.count}: files are missing")
