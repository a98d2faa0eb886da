"""A run that was killed and started again ends as if nothing had happened, to the last bit."""

import random
import time
from pathlib import Path

import pytest
from runs.training_process import NOISY, SMALL, Training, differences, outcome, read_checkpoint

RESUME = "resume=true"
TWO_RANKS = ("trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2", "trainer.strategy=ddp")
THREE_RANKS = ("trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=3", "trainer.strategy=ddp")


def test_killed_in_mid_epoch_and_between_epochs(tmp_path: Path, qm9_root: Path) -> None:
    options = (*SMALL, "checkpoint.every_n_steps=2")
    whole = Training(tmp_path / "whole", qm9_root, *options)
    assert whole.finish() == 0, whole.output

    stopped = Training(tmp_path / "stopped", qm9_root, *options)
    stopped.kill_when(stopped.has_checkpoint)  # after two or three of seven batches
    assert "epoch 1/4" not in stopped.output

    again = Training(tmp_path / "stopped", qm9_root, *options, RESUME)
    again.kill_when(lambda: "epoch 2/4" in again.output)
    assert "epoch 3/4" not in again.output

    last = Training(tmp_path / "stopped", qm9_root, *options, RESUME)
    assert last.finish() == 0, last.output
    assert last.output.count("epoch 1/4") == 1  # gone on with, not started afresh
    assert differences(outcome(whole.folder), outcome(last.folder)) == []


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        (*SMALL, "ema_decay=0.99", "trainer.accumulate_grad_batches=2", "trainer.gradient_clip_val=0.1"),
        (*NOISY, "data.num_workers=2", "ema_decay=0.9"),
        (*SMALL, *TWO_RANKS, "data.val_size=67", "data.eval_batch_size=33"),  # 34 and 33 samples to validate on
        (*NOISY, *TWO_RANKS, "ema_decay=0.99", "trainer.accumulate_grad_batches=2", "data.num_workers=1"),
        (*SMALL, *THREE_RANKS, "data.batch_size=24"),  # of three numbers the order of a sum matters
    ],
    ids=["ema-accumulation-clipping", "noise-workers", "ranks", "ranks-noise-ema-accumulation", "three-ranks"],
)
def test_killed_after_any_checkpoint_and_at_random_moments(
    tmp_path: Path, qm9_root: Path, options: tuple[str, ...]
) -> None:
    options = (*options, "checkpoint.every_n_steps=1")
    begin = time.monotonic()
    whole = Training(tmp_path / "whole", qm9_root, *options)
    assert whole.finish() == 0, whole.output
    took = time.monotonic() - begin
    steps = read_checkpoint(whole.folder / "checkpoints" / "last.ckpt")["global_step"]

    for saved in (steps // 4, steps // 2 + 1):  # the first of four epochs whole, and within the third
        stopped = Training(tmp_path / f"stopped after {saved}", qm9_root, *options)
        stopped.kill_when(lambda: stopped.saved_step() >= saved)  # noqa: B023 (called in this turn of the loop)
        assert_ends_as(whole, Training(stopped.runs, qm9_root, *options, RESUME))

    rng = random.Random(str(options))
    runs = tmp_path / "stopped twice"
    for resume in ((), (RESUME,)):
        stopped = Training(runs, qm9_root, *options, *resume)
        time.sleep(rng.uniform(0.4, 0.95) * took)
        stopped.kill()
    assert_ends_as(whole, Training(runs, qm9_root, *options, RESUME))


def assert_ends_as(whole: Training, resumed: Training) -> None:
    assert resumed.finish() == 0, resumed.output
    assert differences(outcome(whole.folder), outcome(resumed.folder)) == []
