"""Real processes: an evaluation by several gives the numbers of one, and runs that start at once make a cache once."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from runs.training_process import SMALL, Training

from erlangen.evaluate import evaluate

ODD = ("data.val_size=67", "data.test_size=65", "data.eval_batch_size=9")
"""Numbers of samples that two and three processes cannot share evenly."""


def result(run: Training) -> dict:
    return json.loads((run.folder / "result.json").read_text())


@pytest.mark.slow
@pytest.mark.parametrize("world", [2, 3])
def test_an_evaluation_by_several_processes_has_the_numbers_of_one(tmp_path: Path, qm9_root: Path, world: int) -> None:
    options = ("model=composition", "data.train_size=500", "trainer=ddp", "trainer.accelerator=cpu", *ODD)
    one = Training(tmp_path / "one", qm9_root, *options, "trainer.devices=1")
    several = Training(tmp_path / "several", qm9_root, *options, f"trainer.devices={world}")
    assert (one.finish(), several.finish()) == (0, 0), one.output + several.output
    assert result(several)["world_size"] == world
    for name, metric in result(one)["metrics"].items():
        assert math.isclose(result(several)["metrics"][name]["value"], metric["value"], rel_tol=1e-6), name
    expected, found = (np.load(run.folder / "test.npz") for run in (one, several))
    assert len(found["id"]) == len(set(found["id"])) == 65
    for name in expected.files:
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-6, err_msg=name)
    np.testing.assert_array_equal(found["id"], expected["id"])


@pytest.mark.slow
def test_one_process_repeats_the_numbers_of_two(tmp_path: Path, qm9_root: Path) -> None:
    options = [option for option in SMALL if not option.startswith(("data.val", "data.test"))]
    two = ("trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2", "trainer.max_epochs=1")
    run = Training(tmp_path / "runs", qm9_root, *options, *ODD, *two)
    assert run.finish() == 0, run.output
    for split in ("val", "test"):
        ((name, metric),) = evaluate(str(run.folder), split).items()
        assert math.isclose(metric["value"], result(run)["metrics"][name]["value"], rel_tol=1e-6)


@pytest.mark.slow
def test_runs_that_start_at_once_make_a_cache_once(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    options = ("model=egnn", "data=nbody", "data._target_=runs.counted.CountedNBody", "trainer.max_epochs=1")
    sizes = ("data.train_size=60", "data.val_size=21", "data.test_size=21", "model.layers=2", "model.channels=8")
    sizes += ("data.batch_size=10",)  # several steps, without which DDP does not mind parameters that get no gradient
    two = ("trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2")
    alone = Training(tmp_path / "alone", tmp_path / "data", *options, *sizes, "trainer=cpu")
    shared = Training(tmp_path / "shared", tmp_path / "data", *options, *sizes, *two)
    assert (alone.finish(), shared.finish()) == (0, 0), alone.output + shared.output
    assert len((tmp_path / "data" / "made").read_text().split()) == 1
    assert not list((tmp_path / "data" / "nbody").glob(".*.partial"))
    assert (result(alone)["world_size"], result(shared)["world_size"]) == (1, 2)
    ids = [np.load(run.folder / "test.npz")["id"] for run in (alone, shared)]
    np.testing.assert_array_equal(*ids)
