"""OC20's LMDB files: PyG objects, pickled, under the keys "0", "1", … (fairchem's preprocess_ef.py and is2res archives).

IS2RE is one file `data.lmdb`, S2EF a folder of shards. Fields were renamed over the years (`y`, `force` became `energy`,
`forces`), and PyG changed the shape of its objects; all are read. Nothing that a file asks for is run (safe_pickle).
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import UserError
from . import safe_pickle
from .lmdb_shards import HANDLES, Shards, read_value, shard_files
from .structure import Structure
from .torch_pickle import PYG, PickledTensor, fields


class PickledStructures:
    """The structures of one LMDB file, or of all `*.lmdb` in a folder.

    Args:
        path: the file or the folder.

    Raises:
        UserError: there is none, one is missing or cut off. (Reading may raise it too, naming file and key.)
    """

    def __init__(self, path: Path):
        files = shard_files(path, ".lmdb") if path.is_dir() else [path]
        self.shards = Shards(files, [range(count(file)) for file in files])

    def __len__(self) -> int:
        return len(self.shards)

    def read(self, row: int) -> Structure:
        content = self.shards.value(row)
        record = safe_pickle.load(content, PYG, self.where(row))
        try:
            with np.errstate(invalid="ignore"):  # a NaN among atomic numbers, which will be found to be unknown
                return to_structure(fields(record))
        except Exception as error:  # damaged bytes may raise anything
            reason = f"has no {error}" if isinstance(error, KeyError) else f"is damaged ({error})"
            raise UserError(f"{self.where(row)} {reason}: it is no structure of OC20") from None

    def where(self, row: int) -> str:
        return self.shards.where(row)

    def fingerprint(self) -> str:
        return self.shards.fingerprint()


def count(file: Path) -> int:
    """How many structures a file has: under "length", or else its number of entries."""
    length = read_value(file, "length")
    if length is None:
        return HANDLES.get(file).stat()["entries"]
    number = safe_pickle.load(length, {}, f"{file}, key 'length'")
    if not isinstance(number, int):
        raise UserError(f"{file}, key 'length' is {number!r}, no number: get the file again")
    return number


def to_structure(found: Mapping[str, Any]) -> Structure:
    """From the fields of a PyG object. Raises KeyError for one that is missing."""
    relaxed = "y_relaxed" in found
    energy = first(found, "y_relaxed") if relaxed else first(found, "energy", "y", default=np.nan)
    forces = None if relaxed else first(found, "forces", "force", default=None)
    return Structure(
        z=array(found["atomic_numbers"]).astype(np.int64),
        pos=array(found["pos"]),
        cell=array(found["cell"]).reshape(3, 3),
        tags=array(found["tags"]).astype(np.int64),
        fixed=array(found["fixed"]).astype(bool),
        energy=float(array(energy).reshape(())),
        forces=None if forces is None else array(forces),
        relaxed=array(found["pos_relaxed"]) if "pos_relaxed" in found else None,
        sid=int(array(found.get("sid", -1)).reshape(())),
        fid=int(array(found.get("fid", -1)).reshape(())),
    )


MISSING = object()


def first(found: Mapping[str, Any], *names: str, default: Any = MISSING) -> Any:
    """The first of the fields that is there."""
    for name in names:
        if found.get(name) is not None:
            return found[name]
    if default is MISSING:
        raise KeyError(names[0])
    return default


def array(value: Any) -> np.ndarray:
    return value.numpy() if isinstance(value, PickledTensor) else np.asarray(value)
