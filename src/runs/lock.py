"""One process at a time writes a run: a lock that the system takes back from whoever is killed."""

import errno
import fcntl
import logging
import os
import socket
import time
from pathlib import Path

from ..errors import UserError

log = logging.getLogger("erlangen")
PATIENCE = 3.0
"""Seconds for a process that was just ended to be gone."""
TAKEN = (errno.EAGAIN, errno.EACCES)


class RunLock:
    """An exclusive lock, named after a run's folder and beside it, for as long as the file is held.

    A POSIX record lock: it ends with its process however that ends, is not inherited by data workers (which outlive a killed
    run by seconds), and holds between the nodes of a shared file system. Where the file system knows no locks this is said,
    and the run goes on without.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self.file: int | None = None

    @property
    def path(self) -> Path:
        folder = self.folder.absolute()
        return folder.with_name(f".{folder.name}.lock")

    def acquire(self, from_dead: bool = False) -> None:
        """Raises UserError naming the holder where another process has it, OSError where no file can be made.

        Args:
            from_dead: whether the holder is known to be gone though nobody may be able to say so any more (a node that fell
                silent keeps its locks on some file systems): then the lock is taken from it.
        """
        if from_dead:
            self.path.unlink(missing_ok=True)
        until = time.monotonic() + PATIENCE
        while not self._try():
            if time.monotonic() > until:
                raise UserError(
                    f"{self.folder} is being written by another process ({holder(self.path)}): wait for it, or end it"
                )
            time.sleep(0.05)

    def _try(self) -> bool:
        try:
            file = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o666)
        except FileNotFoundError:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            return False
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in TAKEN:
                os.close(file)
                return False
            log.warning(
                "%s cannot be locked (%s): make sure that no other process writes it", self.folder, error.strerror
            )
        if not same_file(file, self.path):  # its holder removed it after we had opened it
            os.close(file)
            return False
        self.file = file
        os.ftruncate(file, 0)
        os.pwrite(file, f"process {os.getpid()} on {socket.gethostname()}".encode(), 0)
        return True

    def release(self) -> None:
        if self.file is not None:
            if same_file(self.file, self.path):  # and was not taken from us
                self.path.unlink()
            os.close(self.file)
            self.file = None


def left_behind(folder: Path) -> bool:
    """Whether the process that wrote a run's folder was killed: its lock is still there, and nobody holds it.

    Not for the process that holds the lock itself, which would lose it.
    """
    try:
        file = os.open(RunLock(folder).path, os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.lockf(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return False  # held, or nobody can tell
    finally:
        os.close(file)
    return True


def same_file(file: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file), os.stat(path))
    except FileNotFoundError:
        return False


def holder(path: Path) -> str:
    try:
        return path.read_text() or "just started"
    except OSError:
        return "just ended"
