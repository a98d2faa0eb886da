"""The three forms in which ModelNet is to be had: OFF meshes, h5 files with 2,048 points, txt files with normals.

All give the same arrays: pos (clouds, 2048, 3) float32 with z upright, normal (the same shape, where the form has them),
label (clouds,), test (clouds,) bool and name (clouds,). The h5 and txt files have y upright (their authors' code turns
them about y as "the up direction") and are turned on reading, so that "z" means the upright axis in every form.
"""

import hashlib
import http.client
import io
import logging
import re
import zipfile
from collections.abc import Callable, Iterable, Iterator
from difflib import get_close_matches
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np

from ...errors import UserError
from ..clouds import POINTS, Cloud, cloud_of, to_arrays, upright
from .cache import md5 as md5_of
from .cache import sha256 as sha256_of
from .download import fetch_into
from .off import parse_numbers, read_off

log = logging.getLogger("erlangen")

FORTY = [
    "airplane",
    "bathtub",
    "bed",
    "bench",
    "bookshelf",
    "bottle",
    "bowl",
    "car",
    "chair",
    "cone",
    "cup",
    "curtain",
    "desk",
    "door",
    "dresser",
    "flower_pot",
    "glass_box",
    "guitar",
    "keyboard",
    "lamp",
    "laptop",
    "mantel",
    "monitor",
    "night_stand",
    "person",
    "piano",
    "plant",
    "radio",
    "range_hood",
    "sink",
    "sofa",
    "stairs",
    "stool",
    "table",
    "tent",
    "toilet",
    "tv_stand",
    "vase",
    "wardrobe",
    "xbox",
]
TEN = ["bathtub", "bed", "chair", "desk", "dresser", "monitor", "night_stand", "sofa", "table", "toilet"]
CLASSES = {40: FORTY, 10: TEN}
SIZES = {("mesh", 40): (9843, 2468), ("txt", 40): (9843, 2468), ("h5", 40): (9840, 2468)}
SIZES |= {("mesh", 10): (3991, 908), ("txt", 10): (3991, 908)}
"""Training and test shapes; the authors of the h5 form left three out."""

STANFORD = "https://shapenet.cs.stanford.edu/media/"


class Archive(NamedTuple):
    """Where a form comes from; its folder has the archive's name without `.zip`."""

    url: str
    md5: str | None = None

    @property
    def folder(self) -> str:
        return PurePosixPath(self.url).stem


NORMALS = Archive(STANFORD + "modelnet40_normal_resampled.zip")
ARCHIVES = {
    ("mesh", 10): Archive("https://vision.princeton.edu/projects/2014/3DShapeNets/ModelNet10.zip"),
    ("mesh", 40): Archive("https://modelnet.cs.princeton.edu/ModelNet40.zip"),
    ("h5", 40): Archive(STANFORD + "modelnet40_ply_hdf5_2048.zip", "c9ab8e6dfb16f67afdab25e155c79e59"),
    ("txt", 40): NORMALS,
    ("txt", 10): NORMALS,
}


Files = dict[str, Callable[[], bytes]]
"""The files of a folder or a zip archive, by their path in it, in sorted order."""


def find(root: Path, archive: Archive) -> Path | None:
    """The folder or the zip file of a form in root, None if there is neither."""
    places = (root / archive.folder, root / f"{archive.folder}.zip")
    return next((path for path in places if path.exists()), None)


def download(root: Path, archive: Archive) -> Path:
    """The zip file of a form, fetched into root; a download that was stopped goes on where it ended."""
    path = root / f"{archive.folder}.zip"
    partial = path.with_name(path.name + ".part")
    log.warning("downloading %s to %s", archive.url, path)
    try:
        root.mkdir(parents=True, exist_ok=True)
        fetch_into(partial, archive.url)
    except (http.client.HTTPException, OSError) as error:
        raise UserError(
            f"could not download {archive.url} ({error}): put the file at {path} by hand, or try again"
        ) from None
    partial.rename(path)
    return path


