"""A disk that fills up ends a run in one line; what was there stays whole, and with some room the run goes on."""

import os
import random
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from runs.faults import DIGITS, ForkedRun, assert_nothing_half_written, saved_step
from runs.training_process import differences, outcome

from erlangen.datamodules.files.cache import cached_arrays
from erlangen.errors import UserError
from erlangen.report import write as write_report
from erlangen.runs.checkpoints import AtomicCheckpointIO, newest_intact
from erlangen.runs.folder import write_text
from erlangen.runs.metrics_csv import MetricsCSV, read_metrics

OPTIONS = (*DIGITS, "checkpoint.every_n_steps=1", "trainer.max_epochs=20")


class Disk:
    """A file system of its own, in memory."""

    def __init__(self, folder: Path, megabytes: int):
        self.folder, self.filler = folder, folder / "filler"
        folder.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "erlangen-test", str(folder)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            pytest.skip(f"a small disk cannot be mounted here (it takes root): {done.stderr.strip()}")

    def fill(self, leave: int = 0) -> None:
        """Takes all room but so many bytes, in whole pages; again and again where others make room meanwhile."""
        with self.filler.open("ab") as file:
            chunk = self.free() - leave
            while chunk > 0 and self.free() > leave:
                try:
                    os.posix_fallocate(file.fileno(), os.fstat(file.fileno()).st_size, chunk)
                except OSError:
                    chunk //= 2

    def free(self) -> int:
        found = os.statvfs(self.folder)
        return found.f_bavail * found.f_frsize

    def empty(self) -> None:
        self.filler.unlink()

    def unmount(self) -> None:
        subprocess.run(["umount", "--lazy", str(self.folder)], check=True)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    disk = Disk(tmp_path / "disk", 4)
    yield disk
    disk.unmount()


@pytest.fixture
def large_disk(tmp_path: Path) -> Iterator[Disk]:
    """A run asks for 200 MB before it starts."""
    disk = Disk(tmp_path / "disk", 240)
    yield disk
    disk.unmount()


def test_a_small_file_is_the_old_or_the_new_one(disk: Disk) -> None:
    path = disk.folder / "state.json"
    write_text(path, "old")
    disk.fill()
    with pytest.raises(OSError, match="No space left"):
        write_text(path, "new")
    assert path.read_text() == "old"
    assert sorted(file.name for file in disk.folder.iterdir()) == ["filler", "state.json"]
    disk.empty()
    write_text(path, "new")
    assert path.read_text() == "new"


@pytest.mark.parametrize("leave", [0, 20_000, 900_000])
def test_a_checkpoint_that_does_not_fit_leaves_the_one_before(disk: Disk, leave: int) -> None:
    folder = disk.folder / "checkpoints"
    for step in 1, 2:
        AtomicCheckpointIO().save_checkpoint(
            {"step": step, "weights": torch.full((250_000,), step)}, folder / "last.ckpt"
        )
    disk.fill(leave)
    before = sorted((path.name, path.stat().st_ino) for path in folder.iterdir())
    with pytest.raises(
        UserError, match=r"cannot write the checkpoint .*last.ckpt: No space left .* the one before is kept"
    ):
        AtomicCheckpointIO().save_checkpoint({"step": 3, "weights": torch.ones(250_000)}, folder / "last.ckpt")
    assert sorted((path.name, path.stat().st_ino) for path in folder.iterdir()) == before
    assert newest_intact(folder) == folder / "last.ckpt"
    assert AtomicCheckpointIO().load_checkpoint(folder / "last.ckpt")["step"] == 2


@pytest.mark.parametrize("leave", [0, 4096, 500_000])
def test_a_cache_that_does_not_fit_is_not_there(disk: Disk, leave: int) -> None:
    arrays = {"small": np.arange(10), "large": np.zeros(200_000)}
    disk.fill(leave)
    reason = "(No space left on device|the disk took only a part, .*)"
    with pytest.raises(UserError, match=rf"cannot write the cache .*: {reason} \(see paths.data\)"):
        cached_arrays(disk.folder / "cache", lambda: arrays)
    assert sorted(path.name for path in disk.folder.iterdir()) in ([".cache.lock", "filler"], ["filler"])
    disk.empty()
    assert len(cached_arrays(disk.folder / "cache", lambda: arrays)["large"]) == 200_000


def test_metrics_are_whole_lines_after_all(disk: Disk) -> None:
    path = disk.folder / "metrics.csv"
    disk.fill(leave=8192)
    with pytest.raises(OSError, match="No space left"):
        log_steps(path, 0, 1000)
    table = read_metrics(path)
    assert len(table) > 100
    assert table["value"].tolist() == [1 / (step + 3) for step in range(len(table))]
    disk.empty()
    MetricsCSV(path).rewind(40)
    log_steps(path, 40, 60)
    assert read_metrics(path)["value"].tolist() == [1 / (step + 3) for step in range(60)]


def log_steps(path: Path, start: int, stop: int) -> None:
    for step in range(start, stop):
        MetricsCSV(path).log_metrics({"train/loss": 1 / (step + 3)}, step)


def test_a_report_that_does_not_fit_leaves_the_one_before(disk: Disk) -> None:
    path = disk.folder / "report.html"
    write_report(path, "the report before")
    disk.fill()
    with pytest.raises(UserError, match=r"cannot write .*report.html: No space left"):
        write_report(path, "x" * 100_000)
    assert path.read_text() == "the report before"


def fill_up(disk: Disk, runs: Path, after: float) -> ForkedRun:
    """A run whose disk is full some seconds after its first checkpoint."""
    run = ForkedRun(runs, *OPTIONS, log=disk.folder.with_name(f"{runs.name}.log"))
    run.wait_until(lambda: run.has_written("checkpoints/last.ckpt"))
    time.sleep(after)
    while run.process.exitcode is None:
        disk.fill()
        time.sleep(0.001)
    assert run.finish() == 1, run.output
    assert "Traceback" not in run.output
    (error,) = [line for line in run.output.splitlines() if line.startswith("error: ")]
    assert "No space left on device" in error
    assert_nothing_half_written(run.folder)
    assert saved_step(run.folder) >= 1
    return run


def test_a_run_on_a_full_disk_ends_in_one_line(large_disk: Disk) -> None:
    fill_up(large_disk, large_disk.folder / "runs", after=0)


def test_a_run_without_room_for_its_checkpoints_does_not_begin(large_disk: Disk) -> None:
    large_disk.fill(leave=100 << 20)
    run = ForkedRun(large_disk.folder / "runs", *OPTIONS, log=large_disk.folder.with_name("log"))
    assert run.finish() == 1
    assert "MB of disk left, a run needs at least 200: free some, or set paths.runs" in run.output
    large_disk.empty()


@pytest.mark.slow
def test_with_room_again_the_run_ends_as_if_nothing_had_happened(tmp_path: Path, large_disk: Disk) -> None:
    whole = ForkedRun(tmp_path / "whole", *OPTIONS)
    assert whole.finish() == 0, whole.output
    rng = random.Random(0)
    for trial in range(5):
        runs = large_disk.folder / f"runs{trial}"
        fill_up(large_disk, runs, after=rng.uniform(0, 0.8))
        large_disk.empty()
        again = ForkedRun(runs, *OPTIONS, "resume=true")
        assert again.finish() == 0, again.output
        assert differences(outcome(whole.folder), outcome(again.folder)) == []
        shutil.rmtree(runs)
