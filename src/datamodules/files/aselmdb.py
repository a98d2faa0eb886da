"""`.aselmdb`: rows of an ASE database as compressed JSON in LMDB, the form in which fairchem 2 keeps its data sets.

Keys are "1".."n" with "nextid" and, perhaps, "deleted_ids" and "metadata"; every value is zlib(JSON) as ASE writes it, an
array as {"__ndarray__": [shape, dtype, numbers]}. Nothing in such a file can be run.

The raw files of OC20's S2EF are converted to it once (`convert`), with the total energy as the row's and the reference beside
it. Under "index" stand the number of atoms and the energies of all rows, so that nothing has to be read to plan batches.
"""

import contextlib
import hashlib
import json
import logging
import os
import sys
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import lmdb
import numpy as np
from ase.data import chemical_symbols
from ase.io.jsonio import encode
from filelock import FileLock
from rich.progress import track

from ...errors import UserError
from .lmdb_shards import Shards, read_value, shard_files
from .oc20_raw import raw_pairs, read_pair
from .structure import Structure, fault

log = logging.getLogger("erlangen")

PAIRS_PER_SHARD = 20
"""Raw files (of 5,000 structures) that make up one `.aselmdb`."""
MAP_SIZE = 1 << 40
"""The most that a file may grow to; it takes no room before."""
KNOWN = len(chemical_symbols) - 1
INDEX = ("natoms", "energy", "reference")


class AseStructures:
    """The structures of one `.aselmdb` file, or of all in a folder.

    Raises:
        UserError: there is none, one is missing or cut off. (Reading may raise it too, naming file and key.)
    """

    def __init__(self, path: Path):
        files = shard_files(path, ".aselmdb") if path.is_dir() else [path]
        self.shards = Shards(files, [keys(file) for file in files])
        expected = {value_of(file, "metadata", {}).get("shards", len(files)) for file in files}
        if path.is_dir() and expected != {len(files)}:
            raise UserError(f"{path} has {len(files)} of {max(expected)} .aselmdb files: convert the raw files again")

    def __len__(self) -> int:
        return len(self.shards)

    def read(self, row: int) -> Structure:
        try:
            return to_structure(decode(self.shards.value(row)))
        except (KeyError, TypeError, ValueError, IndexError, zlib.error) as error:
            reason = f"has no {error}" if isinstance(error, KeyError) else f"is damaged ({error})"
            raise UserError(f"{self.where(row)} {reason}: it is no row of an ASE database with OC20's fields") from None

    def where(self, row: int) -> str:
        return self.shards.where(row)

    def fingerprint(self) -> str:
        return self.shards.fingerprint()

    def summary(self) -> dict[str, np.ndarray] | None:
        """`natoms`, `energy` and `reference` of all structures where the files say, else None."""
        found = [value_of(file, "index", None) for file in self.shards.files]
        if any(
            index is None or len(index["natoms"]) != len(of) for index, of in zip(found, self.shards.keys, strict=True)
        ):
            return None
        return {name: np.concatenate([np.asarray(index[name]) for index in found]) for name in INDEX}


def keys(file: Path) -> range | np.ndarray:
    """The numbers under which a file has rows."""
    following = value_of(file, "nextid", 1)
    deleted = value_of(file, "deleted_ids", [])
    return np.setdiff1d(np.arange(1, following), deleted) if deleted else range(1, following)


def value_of(file: Path, key: str, default: Any) -> Any:
    """What stands under one of the keys that are no rows."""
    content = read_value(file, key)
    try:
        return default if content is None else decode(content)
    except (ValueError, zlib.error) as error:
        raise UserError(f"{file}, key {key!r} is damaged ({error}): get the file again") from None


def decode(content: bytes) -> Any:
    """JSON in zlib, with ASE's arrays."""
    return json.loads(zlib.decompress(content), object_hook=as_array)


def as_array(found: dict[str, Any]) -> Any:
    if "__ndarray__" not in found:
        return found
    shape, dtype, numbers = found["__ndarray__"]
    kind = np.dtype(dtype)
    if kind.kind not in "biuf":
        raise ValueError(f"an array of {kind}")
    return np.array(numbers, kind).reshape(shape)