def verify(path: Path, archive: Archive) -> None:
    """Raises UserError where a zip file is not what it was when it was first used, or not what its authors published.

    No checksum of most of these archives was ever published, so the SHA-256 is written beside the file on first use.
    """
    if path.is_dir():
        return
    if archive.md5 and md5_of(path) != archive.md5:
        raise UserError(f"{path} should have MD5 {archive.md5}: remove it and get it again from {archive.url}")
    pin, found = path.with_name(path.name + ".sha256"), sha256_of(path)
    if not pin.exists():
        partial = pin.with_name(pin.name + ".part")
        partial.write_text(f"{found}  {path.name}\n")
        partial.replace(pin)
    elif pin.read_text().split()[0] != found:
        raise UserError(
            f"{path} has SHA-256 {found} and had another when it was first used ({pin.name}): remove both and get it again"
        )


def open_zip(path: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(path)
    except zipfile.BadZipFile as error:
        raise UserError(f"{path} is damaged ({error}): remove it and get it again") from None


def files_of(path: Path) -> Files:
    """The files of a folder or a zip archive; hidden ones and those of `__MACOSX` are left out."""
    if path.is_dir():
        files: Files = {
            file.relative_to(path).as_posix(): file.read_bytes for file in path.rglob("*") if file.is_file()
        }
    else:
        archive = open_zip(path)
        files = {name: lambda name=name: archive.read(name) for name in archive.namelist() if not name.endswith("/")}
    litter = re.compile(r"(^|/)(__MACOSX/|\.[^/]*$)")
    return {name: files[name] for name in sorted(files) if not litter.search(name)}


def fingerprint(path: Path) -> str:
    """Changes when the files do: ten hexadecimal digits of names, sizes and times (of a zip: names and checksums)."""
    if path.is_dir():
        stats = ((file.relative_to(path).as_posix(), file.stat()) for file in sorted(path.rglob("*")) if file.is_file())
        text = repr([(name, stat.st_size, stat.st_mtime_ns) for name, stat in stats])
    else:
        with open_zip(path) as archive:
            text = repr([(info.filename, info.file_size, info.CRC) for info in archive.infolist()])
    return hashlib.sha256(text.encode()).hexdigest()[:10]


def read_clouds(path: Path, form: str, classes: int) -> dict[str, np.ndarray]:
    """Every cloud of a folder or zip file, as arrays."""
    log.warning("reading %s (once)", path)
    read = {"mesh": read_mesh_form, "h5": read_h5_form, "txt": read_txt_form}[form]
    try:
        return to_arrays(read(files_of(path), classes, str(path)))
    except zipfile.BadZipFile as error:
        raise UserError(f"{path} is damaged ({error}): remove it and get it again") from None


def read_mesh_form(files: Files, classes: int, where: str) -> Iterator[Cloud]:
    """Points sampled from `class/train/*.off` and `class/test/*.off`, seeded by each file's path."""
    meshes = {name: load for name, load in files.items() if name.endswith(".off")}
    places = {name: off_place(name, classes, where) for name in meshes}
    require_all_classes(places.values(), classes, where)
    for name, load in meshes.items():
        key = "/".join(PurePosixPath(name).parts[-3:]).removesuffix(".off")
        yield cloud_of(read_off(load(), f"{where}/{name}"), key, *places[name])


def off_place(name: str, classes: int, where: str) -> tuple[int, bool]:
    """The label of an OFF file, and whether it is a test shape, from its folders."""
    parts = PurePosixPath(name).parts
    if len(parts) < 3 or parts[-2] not in ("train", "test"):
        raise UserError(f"{where}/{name} should lie in a folder CLASS/train or CLASS/test")
    return label_of(parts[-3], classes, where), parts[-2] == "test"


def label_of(name: str, classes: int, where: str) -> int:
    known = CLASSES[classes]
    if name not in known:
        close = get_close_matches(name, known, n=1)
        hint = f"did you mean {close[0]}?" if close else f"its classes are {', '.join(known)}"
        raise UserError(f"{where}: {name!r} is no class of ModelNet{classes}; {hint}")
    return known.index(name)


def require_all_classes(places: Iterable[tuple[int, bool]], classes: int, where: str) -> None:
    """Raises UserError where a class has no training or no test shape."""
    found = set(places)
    for test, split in ((False, "training"), (True, "test")):
        missing = [name for label, name in enumerate(CLASSES[classes]) if (label, test) not in found]
        if missing:
            raise UserError(
                f"{where} has no {split} shapes of {', '.join(missing)}: ModelNet{classes} is not complete there"
            )


def read_txt_form(files: Files, classes: int, where: str) -> Iterator[Cloud]:
    """The first 2,048 lines `x,y,z,nx,ny,nz` of each file that modelnet{10,40}_{train,test}.txt name."""
    by_name = {PurePosixPath(name).name: load for name, load in files.items()}
    listed = []
    for split in ("train", "test"):
        listing = f"modelnet{classes}_{split}.txt"
        if listing not in by_name:
            raise UserError(f"{where} has no {listing}, which says what its {split} split is")
        listed += [(name, split == "test") for name in by_name[listing]().decode().split()]
    places = {name: (label_of(name.rsplit("_", 1)[0], classes, where), test) for name, test in listed}
    require_all_classes(places.values(), classes, where)
    for name, (label, test) in places.items():
        if f"{name}.txt" not in by_name:
            raise UserError(f"{where} has no {name}.txt, which its lists name")
        lines = by_name[f"{name}.txt"]().split(b"\n", POINTS)[:POINTS]
        numbers = parse_numbers(b" ".join(lines).replace(b",", b" "), f"{where}: {name}.txt")
        if len(numbers) != 6 * POINTS:
            raise UserError(f"{where}: {name}.txt should begin with {POINTS} lines x,y,z,nx,ny,nz and does not")
        points, normals = upright(numbers.reshape(-1, 6)[:, :3]), upright(numbers.reshape(-1, 6)[:, 3:])
        yield Cloud(f"{'test' if test else 'train'}/{name}", label, test, points, normals)


def read_h5_form(files: Files, classes: int, where: str) -> Iterator[Cloud]:
    """The clouds of ply_data_train*.h5 and ply_data_test*.h5, in the order of their numbers."""
    try:
        import h5py
    except ImportError:
        raise UserError(
            "data.form=h5 needs the package h5py: `pip install 'erlangen[h5]'`, or use data.form=mesh"
        ) from None
    pattern = re.compile(r"ply_data_(train|test)(\d+)\.h5$")
    found = sorted((match[1] == "test", int(match[2]), name) for name in files if (match := pattern.search(name)))
    if {test for test, _, _ in found} != {False, True}:
        raise UserError(f"{where} should have files ply_data_train0.h5, … and ply_data_test0.h5, … and has not")
    for test, _, name in found:
        try:
            with h5py.File(io.BytesIO(files[name]())) as file:
                pos, label = file["data"][:], file["label"][:].reshape(-1)
                normal = file["normal"][:] if "normal" in file else None
        except (OSError, KeyError) as error:
            raise UserError(f"{where}/{name} is damaged, or has no data and label ({error})") from None
        fits = pos.shape[1:] == (POINTS, 3) and len(label) == len(pos) > 0
        if not fits or not np.isin(label, range(classes)).all():
            labels = f"{label.min()} to {label.max()}" if len(label) else "none"
            raise UserError(
                f"{where}/{name} should have data (clouds, {POINTS}, 3) and labels below {classes}, and has data {pos.shape} "
                f"and labels {labels}"
            )
        for row in range(len(pos)):
            normals = None if normal is None else upright(normal[row])
            yield Cloud(f"{PurePosixPath(name).stem}/{row}", int(label[row]), test, upright(pos[row]), normals)
