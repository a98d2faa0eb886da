"""Arrays that took time to make, kept on disk: written whole or not at all, checked when read, shared by processes."""

import hashlib
import json
import logging
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from filelock import FileLock

from ...errors import UserError

log = logging.getLogger("erlangen")
MANIFEST = "manifest.json"


def cached_arrays(folder: Path, build: Callable[[], dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """The arrays in `folder`, memory-mapped; `build` makes them where they are missing or damaged.

    One process builds while the others wait. The folder appears under its name only when it is complete, and every file
    is compared with its SHA-256 before it is used. An intact cache may lie in a place that cannot be written to.

    Raises UserError where a cache must be made and there is no room, or no right to write.
    """
    if _damage(folder):
        lock = FileLock(folder.parent / f".{folder.name}.lock")
        with _writing(folder):
            folder.parent.mkdir(parents=True, exist_ok=True)
            lock.acquire()
        try:
            _rebuild(folder, build)
        finally:
            lock.release()
    return {Path(name).stem: np.load(folder / name, mmap_mode="r") for name in _manifest(folder)}


def _rebuild(folder: Path, build: Callable[[], dict[str, np.ndarray]]) -> None:
    """Builds the cache unless another process has done so while this one waited. The lock is held."""
    damage = _damage(folder)
    if not damage:
        return
    if folder.exists():
        log.warning("the cache %s is damaged (%s): making it again", folder, damage)
    arrays = build()
    temporary = folder.parent / f".{folder.name}.partial"
    with _writing(folder):
        shutil.rmtree(temporary, ignore_errors=True)  # left by a process that was killed
        temporary.mkdir()
        try:
            _write(temporary, arrays)
            shutil.rmtree(folder, ignore_errors=True)
            temporary.rename(folder)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = error.strerror or f"the disk took only a part, {error}"  # numpy's own, without the system's reason
        raise UserError(f"cannot write the cache {folder}: {reason} (see paths.data)") from None


def _damage(folder: Path) -> str:
    """What is wrong with a cache, or "" if nothing is."""
    hashes = _manifest(folder)
    if not hashes:
        return f"no readable {MANIFEST}"
    for name, expected in hashes.items():
        path = folder / name
        if not path.is_file():
            return f"{name} is missing"
        if sha256(path) != expected:
            return f"{name} does not match its checksum"
    return ""


def _manifest(folder: Path) -> dict[str, str]:
    """The SHA-256 of every file, {} where they cannot be read."""
    try:
        hashes = json.loads((folder / MANIFEST).read_text())
    except (OSError, ValueError):
        return {}
    return hashes if isinstance(hashes, dict) else {}


def _write(folder: Path, arrays: dict[str, np.ndarray]) -> None:
    hashes = {}
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)
        hashes[f"{name}.npy"] = sha256(folder / f"{name}.npy")
    (folder / MANIFEST).write_text(json.dumps(hashes, indent=1))


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def md5(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
