"""What a fault may do, and what it must leave: runs in forks of the test's own process, killed, and looked at afterwards."""

import json
import multiprocessing
import os
import random
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from omegaconf import OmegaConf

from erlangen.evidence.collect import read_run
from erlangen.runs.checkpoints import load, newest_intact
from erlangen.runs.metrics_csv import read_metrics
from erlangen.train import main

DIGITS = (
    "model=mlp",
    "data=digits",
    "data.train_size=256",
    "data.batch_size=32",
    "trainer=cpu",
    "trainer.max_epochs=3",
    "trainer.log_every_n_steps=1",
)
"""Three epochs of eight batches on data that need no download, in about a second; a checkpoint holds 3.6 MB."""
PNG_END = b"IEND\xaeB`\x82"


class Forked:
    """A function in a fork of this process, which has imported everything already; what it prints goes to a file."""

    def __init__(self, log: Path, function: Callable[..., Any], *arguments: Any):
        self.log = log
        self.process = multiprocessing.get_context("fork").Process(target=self._run, args=(function, *arguments))
        self.process.start()

    def _run(self, function: Callable[..., Any], *arguments: Any) -> None:
        os.setsid()
        sys.stdout = sys.stderr = self.log.open("a", buffering=1)
        torch.set_num_threads(1)
        function(*arguments)

    def kill(self) -> bool:
        """SIGKILL to it and to all that it started; False where it had ended before."""
        if self.process.exitcode is None:
            try:
                os.killpg(self.process.pid, signal.SIGKILL)
            except ProcessLookupError:  # it has no session yet
                self.process.kill()
        return self.finish() == -signal.SIGKILL

    def finish(self, timeout: float = 120) -> int:
        self.process.join(timeout)
        if self.process.exitcode is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            raise AssertionError(f"does not end:\n{self.output}")
        return self.process.exitcode

    def wait_until(self, ready: Callable[[], bool], timeout: float = 60) -> None:
        until = time.monotonic() + timeout
        while not ready():
            assert self.process.exitcode is None, f"ended too early:\n{self.output}"
            assert time.monotonic() < until, f"never came so far:\n{self.output}"
            time.sleep(0.001)

    @property
    def output(self) -> str:
        return self.log.read_text() if self.log.exists() else ""


class ForkedRun(Forked):
    """`python train.py OPTIONS` in a fork; what it prints goes to `log`, else beside its runs."""

    def __init__(self, runs: Path, *options: str, log: Path | None = None):
        self.runs = runs
        self.before = {path: signature(path) for path in runs.rglob("*")}
        arguments = ("train.py", *options, f"paths.runs={runs}", f"paths.data={runs}.data")
        super().__init__(log or runs.with_suffix(".log"), command_line, arguments)

    @property
    def folder(self) -> Path | None:
        """The run's folder, None before it is there."""
        folders = [path for path in self.runs.glob("*") if not path.name.startswith(".")]
        return folders[0] if folders else None

    def has_written(self, name: str) -> bool:
        """Whether this attempt, not an earlier one, has touched a file of its run."""
        path = self.folder / name if self.folder else self.runs / name
        return signature(path) not in (None, self.before.get(path))


def signature(path: Path) -> tuple[int, int, int] | None:
    """Changes when a file is written; None where there is none (any more)."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns


def command_line(arguments: tuple[str, ...]) -> None:
    sys.argv = list(arguments)
    main()


def assert_nothing_half_written(folder: Path) -> None:
    """Every file that stands under its own name can be read whole, and `report` knows what to make of the run."""
    for path in folder.rglob("*"):
        if path.is_dir() or path.name.startswith("."):
            continue
        if path.suffix == ".json":
            json.loads(path.read_text())
        elif path.suffix == ".yaml":
            OmegaConf.load(path)
        elif path.suffix == ".ckpt":
            load(path)
        elif path.suffix == ".npz":
            with np.load(path) as table:
                assert all(len(table[name]) == len(table["id"]) for name in table.files)
        elif path.suffix == ".png":
            assert path.read_bytes().endswith(PNG_END), path
        elif path.name == "metrics.csv":
            assert path.stat().st_size == 0 or len(read_metrics(path)) >= 0
        else:
            raise AssertionError(f"what is {path}?")
    if not (folder / "config.yaml").exists():  # killed while it was made: to `report` there is no run yet
        assert not (folder / "state.json").exists()
        return
    run = read_run(folder)
    assert run.state in ("new", "interrupted", "failed", "finished"), (run.state, run.detail)
    assert (run.state == "finished") <= (folder / "result.json").exists()


def saved_step(folder: Path | None) -> int:
    """The step from which a resumed run would go on."""
    newest = newest_intact(folder / "checkpoints") if folder else None
    return load(newest)["global_step"] if newest else 0


Moment = tuple[Callable[[ForkedRun], bool], float]
"""When a kill may come: what the attempt has done, and the longest time after that, in seconds."""


def kill_repeatedly(
    start: Callable[[bool], ForkedRun], moments: list[Moment], rng: random.Random
) -> tuple[ForkedRun, int]:
    """Kills a run at each of the moments in turn, unless it finishes before; then lets it finish.

    Args:
        start: starts an attempt, given whether to resume.

    Returns:
        The last attempt, and how often it was killed.
    """
    run, at, kills = start(False), 0, 0
    for ready, longest in moments:
        run.wait_until(lambda: run.process.exitcode is not None or ready(run))  # noqa: B023
        time.sleep(rng.uniform(0, longest))
        if not run.kill():
            break
        kills += 1
        if run.folder is not None:
            assert_nothing_half_written(run.folder)
            assert saved_step(run.folder) >= at, "a checkpoint was lost"
            at = saved_step(run.folder)
        run = start(True)
    assert run.finish() == 0, run.output
    return run, kills
