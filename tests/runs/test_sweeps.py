"""Sweeps: one folder a job, every job as if its command had been given alone."""

import json
from pathlib import Path

import pytest
from runs.training_process import NOISY, Training

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
