"""Kills at any line of the code that keeps a run, and at any line of the trainer's loops.

Each attempt is a fork of this process that kills itself with SIGKILL when it comes to a line drawn at random, counted in
executed lines; so also between two renames of files, half way through a row of metrics.csv, or in the middle of a validation.
"""

import multiprocessing
import os
import random
import re
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from runs.command import TINY
from runs.training_process import differences, outcome

from erlangen.train import main

WATCHED = re.compile(
    r"(runs/\w+|src/train|loops/(fit|training_epoch|evaluation)_loop|callbacks/(weight_av|early)\w+)\.py$"
)


def attempt(options: tuple[str, ...], die_at: int, log: Path) -> int:
    """Trains in a fork; the exit code is -SIGKILL where it came to line `die_at`."""
    process = multiprocessing.get_context("fork").Process(target=train, args=(options, die_at, log))
    process.start()
    process.join(120)
    assert process.exitcode is not None, "does not end"
    return process.exitcode


def train(options: tuple[str, ...], die_at: int, log: Path) -> None:
    sys.argv = ["train.py", *options]
    sys.stdout = sys.stderr = log.open("a", buffering=1)
    lines = 0

    def count(frame: FrameType, event: str, _: Any):
        nonlocal lines
        lines += event == "line"
        if lines == die_at:
            print("killed at", frame.f_code.co_filename, frame.f_lineno, flush=True)
            os.kill(os.getpid(), signal.SIGKILL)
        return count

    sys.settrace(lambda frame, *_: count if WATCHED.search(frame.f_code.co_filename) else None)
    try:
        main()
    finally:
        sys.settrace(None)
        print("lines", lines, flush=True)


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        ("checkpoint.every_n_steps=1",),
        ("checkpoint.every_n_steps=2", "ema_decay=0.9", "trainer.accumulate_grad_batches=2"),
        ("checkpoint.every_n_steps=2", "early_stopping_patience=1", "trainer.max_epochs=6", "optimizer.lr=0.1"),
        ("checkpoint.every_n_steps=1", "+trainer.val_check_interval=2"),
        (
            "checkpoint.every_n_steps=1",
            "trainer.max_steps=10",
            "trainer.max_epochs=9",
            "trainer.check_val_every_n_epoch=2",
        ),
        ("checkpoint.every_n_steps=3", "trainer.max_epochs=3", "data.num_workers=2", "trainer.gradient_clip_val=0.1"),
    ],
    ids=["plain", "ema-accumulation", "early-stopping", "validation-in-mid-epoch", "max-steps", "workers-clipping"],
)
def test_killed_at_any_line(
    tmp_path: Path, qm9_root: Path, monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...]
) -> None:
    monkeypatch.setenv("ERLANGEN_TRUST", "runs")
    options = (*TINY, f"paths.data={qm9_root}", *options)
    assert attempt((*options, f"paths.runs={tmp_path / 'whole'}"), 0, tmp_path / "whole.log") == 0
    lines = int((tmp_path / "whole.log").read_text().rpartition("lines ")[2])
    (whole,) = (tmp_path / "whole").iterdir()
    rng = random.Random(str(options))
    kills = 0
    for trial in range(4):
        runs, log = tmp_path / f"run{trial}", tmp_path / f"run{trial}.log"
        stopped = (*options, f"paths.runs={runs}")
        code = attempt(stopped, rng.randrange(1, lines), log)
        while code == -signal.SIGKILL:
            kills += 1
            code = attempt((*stopped, "resume=true"), rng.choice([0, rng.randrange(1, lines)]), log)
        assert code == 0, log.read_text()
        (folder,) = (path for path in runs.iterdir() if not path.name.startswith("."))
        assert differences(outcome(whole), outcome(folder)) == [], log.read_text()
    assert kills >= 4
