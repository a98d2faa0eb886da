"""`python train.py …` inside the test's own process: what it prints, and how it exits."""

import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from erlangen.train import main

TINY = (
    "model=mean",
    "model._target_=runs.noisy.Noisy",
    "data.train_size=60",
    "data.val_size=20",
    "data.test_size=20",
    "data.batch_size=16",
    "trainer=cpu",
    "trainer.max_epochs=2",
    "trainer.log_every_n_steps=1",
)
"""Two epochs of four batches, under a second."""


class Exit(NamedTuple):
    code: int
    out: str
    err: str


class Command:
    """Runs the command with options, always with this test's own runs folder."""

    def __init__(self, capfd: pytest.CaptureFixture, patch: pytest.MonkeyPatch, runs: Path, data: Path):
        self.capfd, self.patch, self.runs, self.data = capfd, patch, runs, data

    def __call__(self, *options: str) -> Exit:
        arguments = [*options, f"paths.data={self.data}"]
        if not any(option.startswith("paths.runs=") for option in options):
            arguments.append(f"paths.runs={self.runs}")
        self.patch.setattr(sys, "argv", ["train.py", *arguments])
        self.capfd.readouterr()
        code = 0
        try:
            main()
        except SystemExit as stop:
            code = stop.code
        return Exit(code, *self.capfd.readouterr())

    @property
    def folder(self) -> Path:
        """The only run's."""
        (folder,) = self.runs.iterdir()
        return folder
