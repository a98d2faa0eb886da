"""A run's folder: found again, gone on with, started afresh, never half written, never trained on from damaged files."""

import json
import os
import resource
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from runs.command import TINY, Command
from runs.training_process import Training, differences, outcome

STEPS = "checkpoint.every_n_steps=1"
RANKS = ("trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2")


def test_the_same_command_finds_its_run(command: Command) -> None:
    assert command(*TINY).code == 0
    first = outcome(command.folder)
    code, _, err = command(*TINY)
    assert code == 1
    assert err == (
        f"error: {command.folder} holds this run already (finished, 2 epochs done): resume=true goes on with it, "
        "overwrite=true starts afresh\n"
    )
    code, out, err = command(*TINY, "resume=true", "checkpoint.every_n_steps=3", "logger=csv")
    assert (code, out, err) == (0, f"{command.folder} is finished already\n", "")
    assert command(*TINY, "overwrite=true").code == 0
    assert differences(first, outcome(command.folder)) == []
    assert len(list(command.runs.iterdir())) == 1
    code, _, err = command(*TINY, "overwrite=true", "resume=true")
    assert code == 1
    assert "contradict each other" in err
    assert command(*TINY, "seed=2").code == 0
    assert len(list(command.runs.iterdir())) == 2


def test_what_an_earlier_attempt_left_is_gone_after_overwrite(command: Command) -> None:
    assert command(*TINY).code == 0
    (command.folder / "state.json").unlink()  # a kill while an overwritten run was removed
    (command.folder / "metrics.csv").write_text("rubbish")
    (command.folder / "checkpoints" / "previous.ckpt").write_text("rubbish")
    assert command(*TINY).code == 0
    assert (command.folder / "metrics.csv").read_text().startswith("step,epoch,name,value\n0,0,train/loss,")
    assert sorted(path.name for path in command.folder.rglob("*.ckpt")) == ["best.ckpt", "last.ckpt", "previous.ckpt"]


def unfinish(folder: Path) -> None:
    """As if the run had been killed in its test."""
    (folder / "result.json").unlink()
    (folder / "state.json").write_text('{"state": "running"}')


