"""Several LMDB files as one long list of values, opened only when needed, in any number of processes."""

import hashlib
import os
import re
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path

import lmdb
import numpy as np

from ...errors import UserError

OPEN_AT_MOST = 128
"""Files that a process keeps open; OC20's largest split has more of them than a process may open."""


class Handles:
    """The LMDB files that this process has open. A file may be opened once in a process, and not used across a fork."""

    def __init__(self) -> None:
        self.process = os.getpid()
        self.environments: OrderedDict[Path, lmdb.Environment] = OrderedDict()

    def get(self, path: Path) -> lmdb.Environment:
        if self.process != os.getpid():
            self.close()
            self.process = os.getpid()
        if path not in self.environments:
            if len(self.environments) >= OPEN_AT_MOST:
                self.environments.popitem(last=False)[1].close()
            self.environments[path] = open_intact(path)
        self.environments.move_to_end(path)
        return self.environments[path]

    def close(self) -> None:
        while self.environments:
            self.environments.popitem()[1].close()


HANDLES = Handles()


def open_intact(path: Path) -> lmdb.Environment:
    """An LMDB file for reading.

    Raises UserError where it is none, or shorter than it says: reading beyond its end would kill the process.
    """
    try:
        environment = lmdb.open(str(path), subdir=False, readonly=True, lock=False, readahead=False, meminit=False)
    except lmdb.Error as error:
        raise UserError(
            f"{path} is no intact LMDB file ({error}): remove it and get it again from where you had it"
        ) from None
    promised = (environment.info()["last_pgno"] + 1) * environment.stat()["psize"]
    size = path.stat().st_size
    if size < promised:
        environment.close()
        raise UserError(f"{path} is cut off at {size} of {promised} bytes: get it again from where you had it")
    return environment


def read_value(path: Path, key: str) -> bytes | None:
    """The bytes under a key, None where there is no such key."""
    try:
        with HANDLES.get(path).begin() as transaction:
            return transaction.get(key.encode("ascii"))
    except lmdb.Error as error:
        raise UserError(f"{path}, key {key!r}: the file is damaged ({error}): get it again") from None


class Shards:
    """Values that are numbered through from file to file.

    Args:
        files: in the order of their numbers.
        keys: for each file its keys, a range or an array of numbers.
    """

    def __init__(self, files: Sequence[Path], keys: Sequence[range | np.ndarray]):
        self.files, self.keys = list(files), list(keys)
        self.ends = np.cumsum([len(of_file) for of_file in keys])

    def __len__(self) -> int:
        return int(self.ends[-1])

    def find(self, row: int) -> tuple[Path, str]:
        """The file and the key of a value."""
        number = int(np.searchsorted(self.ends, row, side="right"))
        before = int(self.ends[number - 1]) if number else 0
        return self.files[number], str(int(self.keys[number][row - before]))

    def value(self, row: int) -> bytes:
        path, key = self.find(row)
        value = read_value(path, key)
        if value is None:
            raise UserError(f"{path} has no key {key!r}: it is damaged or incomplete, get it again")
        return value

    def where(self, row: int) -> str:
        path, key = self.find(row)
        return f"{path}, key {key!r}"

    def fingerprint(self) -> str:
        """Of the files' names and sizes."""
        described = "\n".join(f"{path.name} {path.stat().st_size}" for path in self.files)
        return hashlib.sha256(described.encode()).hexdigest()[:12]


def shard_files(folder: Path, suffix: str) -> list[Path]:
    """The files of a folder, ordered by their names.

    Raises UserError where they are numbered and a number is missing.
    """
    files = sorted(folder.glob(f"*{suffix}"))
    numbered = {int(match[1]): path for path in files if (match := re.search(r"\.(\d+)\.", path.name))}
    if len(numbered) == len(files) and files:
        for number in range(max(numbered)):
            if number not in numbered:
                raise UserError(f"{folder} lacks its file number {number} (it has {files[0].name} to {files[-1].name})")
        return [numbered[number] for number in sorted(numbered)]
    return files
