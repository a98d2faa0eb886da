"""Runs of `python train.py` as processes of their own, that can be killed, and what they leave behind."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

TESTS = Path(__file__).parents[1]
REPOSITORY = TESTS.parent
SMALL = (
    "data.train_size=600",
    "data.val_size=100",
    "data.test_size=100",
    "model.layers=2",
    "model.channels=16",
    "trainer=cpu",
    "trainer.max_epochs=4",
    "trainer.log_every_n_steps=3",
)
"""EGNN on a subset of QM9: four epochs of seven batches, about half a second each."""
NOISY = (
    "model=mean",
    "model._target_=runs.noisy.Noisy",
    "+model.running_means=true",
    *(option for option in SMALL if not option.startswith("model.")),
)
FOREIGN = re.compile("SLURM|PMI|(LOCAL_|NODE_|GROUP_)?(RANK|WORLD_SIZE)$|MASTER_|PL_|ERLANGEN_|COV_|PYTEST")


def clean_environment() -> dict[str, str]:
    """This process's, without what would make a child believe in a cluster; `runs.noisy` can be imported and is trusted."""
    kept = {name: value for name, value in os.environ.items() if not FOREIGN.match(name)}
    return kept | {
        "PYTHONPATH": str(TESTS),
        "ERLANGEN_TRUST": "runs",
        "OMP_NUM_THREADS": "1",
        "GLOO_SOCKET_IFNAME": "lo",
    }


class Training:
    """One `python train.py …`, in a session of its own."""

    def __init__(self, runs: Path, data: Path, *options: str, environment: dict[str, str] | None = None, **popen: Any):
        self.runs, self.log = runs, runs.with_suffix(".log")
        runs.parent.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, str(REPOSITORY / "train.py"), *options, f"paths.runs={runs}", f"paths.data={data}"]
        with self.log.open("a") as log:
            self.process = subprocess.Popen(
                command, stdout=log, stderr=log, start_new_session=True, env=environment or clean_environment(), **popen
            )

    def kill(self) -> None:
        """SIGKILL to every process of the session, at once."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(30)

    def kill_when(self, ready: Callable[[], bool], timeout: float = 120) -> None:
        """Kills as soon as `ready` says so; the run must not have ended before."""
        until = time.monotonic() + timeout
        try:
            while not ready():
                assert self.process.poll() is None, f"ended before it could be killed:\n{self.output}"
                assert time.monotonic() < until, f"never came so far:\n{self.output}"
                time.sleep(0.005)
        finally:
            if self.process.poll() is None:
                self.kill()

    def finish(self, timeout: float = 180) -> int:
        """The exit code; whatever still lives after `timeout` seconds is killed."""
        try:
            return self.process.wait(timeout)
        finally:
            if self.process.poll() is None:
                self.kill()

    @property
    def output(self) -> str:
        return self.log.read_text()

    @property
    def folder(self) -> Path:
        """The run's folder, once it is there."""
        return next(path for path in self.runs.iterdir() if not path.name.startswith("."))

    def has_checkpoint(self) -> bool:
        return any(self.runs.glob("*/checkpoints/last.ckpt"))

    def saved_step(self) -> int:
        """The step of last.ckpt; 0 where there is none, as for a moment whenever a new one takes its place."""
        return max(
            (read_checkpoint(path).get("global_step", 0) for path in self.runs.glob("*/checkpoints/last.ckpt")),
            default=0,
        )


def outcome(folder: Path) -> dict[str, Any]:
    """All that an interruption must not change."""
    last, best = (read_checkpoint(folder / "checkpoints" / f"{name}.ckpt") for name in ("last", "best"))
    result = json.loads((folder / "result.json").read_text())
    names = ("state_dict", "current_model_state", "averaging_state", "optimizer_states", "lr_schedulers")
    return {
        **{name: last.get(name) for name in names},
        "best": best.get("state_dict"),
        "metrics.csv": (folder / "metrics.csv").read_text(),
        **{name: result[name] for name in ("metrics", "epochs", "steps")},
    }


def read_checkpoint(path: Path) -> dict[str, Any]:
    """{} where there is none: a run without a validation has no best."""
    return torch.load(path, weights_only=True) if path.exists() else {}


def differences(left: Any, right: Any, where: str = "") -> list[str]:
    """The places where two nested outcomes are not equal, tensors to the last bit."""
    if isinstance(left, Mapping) and isinstance(right, Mapping) and left.keys() == right.keys():
        return [found for key in left for found in differences(left[key], right[key], f"{where}/{key}")]
    if isinstance(left, list | tuple) and isinstance(right, list | tuple) and len(left) == len(right):
        pairs = enumerate(zip(left, right, strict=True))
        return [found for index, pair in pairs for found in differences(*pair, f"{where}/{index}")]
    same = torch.equal(left, right) if isinstance(left, torch.Tensor) else left == right
    return [] if same else [f"{where}: {left!r} is not {right!r}"]
