"""What a run says about its speed, on a clock that only the test moves."""

from types import SimpleNamespace

import lightning as L
import pytest
import torch

from erlangen.runs import callbacks
from erlangen.runs.callbacks import WARM_UP, Cost
from erlangen.tasks.batch import TensorBatch


def test_waiting_is_what_lies_between_a_step_and_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    """A quarter of a second for a batch, three quarters for a step; neither the start nor validation counts."""
    clock = SimpleNamespace(now=100.0)
    monkeypatch.setattr(callbacks.time, "monotonic", lambda: clock.now)
    trainer = L.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False)
    cost, module, batch = Cost(), L.LightningModule(), TensorBatch(x=torch.zeros(8))
    cost.on_train_epoch_start(trainer, module)
    for step in range(WARM_UP + 10):
        clock.now += 50.0 if step < WARM_UP else 0.25
        cost.on_train_batch_start(trainer, module, batch, step)
        clock.now += 0.75
        cost.on_train_batch_end(trainer, module, None, batch, step)
    clock.now += 1000
    cost.on_validation_end(trainer, module)
    clock.now += 5
    cost.on_train_batch_start(trainer, module, batch, 0)
    cost.on_train_batch_end(trainer, module, None, batch, 0)
    summary = cost.summary()
    assert summary["waiting_for_data"] == pytest.approx(0.25)
    assert summary["train_samples_per_second"] == pytest.approx(8)


def test_a_run_too_short_to_tell_does_not() -> None:
    assert Cost().summary()["waiting_for_data"] is None
