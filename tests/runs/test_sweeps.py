"""Sweeps: one folder a job, every job as if its command had been given alone."""

import json
import os
import shutil
from pathlib import Path
from unittest.mock import patch

import pytest
from runs.command import TINY, Command
from runs.training_process import NOISY, Training, differences, outcome

from erlangen import report
from erlangen.evidence.collect import read_run
from erlangen.runs.folder import RunFolder
from erlangen.runs.manifest import sweeps_in

TWO_RANKS = ("trainer=ddp", "trainer.accelerator=cpu")


@pytest.mark.slow
def test_jobs_on_one_and_two_devices_with_failing_ones_between(tmp_path: Path, qm9_root: Path) -> None:
    jobs = ("trainer.devices=2,1", "+model.bad_loss=-1,2")
    sweep = Training(tmp_path / "sweep", qm9_root, "--multirun", *NOISY, *TWO_RANKS, *jobs)
    assert sweep.finish() == 1, sweep.output
    assert "Traceback" not in sweep.output
    folders = [path for path in sweep.runs.iterdir() if not path.name.startswith(".")]
    assert len(folders) == 4
    finished = [json.loads(path.read_text()) for path in sweep.runs.glob("*/result.json")]
    assert sorted((result["world_size"], result["epochs"]) for result in finished) == [(1, 4), (2, 4)]
    one, two = sorted(finished, key=lambda result: result["world_size"])
    assert (one["steps"], two["steps"]) == (4 * 7, 4 * 4)  # every step sees twice the samples
    reasons = [json.loads((path / "state.json").read_text()).get("reason", "") for path in folders]
    assert sorted("the training loss became nan at step 2" in reason for reason in reasons) == [
        False,
        False,
        True,
        True,
    ]


@pytest.mark.slow
def test_a_job_on_two_devices_gives_in_a_sweep_what_it_gives_alone(tmp_path: Path, qm9_root: Path) -> None:
    options = (*NOISY, *TWO_RANKS, "trainer.devices=2", "trainer.max_epochs=1")
    sweep = Training(tmp_path / "sweep", qm9_root, "--multirun", *options, "seed=3")
    alone = Training(tmp_path / "alone", qm9_root, *options, "seed=3")
    assert (sweep.finish(), alone.finish()) == (0, 0), sweep.output + alone.output
    one, other = ((run.folder / "metrics.csv").read_text() for run in (sweep, alone))
    assert one == other


def test_a_sweep_started_again_runs_only_what_is_missing(command: Command) -> None:
    alone = command(*TINY, "seed=2")
    assert alone.code == 0, alone.err
    kept = outcome(command.folder)

    sweep = command("--multirun", *TINY, "seed=1,2", "resume=true")
    assert sweep.code == 0, sweep.err
    (first,) = (path for path in visible(command.runs) if "_s1_" in path.name)
    (second,) = (path for path in visible(command.runs) if "_s2_" in path.name)
    assert f"{first} starts: nothing to go on from" in sweep.out
    assert f"{second} is finished already" in sweep.out
    assert differences(outcome(second), kept) == []

    (first / "state.json").write_text('{"state": "failed", "time": "", "reason": "the lights went out"}')
    again = command("--multirun", *TINY, "seed=1,2", "resume=true")
    assert again.code == 0, again.err
    assert f"{first} goes on from last.ckpt" in again.out


def test_the_report_says_what_a_half_finished_sweep_lacks(command: Command) -> None:
    sweep = command("--multirun", *TINY, "+model.bad_loss=-1,2", "seed=1,2")
    assert sweep.code == 1
    folders = {path.name for path in visible(command.runs)}
    ((_, jobs),) = [(sweep.command, sweep.jobs) for sweep in sweeps_in(command.runs)]
    assert {folder.name for _, folder in jobs} == folders
    assert [job for job, _ in jobs] == [f"+model.bad_loss={step} seed={seed}" for step in (-1, 2) for seed in (1, 2)]

    text = reported(command)
    assert "4 jobs: 2 finished, 2 failed" in text
    assert text.count("the training loss became nan at step 2") == 2  # in the sweep's table, and in no other
    assert "Runs that are in no table" not in text

    shutil.rmtree(jobs[0][1])
    RunFolder(jobs[3][1]).mark("running", epoch=1)
    text = reported(command)
    assert "4 jobs: 1 missing, 1 finished, 1 failed, 1 running" in text
    assert "not started" in text
    assert "resume=true" in text

    repeated = command("--multirun", *TINY, "+model.bad_loss=-1,2", "seed=1,2", "resume=true")
    assert repeated.code == 1
    assert len(sweeps_in(command.runs)) == 1  # the same one
    assert "4 jobs: 2 finished, 2 failed" in reported(command)


def test_of_a_finished_sweep_the_report_says_its_numbers_only(command: Command) -> None:
    assert command("--multirun", *TINY, "seed=1,2").code == 0
    assert len(sweeps_in(command.runs)) == 1
    text = reported(command)
    assert "n = 2" in text
    assert "Sweep" not in text


def reported(command: Command) -> str:
    """What `erlangen report` prints of the runs on a wide terminal, without its line breaks."""
    command.capfd.readouterr()
    with patch.dict(os.environ, COLUMNS="240"):
        report.main([str(command.runs)])
    return " ".join(command.capfd.readouterr().out.split())


def visible(runs: Path) -> list[Path]:
    return sorted(path for path in runs.iterdir() if not path.name.startswith("."))


@pytest.mark.slow
def test_a_sweep_killed_in_its_second_job_ends_as_if_nothing_had_happened(tmp_path: Path, qm9_root: Path) -> None:
    options = ("--multirun", *NOISY, "checkpoint.every_n_steps=2", "seed=1,2,3")
    whole = Training(tmp_path / "whole", qm9_root, *options)
    assert whole.finish() == 0, whole.output
    stopped = Training(tmp_path / "stopped", qm9_root, *options)
    stopped.kill_when(lambda: any(stopped.runs.glob("*_s2_*/checkpoints/last.ckpt")))
    states = [read_run(folder).state for sweep in sweeps_in(stopped.runs) for _, folder in sweep.jobs]
    assert states == ["finished", "interrupted", "missing"]

    again = Training(tmp_path / "stopped", qm9_root, *options, "resume=true")
    assert again.finish() == 0, again.output
    for seed, said in enumerate(("is finished already", "goes on from", "starts: nothing to go on from"), 1):
        (folder,) = again.runs.glob(f"*_s{seed}_*")
        assert f"{folder} {said}" in again.output
        (other,) = whole.runs.glob(folder.name)
        assert differences(outcome(other), outcome(folder)) == []
