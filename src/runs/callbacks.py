"""What is watched while a run trains: its speed, its cost, and how a person follows it."""

import io
import resource
import sys
import time
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
from lightning.pytorch.callbacks import RichProgressBar
from lightning.pytorch.callbacks.progress.rich_progress import RichProgressBarTheme

from ..models.paper import not_finite, sample_count
from .checkpoints import KEY
from .folder import RunFolder, write_bytes
from .metrics_csv import MetricsCSV

WARM_UP = 3
"""Batches at the start of a process that count for nothing in its throughput."""


class Cost(L.Callback):
    """Training throughput, what of its time is spent waiting for batches, wall time (over all attempts) and peak memory."""

    def __init__(self) -> None:
        self.samples, self.seconds, self.batches = 0, 0.0, 0
        self.waiting, self.waited = 0.0, 0.0
        self.earlier, self.started = 0.0, time.monotonic()
        self.since: float | None = None

    @property
    def wall_time(self) -> float:
        return self.earlier + time.monotonic() - self.started

    def state_dict(self) -> dict[str, float]:
        return {"wall_time": self.wall_time}

    def load_state_dict(self, state: dict[str, float]) -> None:
        self.earlier = state["wall_time"]

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.since = None

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        self.waiting = time.monotonic() - self.since if self.since is not None else 0.0

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        now = time.monotonic()
        if self.since is not None and self.batches >= WARM_UP:
            self.samples += sample_count(batch) * trainer.world_size
            self.seconds += now - self.since
            self.waited += self.waiting
        self.batches += 1
        self.since = now

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.since = None

    def summary(self) -> dict[str, float | None]:
        """What result.json holds: samples/s and the waiting share (None for a run too short to tell), seconds, megabytes."""
        if torch.cuda.is_available():
            peak = torch.cuda.max_memory_allocated() / 2**20
        else:
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
        return {
            "train_samples_per_second": self.samples / self.seconds if self.seconds else None,
            "waiting_for_data": self.waited / self.seconds if self.seconds else None,
            "wall_time_seconds": self.wall_time,
            "peak_memory_mb": peak,
        }


class Keeper(L.Callback):
    """Keeps the run's records straight: metrics that go on after a resume, and its state for whoever looks."""

    def __init__(self, folder: RunFolder):
        self.folder = folder

    def on_load_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        self.rewind(trainer, checkpoint[KEY]["logged"])

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if trainer.global_step == 0:
            self.rewind(trainer, 0)  # an attempt that ended before its first checkpoint

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if trainer.state.fn == "validate":
            self.rewind(trainer, 0)  # a paper without training

    def rewind(self, trainer: L.Trainer, step: int) -> None:
        for logger in trainer.loggers:
            if isinstance(logger, MetricsCSV):
                logger.rewind(step)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if trainer.is_global_zero:
            self.folder.mark("running", epoch=trainer.current_epoch + 1, step=trainer.global_step)


class FiniteGradients(L.Callback):
    """Stops before an optimiser takes a NaN or infinite step, naming the samples; so every checkpoint that is kept is good.

    Not for precision=16-mixed, whose loss scaler meets infinite gradients on purpose and leaves such a step out.
    """

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        self.batch = batch

    def on_before_optimizer_step(
        self, trainer: L.Trainer, pl_module: L.LightningModule, optimizer: torch.optim.Optimizer
    ) -> None:
        gradients = [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        if trainer.precision != "16-mixed" and not torch.nn.utils.get_total_norm(gradients).isfinite():
            raise not_finite("the gradient's norm became NaN or infinite", trainer.global_step, self.batch)


class TestRecord(L.Callback):
    """Every test sample's id, prediction, truth and errors, in test.npz of the run, for plots and paired comparisons."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.rows: list[dict[str, np.ndarray]] = []

    def on_test_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.rows = []

    def on_test_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: dict[str, torch.Tensor],
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        row = dict(pl_module.task.per_sample(outputs, batch))
        row["id"] = batch.id
        for target in pl_module.spec.targets:
            if target.level == "graph":
                row[f"predicted_{target.name}"], row[f"true_{target.name}"] = outputs[target.name], batch[target.name]
        self.rows.append({name: value.cpu().numpy() for name, value in row.items()})

    def on_test_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        mine = {name: np.concatenate([row[name] for row in self.rows]) for name in self.rows[0]} if self.rows else {}
        gathered: list[dict[str, np.ndarray]] = [mine]
        if trainer.world_size > 1:
            gathered = [{}] * trainer.world_size
            torch.distributed.all_gather_object(gathered, mine)
        if trainer.is_global_zero:
            parts = [part for part in gathered if part]
            table = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
            order = np.argsort(table["id"], kind="stable")
            file = io.BytesIO()
            np.savez_compressed(file, **{name: values[order] for name, values in table.items()})
            write_bytes(self.folder / "test.npz", file.getvalue())


class Lines(L.Callback):
    """One line an epoch, for logs and pipes where a progress bar cannot be drawn."""

    def __init__(self) -> None:
        self.started = time.monotonic()

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.started = time.monotonic()

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if not trainer.is_global_zero:
            return
        shown = {name: float(value) for name, value in trainer.progress_bar_metrics.items() if name != "v_num"}
        units = {f"val/{name}": unit for name, unit in pl_module.task.units.items()}
        text = "  ".join(f"{name} {value:.4g} {units.get(name, '')}".rstrip() for name, value in shown.items())
        seconds = time.monotonic() - self.started
        print(f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}  {text}  ({seconds:.1f} s)", flush=True)


def follow() -> L.Callback:
    """A progress bar on a terminal, a line an epoch anywhere else."""
    if sys.stdout.isatty():
        return RichProgressBar(leave=False, theme=RichProgressBarTheme(metrics_format=".4g"))
    return Lines()