def to_structure(row: Mapping[str, Any]) -> Structure:
    """From a row. Raises KeyError for a field that is missing."""
    data, more = row.get("data", {}), row.get("key_value_pairs", {})
    z = np.asarray(row["numbers"]).astype(np.int64)
    fixed = np.zeros(len(z), bool)
    for constraint in row.get("constraints", ()):
        if constraint["name"] == "FixAtoms":
            fixed[np.asarray(constraint["kwargs"]["indices"], int)] = True
    extra = {**more, **data}
    reference = extra.get("reference_energy")
    return Structure(
        z=z,
        pos=np.asarray(row["positions"], np.float64),
        cell=np.asarray(row["cell"], np.float64),
        tags=np.asarray(row.get("tags", np.zeros(len(z)))).astype(np.int64),
        fixed=fixed,
        energy=float(row["energy"]),
        reference=None if reference is None else float(reference),
        forces=np.asarray(row["forces"], np.float64) if "forces" in row else None,
        sid=int(str(extra.get("sid", -1)).removeprefix("random")),
        fid=int(extra.get("fid", -1)),
    )


def to_row(structure: Structure) -> dict[str, Any]:
    """The row of an ASE database. It is the same whenever it is made: its times are zero."""
    fixed = np.flatnonzero(structure.fixed)
    held = [{"name": "FixAtoms", "kwargs": {"indices": fixed.tolist()}}] if len(fixed) else []
    return {
        "numbers": structure.z,
        "positions": structure.pos,
        "cell": structure.cell,
        "pbc": np.ones(3, bool),
        "tags": structure.tags,
        "constraints": held,
        "energy": structure.energy,
        "forces": structure.forces,
        "calculator": "unknown",
        "calculator_parameters": {},
        "unique_id": hashlib.md5(f"{structure.sid},{structure.fid}".encode(), usedforsecurity=False).hexdigest(),
        "user": "erlangen",
        "ctime": 0.0,
        "mtime": 0.0,
        "data": {"reference_energy": structure.reference, "sid": structure.sid, "fid": structure.fid},
    }


def convert(raw_folder: Path, output: Path) -> Path:
    """Converts a folder of `N.extxyz.xz` and `N.txt.xz` to `data.NNNN.aselmdb` in a new folder `output`, which it returns.

    Stopped and called again, it goes on with the first raw file that was not finished. `output` appears when it is complete.
    One process converts while others wait.
    """
    partial = output.with_name(f".{output.name}.partial")
    output.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(output.with_name(f".{output.name}.lock")):
        if output.exists():
            return output
        pairs = raw_pairs(raw_folder)
        partial.mkdir(exist_ok=True)
        groups = [pairs[first : first + PAIRS_PER_SHARD] for first in range(0, len(pairs), PAIRS_PER_SHARD)]
        label, hidden = f"converting {raw_folder.name}", not sys.stdout.isatty()
        for _ in track(shard_steps(groups, partial), label, len(pairs), transient=True, disable=hidden):
            pass
        partial.rename(output)
    return output


def shard_steps(groups: list[list[tuple[Path, Path]]], output: Path) -> Iterator[None]:
    """Writes one file for each group; a step is one raw file."""
    for number, group in enumerate(groups):
        path = output / f"data.{number:04d}.aselmdb"
        if path.exists():
            yield from (None for _ in group)
            continue
        partial = path.with_suffix(".partial")
        with contextlib.closing(lmdb.open(str(partial), map_size=MAP_SIZE, subdir=False, lock=False)) as environment:
            for frames, log_file in group:
                append(environment, frames, log_file, shards=len(groups))
                yield
            environment.sync(True)
        os.replace(partial, path)


def append(environment: lmdb.Environment, frames: Path, log_file: Path, shards: int) -> None:
    """Adds one raw file to an LMDB file, whole or not at all; nothing where it is there already."""
    with environment.begin(write=True) as transaction:
        metadata = decode(transaction.get(b"metadata", pack({"shards": shards, "files": []})))
        index = decode(transaction.get(b"index", pack({name: [] for name in INDEX})))
        if frames.name in metadata["files"]:
            return
        for number, structure in enumerate(read_pair(frames, log_file)):
            reason = fault(structure, KNOWN)
            if reason:
                raise UserError(f"{frames}, frame {number}: {reason}; get the file again")
            values = (len(structure.z), structure.energy, structure.reference)
            for name, value in zip(INDEX, values, strict=True):
                index[name].append(value)
            transaction.put(str(len(index["natoms"])).encode(), pack(to_row(structure)))
        metadata["files"].append(frames.name)
        specials = {"nextid": len(index["natoms"]) + 1, "metadata": metadata, "index": index}
        for key, value in specials.items():
            transaction.put(key.encode(), pack(value))


def pack(value: Any) -> bytes:
    return zlib.compress(encode(value).encode())


def main() -> None:
    if len(sys.argv) != 3:
        sys.exit("usage: python -m erlangen.datamodules.files.aselmdb RAW_FOLDER OUTPUT_FOLDER")
    try:
        print(convert(Path(sys.argv[1]), Path(sys.argv[2])))
    except UserError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
