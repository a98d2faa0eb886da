"""A run's folder: found again by the same command, written whole or not at all."""

import datetime
import errno
import json
import os
import platform
import re
import shutil
import socket
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from omegaconf import OmegaConf

from ..errors import UserError
from .cluster import job, restarts
from .config import digest
from .lock import RunLock

LOST_RANK = re.compile(
    r"Connection (closed|reset) by peer|Broken pipe|remote process exited|[Tt]imed out waiting|NCCL \w+"
)
"""What torch.distributed says in the processes that are left when one has died."""


class RunFolder:
    """runs/MODEL_DATA_sSEED_HASH: config.yaml, metrics.csv, checkpoints/, plots/, result.json and state.json.

    The name is a function of the resolved configuration, so that a repeated or requeued command finds its folder.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        self.lock = RunLock(self.path)

    @classmethod
    def of(cls, config: dict[str, Any]) -> "RunFolder":
        choices = config["choices"]
        name = f"{choices['model']}_{choices['data']}_s{config['seed']}_{digest(config)}"
        return cls(Path(config["paths"]["runs"]) / name)

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def state(self) -> str:
        """new, running, failed or finished, as last written."""
        return read_json(self.path / "state.json").get("state", "new")

    @property
    def result(self) -> dict[str, Any]:
        return read_json(self.path / "result.json")

    @property
    def config(self) -> dict[str, Any]:
        """The resolved configuration, with the chosen file of every group under "choices"."""
        path = self.path / "config.yaml"
        if not path.exists():
            raise UserError(f"{self.path} is no run: it has no config.yaml")
        return OmegaConf.to_container(OmegaConf.load(path))

    def open(self, config: dict[str, Any]) -> None:
        """Makes the folder ready and this process its only writer, until `close`.

        Raises UserError where another process writes it, or saying what it holds already.
        """
        try:
            self.lock.acquire(from_dead=restarts() > 0 and self.job == job())  # SLURM has seen to the attempt before
            self._check_new(config)
            if not config["resume"]:
                self.clear()
            self.checkpoints.mkdir(parents=True, exist_ok=True)
            self._check_room()
            for left in (*self.path.glob(".*.[0-9]*"), *self.path.glob("plots/.*.[0-9]*")):
                left.unlink()  # of an attempt that was killed in write_bytes
            write_text(self.path / "config.yaml", OmegaConf.to_yaml(OmegaConf.create(config)))
            self.mark("running")
        except OSError as error:
            self.close()
            raise UserError(f"cannot write the run folder {self.path}: {error.strerror} (see paths.runs)") from None
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Lets other processes write the run."""
        self.lock.release()

    def _check_new(self, config: dict[str, Any]) -> None:
        if self.state != "new" and not (config["resume"] or config["overwrite"]):
            raise UserError(
                f"{self.path} holds this run already ({self.state}, {self.progress()}): resume=true goes on with it, "
                "overwrite=true starts afresh"
            )

    def _check_room(self) -> None:
        free = shutil.disk_usage(self.path).free
        if free < 200 << 20:
            raise UserError(
                f"{self.path} has {free >> 20} MB of disk left, a run needs at least 200: free some, or set paths.runs"
            )

    def clear(self) -> None:
        """Removes what is there, at once: whoever is killed while files go leaves no half of a run under its name."""
        rubbish = self.path.with_name(f".{self.path.name}.removed")
        shutil.rmtree(rubbish, ignore_errors=True)  # left by a process that was killed
        if self.path.exists():
            self.path.rename(rubbish)
            shutil.rmtree(rubbish)

    @property
    def job(self) -> str | None:
        """The job of a SLURM cluster that wrote the state last."""
        return read_json(self.path / "state.json").get("job")

    def progress(self) -> str:
        last = read_json(self.path / "state.json")
        return f"{last.get('epoch', 0)} epochs done"

    def mark(self, state: str, **more: Any) -> None:
        """Writes what the run is doing, for `report` and for whoever comes next."""
        write_json(
            self.path / "state.json",
            {"state": state, "time": now(), "host": socket.gethostname(), "pid": os.getpid(), "job": job(), **more},
        )


def as_user_error(error: BaseException, folder: RunFolder) -> BaseException:
    """A UserError for what befalls a run from outside (a full disk, a process that was killed), any other error as it is."""
    go_on = f"then resume=true goes on with {folder.path}"
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        where = error.filename or folder.path
        return UserError(f"cannot write {where}: {error.strerror}; free some space, {go_on}")
    first = (str(error).strip().splitlines() or [""])[0]
    if isinstance(error, RuntimeError) and first.startswith("DataLoader worker"):
        return UserError(f"a process that makes batches died ({first}): mend that (often memory ran out), {go_on}")
    lost = isinstance(error, RuntimeError) and LOST_RANK.search(first)
    if lost:
        return UserError(f"another process of this run has ended ({lost[0]}): mend what it died of, {go_on}")
    return error


def environment() -> dict[str, Any]:
    """What a result depends on beside its configuration."""
    packages = ("torch", "lightning", "torch-geometric", "torchmetrics", "hydra-core", "erlangen")
    if torch.cuda.is_available():
        device = torch.cuda.get_device_name()
    else:
        device = f"{platform.processor() or platform.machine()} CPU, {torch.get_num_threads()} threads"
    return {
        "device": device,
        "versions": {"python": platform.python_version(), **{name: version(name) for name in packages}},
        "git": git_commit(),
    }


def git_commit() -> str:
    """The commit of the source that runs, with + where it was changed since; "" outside a repository."""
    source = Path(__file__).parent
    try:
        head = subprocess.run(
            ["git", "rev-parse", "HEAD"], cwd=source, capture_output=True, text=True, check=True
        ).stdout
        status = ["git", "--no-optional-locks", "status", "--porcelain"]  # a killed run must leave no lock behind
        changed = subprocess.run(status, cwd=source, capture_output=True, text=True, check=True).stdout
    except (subprocess.CalledProcessError, FileNotFoundError):
        return ""
    return head.strip() + ("+" if changed.strip() else "")


def now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def read_json(path: Path) -> dict[str, Any]:
    """The object in a file, {} where there is none."""
    try:
        return json.loads(path.read_text())
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from None
    except ValueError as error:
        raise UserError(f"{path} is damaged ({error}): remove it, or the run") from None


def write_json(path: Path, value: dict[str, Any]) -> None:
    write_text(path, json.dumps(value, indent=2, sort_keys=True) + "\n")


def write_text(path: Path, text: str) -> None:
    write_bytes(path, text.encode())


def write_bytes(path: Path, content: bytes) -> None:
    """Replaces a file at once: whoever reads it sees the old content or the new, never a part."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