def damage(path: Path) -> None:
    """Flips a bit of the largest part, not of the padding between parts."""
    with zipfile.ZipFile(path) as archive:
        part = max(archive.infolist(), key=lambda part: part.file_size)
    data = bytearray(path.read_bytes())
    name, extra = struct.unpack_from("<HH", data, part.header_offset + 26)
    data[part.header_offset + 30 + name + extra + part.file_size // 2] ^= 1
    path.write_bytes(data)


def truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def empty(path: Path) -> None:
    os.truncate(path, 0)


@pytest.mark.parametrize(
    "harm", [damage, truncate, empty, Path.unlink], ids=["flipped", "truncated", "empty", "missing"]
)
def test_a_damaged_checkpoint_falls_back_to_the_one_before_and_says_so(command: Command, harm) -> None:
    assert command(*TINY, STEPS).code == 0
    first = outcome(command.folder)
    unfinish(command.folder)
    harm(command.folder / "checkpoints" / "last.ckpt")
    code, out, err = command(*TINY, STEPS, "resume=true")
    assert code == 0
    assert "epoch 2/2" in out
    assert "epoch 1/2" not in out
    if harm is not Path.unlink:
        assert "last.ckpt is damaged" in err
    assert differences(first, outcome(command.folder)) == []


def test_only_damaged_checkpoints_are_an_error_and_not_a_new_start(command: Command) -> None:
    assert command(*TINY, STEPS).code == 0
    unfinish(command.folder)
    for name in ("last", "previous"):
        damage(command.folder / "checkpoints" / f"{name}.ckpt")
    code, out, err = command(*TINY, STEPS, "resume=true")
    assert code == 1
    assert "epoch" not in out
    assert f"error: every checkpoint in {command.folder / 'checkpoints'} is damaged" in err.splitlines()[-1]


def test_a_run_killed_in_its_test_is_tested_and_not_trained_again(command: Command) -> None:
    assert command(*TINY).code == 0
    first = outcome(command.folder)
    unfinish(command.folder)
    code, out, _ = command(*TINY, "resume=true")
    assert code == 0
    assert "epoch" not in out
    assert differences(first, outcome(command.folder)) == []


def test_a_finished_run_that_lost_its_result_is_tested_again(command: Command) -> None:
    assert command(*TINY).code == 0
    first = outcome(command.folder)
    (command.folder / "result.json").unlink()
    code, out, _ = command(*TINY, "resume=true")
    assert code == 0
    assert "epoch" not in out
    assert differences(first, outcome(command.folder)) == []


def test_a_run_killed_before_its_first_checkpoint_starts_again(command: Command) -> None:
    assert command(*TINY).code == 0
    first = outcome(command.folder)
    unfinish(command.folder)
    for path in (command.folder / "checkpoints").iterdir():
        path.unlink()
    assert command(*TINY, "resume=true").code == 0
    assert differences(first, outcome(command.folder)) == []


def test_a_run_that_stopped_early_does_not_go_on(command: Command) -> None:
    options = (*TINY, "early_stopping_patience=1", "optimizer.lr=0", "trainer.max_epochs=9")
    assert command(*options).code == 0
    first = outcome(command.folder)
    assert first["epochs"] == 2
    unfinish(command.folder)
    assert command(*options, "resume=true").code == 0
    assert differences(first, outcome(command.folder)) == []


def test_a_closed_form_can_be_started_again(command: Command) -> None:
    options = ("model=composition", *TINY[2:])
    assert command(*options).code == 0
    metrics = (command.folder / "metrics.csv").read_text()
    unfinish(command.folder)
    assert command(*options, "resume=true").code == 0
    assert (command.folder / "metrics.csv").read_text() == metrics


def test_a_nan_loss_stops_with_the_samples_and_keeps_the_last_good_checkpoint(command: Command) -> None:
    code, _, err = command(*TINY, STEPS, "+model.bad_loss=5")
    assert code == 1
    assert_names_samples(err, "the training loss became nan at step 5 on samples [", count=16)
    assert_good(command.folder, step=5)


def test_a_nan_gradient_stops_before_the_step_is_taken(command: Command) -> None:
    code, _, err = command(*TINY, STEPS, "+model.bad_gradient=5")
    assert code == 1
    assert_names_samples(err, "the gradient's norm became NaN or infinite at step 5 on samples [", count=16)
    assert_good(command.folder, step=5)


def assert_names_samples(err: str, message: str, count: int) -> None:
    (line,) = err.splitlines()
    assert line.startswith(f"error: {message}")
    assert len(line.partition("[")[2].partition("]")[0].split(",")) == count
    assert "the last good checkpoint is kept" in line


def assert_good(folder: Path, step: int) -> None:
    """The checkpoint is from just before, and every weight and moment in it is finite."""
    last = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)
    assert last["global_step"] == step
    moments = [value for state in last["optimizer_states"][0]["state"].values() for value in state.values()]
    weights = [value for name, value in last["state_dict"].items() if "atomref" not in name]
    assert all(value.isfinite().all() for value in weights + moments)


def test_weights_that_overflow_in_a_finite_step_are_not_saved(command: Command) -> None:
    code, _, err = command(*TINY, STEPS, "+model.bad_weights=5")
    assert code == 1
    assert err == (
        "error: the weights became NaN or infinite before step 5; the last good checkpoint is kept: try a lower learning "
        "rate or gradient clipping\n"
    )
    assert_good(command.folder, step=4)


