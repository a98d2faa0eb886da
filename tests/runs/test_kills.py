"""SIGKILL at random moments of training, checkpointing, caching and reporting: nothing lost, nothing half written believed.

(test_any_moment.py kills at any line of our own code; here the clock decides, so also inside torch, numpy and the kernel.)
"""

import hashlib
import random
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
from runs.faults import DIGITS, Forked, ForkedRun, Moment, assert_nothing_half_written, kill_repeatedly
from runs.training_process import differences, outcome

from erlangen.datamodules.files.cache import cached_arrays
from erlangen.datamodules.synthetic.modelnet import write_miniature
from erlangen.evidence.collect import read_run
from erlangen.report import main as report

MOMENTS: dict[str, Moment] = {
    "any": (lambda run: True, 2.5),
    "training": (lambda run: run.has_written("metrics.csv"), 0.3),
    "checkpointing": (lambda run: run.has_written("checkpoints/.last.ckpt.partial"), 0.01),
    "scoring": (lambda run: run.has_written("checkpoints/.best.ckpt.partial"), 0.01),
    "result": (lambda run: run.has_written("test.npz"), 0.2),
}
OPTIONS = (*DIGITS, "checkpoint.every_n_steps=1")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the same run, never interrupted."""
    run = ForkedRun(tmp_path_factory.mktemp("whole") / "runs", *OPTIONS)
    assert run.finish() == 0, run.output
    return run.folder


def killed(runs: Path, whole: Path, moments: list[Moment], rng: random.Random) -> int:
    """How often a run was killed that in the end must be as the whole one."""

    def start(resume: bool) -> ForkedRun:
        return ForkedRun(runs, *OPTIONS, f"resume={str(resume).lower()}")

    run, kills = kill_repeatedly(start, moments, rng)
    assert_nothing_half_written(run.folder)
    assert read_run(run.folder).state == "finished"
    assert differences(outcome(whole), outcome(run.folder)) == [], run.output
    return kills


def killed_so_often(kills: int, folder: Path, whole: Path, moments: list[Moment], rng: random.Random) -> bool:
    """Kills one run after another, some of which may be finished before."""
    done = 0
    folder.mkdir(exist_ok=True)
    for trial in range(50):
        done += killed(folder / f"runs{trial}", whole, moments[: kills - done], rng)
        if done == kills:
            return True
    return False


def test_killed_in_training_in_a_checkpoint_and_at_its_end(tmp_path: Path, whole: Path) -> None:
    moments = [MOMENTS[name] for name in ("training", "checkpointing", "result")]
    assert killed_so_often(3, tmp_path, whole, moments, random.Random(0))


@pytest.mark.slow
@pytest.mark.parametrize("moment", MOMENTS)
def test_killed_ten_times(tmp_path: Path, whole: Path, moment: str) -> None:
    for part in ("first", "second"):
        assert killed_so_often(5, tmp_path / part, whole, [MOMENTS[moment]] * 5, random.Random(moment + part))


ARRAYS = {f"array{i}": np.random.default_rng(i).random(200_000) for i in range(5)}
"""8 MB, written and checked in about 20 ms."""


def make_cache(folder: Path) -> None:
    cached_arrays(folder, lambda: ARRAYS)


@pytest.mark.parametrize("kills", [5, pytest.param(30, marks=pytest.mark.slow)])
def test_killed_while_a_cache_is_made(tmp_path: Path, kills: int) -> None:
    rng, done = random.Random(kills), 0
    folder = tmp_path / "cache"
    for _ in range(10 * kills):
        shutil.rmtree(folder, ignore_errors=True)
        maker = Forked(tmp_path / "log", make_cache, folder)
        time.sleep(rng.uniform(0, 0.08))
        done += maker.kill()
        if folder.exists():  # then all of it is, and is not made again
            made = cached_arrays(folder, lambda: pytest.fail("a whole cache was taken for a damaged one"))
        else:
            made = cached_arrays(folder, lambda: ARRAYS)
        assert made.keys() == ARRAYS.keys()
        assert all(np.array_equal(made[name], array) for name, array in ARRAYS.items())
        assert {path.name for path in tmp_path.iterdir()} - {"log"} == {
            ".cache.lock",
            "cache",
        }  # a log, if it came so far
        if done == kills:
            break
    assert done == kills


@pytest.mark.slow
def test_killed_while_a_miniature_is_written(tmp_path: Path) -> None:
    expected = contents(write_miniature(tmp_path / "whole", 10))
    begin = time.monotonic()
    write_miniature(tmp_path / "again", 10)
    took = time.monotonic() - begin
    rng, done = random.Random(0), 0
    for trial in range(50):
        root = tmp_path / f"killed{trial}"
        maker = Forked(tmp_path / "log", write_miniature, root, 10)
        time.sleep(rng.uniform(0, took))
        done += maker.kill()
        assert contents(write_miniature(root, 10)) == expected
        assert sorted(path.name for path in root.iterdir()) == [".miniature.lock", "miniature-1"]
        if done == 10:
            break
    assert done == 10


def contents(folder: Path) -> dict[str, str]:
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.mark.parametrize("kills", [2, pytest.param(12, marks=pytest.mark.slow)])
def test_killed_while_a_report_is_written(tmp_path: Path, whole: Path, kills: int) -> None:
    """The runs are as they were, and the file is the old report or a whole new one."""
    before, page = contents(whole), tmp_path / "report.html"
    page.write_text("the report before")
    arguments = [str(whole), "--html", str(page)]
    begin = time.monotonic()
    Forked(tmp_path / "log", report, [str(whole), "--html", str(tmp_path / "other.html")]).finish()
    took = time.monotonic() - begin
    new = (tmp_path / "other.html").read_bytes()
    rng, done = random.Random(kills), 0
    for _ in range(5 * kills):
        maker = Forked(tmp_path / "log", report, arguments)
        time.sleep(rng.uniform(0, took))
        done += maker.kill()
        assert page.read_bytes() in (b"the report before", new)
        assert contents(whole) == before
        if done == kills:
            break
    assert done == kills
