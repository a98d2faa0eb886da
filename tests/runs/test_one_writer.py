"""Two processes never write one run: the second says who does; a process that was killed holds nothing."""

import errno
import fcntl
import multiprocessing
import os
import signal
import socket
import sys
import time
from pathlib import Path

import pytest
from runs.faults import DIGITS, ForkedRun
from runs.training_process import differences, outcome

from erlangen.errors import UserError
from erlangen.evidence.collect import read_run
from erlangen.runs import lock
from erlangen.runs.lock import RunLock, left_behind

LONG = (*DIGITS, "trainer.max_epochs=300")
FORK = multiprocessing.get_context("fork")


def test_a_second_process_is_refused_and_the_first_goes_on(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    first = ForkedRun(runs, *LONG)
    first.wait_until(lambda: "epoch 2/300" in first.output)
    state = read_run(first.folder)
    second = [ForkedRun(runs, *LONG, option, log=tmp_path / option) for option in ("resume=true", "overwrite=true")]
    for run in second:
        assert run.finish() == 1
        assert run.output.splitlines()[-1] == (
            f"error: {first.folder} is being written by another process (process {first.process.pid} on "
            f"{socket.gethostname()}): wait for it, or end it"
        )
    assert first.process.exitcode is None
    assert state.state == read_run(first.folder).state == "running"
    assert first.kill()
    assert read_run(first.folder).state == "interrupted"


@pytest.mark.slow
def test_of_two_that_start_at_once_one_trains(tmp_path: Path) -> None:
    whole = ForkedRun(tmp_path / "whole", *DIGITS)
    assert whole.finish() == 0
    for trial in range(5):
        runs = tmp_path / f"runs{trial}"
        both = [ForkedRun(runs, *DIGITS, log=tmp_path / f"log{trial}{i}") for i in range(2)]
        assert sorted(run.finish() for run in both) == [0, 1]
        (refused,) = [run for run in both if run.process.exitcode]
        assert "is being written by another" in refused.output or "holds this run already" in refused.output
        assert differences(outcome(whole.folder), outcome(both[0].folder)) == []


@pytest.mark.slow
def test_workers_that_outlive_a_killed_run_do_not_hold_it(tmp_path: Path) -> None:
    options = (*DIGITS, "data.num_workers=2", "trainer.max_epochs=8")
    run = ForkedRun(tmp_path / "runs", *options)
    run.wait_until(lambda: "epoch 2/8" in run.output)
    os.kill(run.process.pid, signal.SIGKILL)  # the workers notice within five seconds
    run.process.join()
    assert read_run(run.folder).state == "interrupted"
    began = time.monotonic()
    again = ForkedRun(tmp_path / "runs", *options, "resume=true", log=tmp_path / "again")
    assert again.finish() == 0, again.output
    assert "epoch 1/8" not in again.output
    assert time.monotonic() - began < 60


def count(folder: Path, times: int) -> None:
    """Adds to a number in a file that nobody else may touch meanwhile."""
    for _ in range(times):
        guard = RunLock(folder)
        while True:
            try:
                guard.acquire()
                break
            except UserError:
                continue
        number = int((folder / "number").read_text())
        (folder / "number").write_text(str(number + 1))
        guard.release()


def test_only_one_at_a_time_has_the_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also around the moment in which the holder removes the file that others have opened already."""
    monkeypatch.setattr(lock.time, "sleep", lambda seconds: None)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "number").write_text("0")
    processes = [FORK.Process(target=count, args=(tmp_path / "run", 200)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0] * 3
    assert (tmp_path / "run" / "number").read_text() == "600"
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def hold(folder: Path, ready: "multiprocessing.synchronize.Event") -> None:
    held = RunLock(folder)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(held.release()))
    held.acquire()
    ready.set()
    time.sleep(600)


def test_a_killed_holder_holds_nothing(tmp_path: Path) -> None:
    folder, ready = tmp_path / "run", FORK.Event()
    process = FORK.Process(target=hold, args=(folder, ready))
    process.start()
    assert ready.wait(20)
    assert not left_behind(folder)
    process.kill()
    process.join()
    assert left_behind(folder)
    mine = RunLock(folder)
    mine.acquire()
    mine.release()
    assert not left_behind(folder)
    assert list(tmp_path.iterdir()) == []


def test_the_lock_of_a_node_that_fell_silent_is_taken(tmp_path: Path) -> None:
    """Its process neither ends nor runs; should it come back, it must not remove the lock of who took over."""
    folder, ready = tmp_path / "run", FORK.Event()
    process = FORK.Process(target=hold, args=(folder, ready))
    process.start()
    assert ready.wait(20)
    os.kill(process.pid, signal.SIGSTOP)
    with pytest.raises(UserError, match=f"process {process.pid} on {socket.gethostname()}"):
        RunLock(folder).acquire()
    mine = RunLock(folder)
    mine.acquire(from_dead=True)
    os.kill(process.pid, signal.SIGTERM)
    os.kill(process.pid, signal.SIGCONT)
    process.join()
    assert mine.path.read_text() == f"process {os.getpid()} on {socket.gethostname()}"
    mine.release()
    assert list(tmp_path.iterdir()) == []


def test_a_file_system_without_locks_is_said(tmp_path: Path, monkeypatch, caplog: pytest.LogCaptureFixture) -> None:
    def no_locks(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "lockf", no_locks)
    mine = RunLock(tmp_path / "run")
    mine.acquire()
    assert "cannot be locked (No locks available): make sure that no other process writes it" in caplog.text
    assert not left_behind(tmp_path / "run")
    mine.release()