def test_a_file_in_the_place_of_the_runs_folder_ends_in_one_line(command: Command, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    code, out, err = command(*TINY, f"paths.runs={tmp_path / 'file'}")
    assert code == 1
    assert out == ""
    assert err.startswith(f"error: cannot write the run folder {tmp_path / 'file'}/")
    assert err.endswith("Not a directory (see paths.runs)\n")


def test_a_state_that_cannot_be_read_is_said(command: Command) -> None:
    assert command(*TINY).code == 0
    (command.folder / "state.json").write_bytes(b"\xff{")
    code, _, err = command(*TINY, "resume=true")
    assert code == 1
    assert "state.json is damaged" in err


@pytest.mark.slow
@pytest.mark.parametrize("room", [300, 3_000, 8_000])
def test_a_disk_that_fills_up_ends_in_one_line_and_the_run_goes_on_later(
    tmp_path: Path, qm9_root: Path, room: int
) -> None:
    """No file may outgrow `room` bytes: neither config.yaml, nor half a checkpoint, nor a whole one."""
    options = (*TINY, STEPS)
    whole = Training(tmp_path / "whole", qm9_root, *options)
    assert whole.finish() == 0, whole.output

    def little_room() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, resource.RLIM_INFINITY))

    full = Training(tmp_path / "full", qm9_root, *options, preexec_fn=little_room)
    assert full.finish() == 1
    assert "Traceback" not in full.output
    (error,) = [line for line in full.output.splitlines() if line.startswith("error: ")]
    assert "cannot write" in error
    assert "File too large" in error
    again = Training(tmp_path / "full", qm9_root, *options, "resume=true")
    assert again.finish() == 0, again.output
    assert differences(outcome(whole.folder), outcome(again.folder)) == []


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
def test_a_nan_on_one_of_two_ranks_stops_both(tmp_path: Path, qm9_root: Path, rank: int) -> None:
    run = Training(tmp_path / "run", qm9_root, *TINY, *RANKS, STEPS, "+model.bad_loss=2", f"+model.bad_rank={rank}")
    assert run.finish(timeout=90) == 1, run.output
    assert "the training loss became nan at step 2 on samples [" in run.output
    assert "Traceback" not in run.output
    assert_good(run.folder, step=2)


@pytest.mark.slow
def test_two_ranks_count_every_sample_once(tmp_path: Path, qm9_root: Path) -> None:
    options = ("model=composition", *TINY[2:5], "data.eval_batch_size=7", "data.val_size=29", "data.test_size=43")
    outcomes, ids = [], []
    for name, trainer in ("one", ("trainer=cpu",)), ("two", RANKS):
        run = Training(tmp_path / name, qm9_root, *options, *trainer)
        assert run.finish() == 0, run.output
        outcomes.append(json.loads((run.folder / "result.json").read_text())["metrics"])
        with np.load(run.folder / "test.npz") as table:
            ids.append(table["id"])
    np.testing.assert_array_equal(*ids)
    one, two = ([metric["value"] for _, metric in sorted(metrics.items())] for metrics in outcomes)
    assert len(ids[0]) == 43
    assert two == pytest.approx(one, rel=1e-6)


def test_the_record_of_the_test_is_sorted_and_complete(command: Command) -> None:
    assert command(*TINY).code == 0
    with np.load(command.folder / "test.npz") as table:
        assert len(np.unique(table["id"])) == 20
        assert (np.diff(table["id"]) > 0).all()
        np.testing.assert_allclose(table["mae_gap"], np.abs(table["predicted_gap"] - table["true_gap"]), rtol=1e-6)


OPTIONS = {
    "trainer.precision=bf16-mixed": "config.yaml",
    "logger=wandb": "wandb/latest-run",
    "logger=tensorboard": "**/events.out.tfevents.*",
    "deterministic=true": "config.yaml",
    "ema_decay=0.9": "config.yaml",
}


@pytest.mark.parametrize("option", OPTIONS)
def test_every_kind_of_run_ends_with_a_finite_result(command: Command, option: str) -> None:
    assert command(*TINY, option).code == 0
    result = json.loads((command.folder / "result.json").read_text())
    assert np.isfinite(result["metrics"]["test/mae_gap"]["value"])
    assert any(command.folder.glob(OPTIONS[option]))
