"""Arrays that took time to make, kept on disk: written whole or not at all, checked when read, shared by processes."""

import hashlib
import json
import logging
import shutil
import uuid
from collections.abc import Callable
from pathlib import Path

import numpy as np
from filelock import FileLock

log = logging.getLogger("erlangen")


def cached_arrays(folder: Path, build: Callable[[], dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """The arrays in `folder`, memory-mapped; `build` makes them where they are missing or damaged.

    One process builds while the others wait. The folder appears under its name only when it is complete, and every file
    is compared with its SHA-256 before it is used.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.parent / f".{folder.name}.lock"):
        damage = _damage(folder)
        if damage:
            if folder.exists():
                log.warning("the cache %s is damaged (%s): making it again", folder, damage)
            _write(folder, build())
    return {path.stem: np.load(path, mmap_mode="r") for path in sorted(folder.glob("*.npy"))}


def _damage(folder: Path) -> str:
    """What is wrong with a cache, or "" if nothing is."""
    try:
        hashes = json.loads((folder / "manifest.json").read_text())
    except (OSError, json.JSONDecodeError):
        return "no readable manifest.json"
    for name, expected in hashes.items():
        path = folder / name
        if not path.exists():
            return f"{name} is missing"
        if sha256(path) != expected:
            return f"{name} does not match its checksum"
    return ""


def _write(folder: Path, arrays: dict[str, np.ndarray]) -> None:
    temporary = folder.parent / f".{folder.name}.{uuid.uuid4().hex}"
    temporary.mkdir()
    try:
        hashes = {}
        for name, array in arrays.items():
            np.save(temporary / f"{name}.npy", array)
            hashes[f"{name}.npy"] = sha256(temporary / f"{name}.npy")
        (temporary / "manifest.json").write_text(json.dumps(hashes, indent=1))
        shutil.rmtree(folder, ignore_errors=True)
        temporary.rename(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def md5(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
