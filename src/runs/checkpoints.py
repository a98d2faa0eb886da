"""Checkpoints that are whole or not there, and the callback that writes them."""

import logging
import os
import time
from pathlib import Path
from typing import Any, Literal

import lightning as L
import torch
from lightning.pytorch.plugins.io import TorchCheckpointIO

from ..errors import UserError

log = logging.getLogger("erlangen")
KEY = "erlangen"
"""Where a checkpoint holds its spec, configuration and choices."""


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes to a temporary file, flushes it to the disk and renames it; loads without running a byte."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            with temporary.open("wb") as file:
                torch.save(checkpoint, file)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except OSError as error:
            raise UserError(f"cannot write the checkpoint {path}: {error.strerror}; the one before is kept") from None
        finally:
            temporary.unlink(missing_ok=True)

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = None) -> dict[str, Any]:
        return load(Path(path), map_location)


def load(path: Path, map_location: Any = "cpu") -> dict[str, Any]:
    """The contents of a checkpoint; UserError where it is missing or damaged."""
    try:
        return torch.load(path, map_location=map_location, weights_only=True)
    except FileNotFoundError:
        raise UserError(f"there is no checkpoint {path}") from None
    except Exception as error:  # torch raises many kinds for a damaged file, and all mean the same here
        raise UserError(
            f"the checkpoint {path} is damaged ({type(error).__name__}): {str(error).splitlines()[0]}"
        ) from error


def newest_intact(folder: Path) -> Path | None:
    """The last checkpoint of a run, or the one before where the last is damaged; None if there is none."""
    for name in ("last.ckpt", "previous.ckpt"):
        path = folder / name
        if not path.exists():
            continue
        try:
            load(path)
        except UserError as error:
            log.warning("%s; going back to the one before", error)
        else:
            return path
    return None


class Checkpoints(L.Callback):
    """Keeps last.ckpt, the one before it (previous.ckpt) and best.ckpt, chosen on the validation split.

    Args:
        folder: where they go.
        monitor, better: the validation metric, and whether lower or higher is better.
        every_n_steps, every_minutes: how often within an epoch; the end of every epoch comes on top.
        contents: what every checkpoint holds beside the state of the training (spec, configuration).
    """

    def __init__(
        self,
        folder: Path,
        monitor: str,
        better: Literal["lower", "higher"],
        every_n_steps: int | None,
        every_minutes: float | None,
        contents: dict[str, Any],
    ):
        self.folder, self.monitor, self.sign = folder, monitor, 1 if better == "lower" else -1
        self.every_n_steps, self.every_minutes, self.contents = every_n_steps, every_minutes, contents
        self.best: float | None = None
        self.saved_at = time.monotonic()

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.best = state["best"]

    def on_save_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        checkpoint[KEY] = self.contents

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        loop = trainer.fit_loop.epoch_loop
        # half-accumulated gradients are in no checkpoint, and an epoch's last batch is saved with the epoch
        if loop._should_accumulate() or loop.batch_progress.is_last_batch:
            return
        if self.every_n_steps and trainer.global_step % self.every_n_steps == 0:
            self.save_last(trainer)
        elif self.every_minutes and trainer.global_step % 10 == 0:
            due = time.monotonic() - self.saved_at > 60 * self.every_minutes
            if trainer.strategy.broadcast(due):  # the clocks of the ranks differ
                self.save_last(trainer)

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        value = trainer.callback_metrics.get(f"val/{self.monitor}")
        if trainer.state.fn != "fit" or value is None:
            return
        score = self.sign * float(value)
        if self.best is None or score < self.best:
            self.best = score
            trainer.save_checkpoint(self.folder / "best.ckpt")

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.save_last(trainer)

    def save_last(self, trainer: L.Trainer) -> None:
        last = self.folder / "last.ckpt"
        if trainer.is_global_zero and last.exists():
            last.replace(self.folder / "previous.ckpt")
        trainer.save_checkpoint(last)
        self.saved_at = time.monotonic()
