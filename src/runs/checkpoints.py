"""Checkpoints that are whole or not there, and the callback that writes them."""

import logging
import math
import os
import time
import zipfile
from pathlib import Path
from typing import Any, Literal

import lightning as L
import torch
from lightning.pytorch.plugins.io import TorchCheckpointIO

from ..errors import UserError

log = logging.getLogger("erlangen")
KEY = "erlangen"
"""Where a checkpoint holds its spec, configuration and choices."""
LAST, PREVIOUS, BEST = "last.ckpt", "previous.ckpt", "best.ckpt"


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes to a temporary file, flushes it to the disk and renames it; loads without running a byte.

    The last.ckpt that stood there becomes previous.ckpt, once the new one is safe.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        path = Path(path)
        temporary = path.with_name(f".{path.name}.partial")  # one name, so that killed runs do not pile them up
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with temporary.open("wb") as file:
                torch.save(checkpoint, file)
                file.flush()
                os.fsync(file.fileno())
            if path.name == LAST and path.exists():
                path.replace(path.with_name(PREVIOUS))
            temporary.replace(path)
        except (OSError, RuntimeError) as error:
            temporary.unlink(missing_ok=True)
            cause = (
                error if isinstance(error, OSError) else error.__context__
            )  # torch.save hides a full disk behind its own
            if not isinstance(cause, OSError):
                raise
            raise UserError(f"cannot write the checkpoint {path}: {cause.strerror}; the one before is kept") from None

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = None) -> dict[str, Any]:
        return load(Path(path), map_location)


def load(path: Path, map_location: Any = "cpu") -> dict[str, Any]:
    """The contents of a checkpoint; UserError where it is missing or damaged."""
    if not path.exists():
        raise UserError(f"there is no checkpoint {path}")
    try:
        with zipfile.ZipFile(path) as archive:
            wrong = archive.testzip()  # torch itself does not compare checksums
        if wrong:
            raise UserError(f"the checkpoint {path} is damaged: {wrong} does not match its checksum")
        return torch.load(path, map_location=map_location, weights_only=True)
    except UserError:
        raise
    except Exception as error:  # zipfile and torch raise many kinds for a damaged file, and all mean the same here
        reason = str(error).strip().splitlines() or [""]
        raise UserError(f"the checkpoint {path} is damaged ({type(error).__name__}): {reason[0]}") from error


def newest_intact(folder: Path) -> Path | None:
    """The last checkpoint of a run, or the one before where the last is damaged; None if there never was one.

    Raises UserError where there are checkpoints and all are damaged: starting from zero should be a decision.
    """
    there = [folder / name for name in (LAST, PREVIOUS) if (folder / name).exists()]
    for path in there:
        try:
            load(path)
        except UserError as error:
            log.warning("%s; going back to the one before", error)
        else:
            return path
    if there:
        raise UserError(f"every checkpoint in {folder} is damaged: overwrite=true starts this run afresh")
    return None


class Checkpoints(L.Callback):
    """Keeps last.ckpt, the one before it (previous.ckpt) and best.ckpt, chosen on the validation split.

    A step's state is saved when the next batch begins, an epoch's when the next epoch begins: only then have the paper's
    own hooks run, and only then are the step's numbers in metrics.csv.

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
        if every_n_steps is not None and every_n_steps < 1:
            raise UserError(f"checkpoint.every_n_steps must be 1 or more, or null, not {every_n_steps}")
        self.folder, self.monitor, self.sign = folder, monitor, 1 if better == "lower" else -1
        self.every_n_steps, self.every_minutes, self.contents = every_n_steps, every_minutes, contents
        self.best: float | None = None
        self.saved_step, self.saved_at = 0, time.monotonic()
        self.trained = False

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best, "saved_step": self.saved_step}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.best, self.saved_step = state["best"], state["saved_step"]

    def on_save_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        # the norm, because all processes of a sharded paper know it, and each only its part of the weights
        if not torch.nn.utils.get_total_norm(list(pl_module.parameters())).isfinite():
            raise UserError(
                f"the weights became NaN or infinite before step {trainer.global_step}; the last good checkpoint is kept: "
                "try a lower learning rate or gradient clipping"
            )
        logged = trainer.fit_loop.epoch_loop._batches_that_stepped
        checkpoint[KEY] = {**self.contents, "logged": logged, "trained": self.trained}
        take_back_announcements(checkpoint["loops"]["fit_loop"])

    def on_load_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        # a run that stopped early must not go on; what would stop it (a patience) is judged at validations only
        trainer.should_stop = checkpoint[KEY]["trained"]

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        epoch = trainer.fit_loop.epoch_progress.current
        if epoch.started == epoch.processed:
            # between two epochs; with max_steps the trainer would take the next epoch for the rest of the last one
            trainer.fit_loop.epoch_loop.restarting = False

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if trainer.global_step > self.saved_step:
            self.save_last(trainer)

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        if batch_idx % trainer.accumulate_grad_batches:
            return  # half-accumulated gradients are in no checkpoint
        since = trainer.global_step - self.saved_step
        if self.every_n_steps and since >= self.every_n_steps:
            self.save_last(trainer)
        elif self.every_minutes and since and trainer.global_step % 10 == 0:
            due = time.monotonic() - self.saved_at > 60 * self.every_minutes
            if trainer.strategy.broadcast(due):  # the clocks of the ranks differ
                self.save_last(trainer)

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        value = trainer.callback_metrics.get(f"val/{self.monitor}")
        if trainer.state.fn != "fit" or value is None or math.isnan(value):
            return
        score = self.sign * float(value)
        if self.best is None or score < self.best:
            self.best = score
            trainer.save_checkpoint(self.folder / BEST)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.trained = True
        self.save_last(trainer)

    def save_last(self, trainer: L.Trainer) -> None:
        self.saved_step, self.saved_at = trainer.global_step, time.monotonic()
        trainer.save_checkpoint(self.folder / LAST)


def take_back_announcements(fit_loop: dict[str, Any]) -> None:
    """Puts the trainer's saved counters to where they stood before an epoch or batch that is announced but not begun.

    The trainer counts an epoch or batch as ready before it calls the hooks in which we save. A batch is put back to the
    moment of `on_train_batch_end`, from where the trainer knows how to go on (its usual place for checkpoints).
    """
    for count in fit_loop["epoch_progress"].values():
        count["ready"] = count["started"]
    batch = fit_loop["epoch_loop.batch_progress"]
    if batch["current"]["ready"] > batch["current"]["started"]:
        for count in (batch["total"], batch["current"]):
            count["ready"] = count["started"]
            count["completed"] -= 1
        batch["is_last_batch"] = False
        fit_loop["epoch_loop.state_dict"]["_batches_that_stepped"] -= 1
