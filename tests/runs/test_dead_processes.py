"""A data worker or a rank that dies ends the whole run: soon, with one line that says so, and ready to be gone on with."""

import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from runs.faults import DIGITS, Forked, ForkedRun, assert_nothing_half_written, saved_step
from runs.training_process import Training, differences, outcome

from erlangen.runs.ranks import end_with_parent

IN_TIME = 20.0
"""Seconds. Lightning looks after its ranks every five; gloo notices a dead peer at once; the machine may be busy."""
LONG = (*DIGITS, "trainer.max_epochs=200")
RANKS = ("trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2")


def children(pid: int) -> list[int]:
    """The living processes that `pid` started."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            state, parent = (folder / "stat").read_text().rpartition(")")[2].split()[:2]
        except OSError:
            continue  # gone in the meantime
        if int(parent) == pid and state != "Z":
            found.append(int(folder.name))
    return sorted(found)


def living(pid: int) -> bool:
    try:
        return (Path(f"/proc/{pid}") / "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def wait_for(ready: Callable[[], object], timeout: float = 90) -> None:
    until = time.monotonic() + timeout
    while not ready():
        assert time.monotonic() < until, "never came so far"
        time.sleep(0.01)


def test_a_dead_worker_ends_the_run_in_one_line(tmp_path: Path) -> None:
    run = ForkedRun(tmp_path / "runs", *LONG, "data.num_workers=2")
    run.wait_until(lambda: "epoch 2/200" in run.output)
    os.kill(children(run.process.pid)[0], signal.SIGKILL)
    began = time.monotonic()
    assert run.finish() == 1
    assert time.monotonic() - began < IN_TIME
    assert "Traceback" not in run.output
    (error,) = [line for line in run.output.splitlines() if line.startswith("error: ")]
    assert error.startswith("error: a process that makes batches died (DataLoader worker (pid")
    assert error.endswith(f"then resume=true goes on with {run.folder}")
    assert json.loads((run.folder / "state.json").read_text())["state"] == "failed"
    assert_nothing_half_written(run.folder)
    assert saved_step(run.folder) >= 8


@pytest.mark.slow
def test_after_a_dead_worker_the_run_ends_as_if_nothing_had_happened(tmp_path: Path) -> None:
    options = (*DIGITS, "trainer.max_epochs=12", "checkpoint.every_n_steps=1", "data.num_workers=2")
    whole = ForkedRun(tmp_path / "whole", *options)
    assert whole.finish() == 0, whole.output
    for trial in range(4):
        run = ForkedRun(tmp_path / f"runs{trial}", *options)
        run.wait_until(lambda: "epoch 3/12" in run.output)  # noqa: B023
        os.kill(children(run.process.pid)[trial % 2], signal.SIGKILL)
        assert run.finish() == 1, run.output
        again = ForkedRun(tmp_path / f"runs{trial}", *options, "resume=true")
        assert again.finish() == 0, again.output
        assert differences(outcome(whole.folder), outcome(again.folder)) == []


class TwoRanks(Training):
    """A long run on two processes of this machine."""

    def __init__(self, tmp_path: Path):
        super().__init__(tmp_path / "runs", tmp_path / "data", *LONG, *RANKS)

    @property
    def second(self) -> int:
        """The process that the first rank started, once it has."""
        wait_for(lambda: children(self.process.pid))
        (pid,) = children(self.process.pid)
        return pid

    def wait_in_time(self, *pids: int) -> None:
        """Fails where the run or any of these processes is still there when time is up."""
        began = time.monotonic()
        self.finish(IN_TIME)
        wait_for(lambda: not any(living(pid) for pid in pids), IN_TIME)
        assert time.monotonic() - began < IN_TIME


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["starting", "training"])
@pytest.mark.parametrize("rank", [0, 1])
def test_whichever_rank_dies_the_run_ends(tmp_path: Path, rank: int, moment: str) -> None:
    run = TwoRanks(tmp_path)
    ranks = (run.process.pid, run.second)  # now the second imports, and the first waits for it
    if moment == "training":
        wait_for(lambda: "epoch 2/200" in run.output)
    else:
        time.sleep(0.5)
    os.kill(ranks[rank], signal.SIGKILL)
    run.wait_in_time(*ranks)
    assert "Traceback" not in run.output
    if run.process.returncode != -signal.SIGKILL:  # by us, or by Lightning where it is quicker than gloo
        assert run.process.returncode == 1
        assert "error: another process of this run has ended (" in run.output
        assert json.loads((run.folder / "state.json").read_text())["state"] == "failed"
    assert_nothing_half_written(run.folder)
    assert saved_step(run.folder) >= (8 if moment == "training" else 0) / 2  # each step sees the batches of both


@pytest.mark.parametrize("late", [False, True])
def test_a_rank_ends_with_the_process_that_started_it(tmp_path: Path, late: bool) -> None:
    """Also where that has died before the rank could ask for it."""
    family = Forked(tmp_path / "log", start_a_rank_that_waits, late)
    wait_for(lambda: "ready" in family.output)
    (child,) = children(family.process.pid)
    family.process.kill()
    family.process.join(10)
    wait_for(lambda: not living(child), 10)


def start_a_rank_that_waits(late: bool) -> None:
    end_with_parent()
    if os.fork() == 0:
        os.environ["LOCAL_RANK"] = "1"
        if late:
            print("ready", flush=True)
            parent = os.getppid()
            while os.getppid() == parent:
                time.sleep(0.01)
            end_with_parent()
        else:
            end_with_parent()
            print("ready", flush=True)
    time.sleep(600)
