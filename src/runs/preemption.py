"""A job that is told to end: it saves at the next step, and goes on from there when SLURM has started it again.

SLURM says so in two ways. SIGUSR2, asked for with `--signal=USR2@120`, comes when the time is nearly up, after which SLURM
would not start the job again: it saves and requeues itself. SIGTERM comes moments before the end, in a preemption (after
which SLURM requeues the job) as in a cancellation (after which it must stay away): it saves, and goes on until it is killed.
A job that dies without a word goes on from its last checkpoint.
"""

import logging
import os
import signal
from types import FrameType
from typing import Any

import lightning as L
from lightning.pytorch.utilities import rank_zero_only

from .checkpoints import Checkpoints
from .cluster import requeue, restarts, started_by_srun

log = logging.getLogger("erlangen")
REQUEUE, SAVE = signal.SIGUSR2, signal.SIGTERM


class Preemption(L.Callback):
    """Listens to SLURM from its making on; as a callback it saves between two steps, on all ranks at the same.

    Outside of the training's steps (while data are prepared, in validations and in the test) there is nothing that could be
    saved, and the job is requeued at once.
    """

    def __init__(self) -> None:
        self.process = os.getpid()
        self.told: set[int] = set()
        self.between_steps_soon = self.stepped = False
        if started_by_srun():
            self.listen()

    def attend(self, trainer: L.Trainer) -> None:
        """Takes part in a training on a cluster."""
        if started_by_srun():
            trainer.callbacks.append(self)

    def listen(self) -> None:
        for number in (REQUEUE, SAVE):
            signal.signal(number, self.receive)

    def receive(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self.process:
            return  # one that loads data: it ends with the process that it loads them for
        self.told.add(number)
        if number == REQUEUE and not self.between_steps_soon and rank_zero_only.rank == 0:
            self.requeue()

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.listen()  # the trainer has put its own listeners in the place of ours
        self.between_steps_soon = True

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.heed(trainer)

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        if batch_idx % trainer.accumulate_grad_batches == 0:
            self.heed(trainer)

    def on_train_batch_end(self, *_: Any) -> None:
        self.stepped = True

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.listen()
        self.leave_steps()

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.between_steps_soon = trainer.state.fn == "fit"

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.leave_steps()

    def on_test_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.listen()

    def leave_steps(self) -> None:
        """From here on no step is near: whatever was told since the last one is done now."""
        self.between_steps_soon = False
        if REQUEUE in self.told and rank_zero_only.rank == 0:
            self.requeue()

    def heed(self, trainer: L.Trainer) -> None:
        """Saves if any rank has been told to end, and requeues the job if that was asked for."""
        told = set(self.told)
        if not trainer.strategy.reduce_boolean_decision(bool(told), all=False):
            return
        keep = next(callback for callback in trainer.callbacks if isinstance(callback, Checkpoints))
        if trainer.global_step > keep.saved_step:
            keep.save_last(trainer)
        self.told -= told
        if trainer.is_global_zero:
            log.warning("told to end: everything up to step %d is saved", trainer.global_step)
        if trainer.strategy.reduce_boolean_decision(REQUEUE in told, all=False):
            signal.signal(SAVE, signal.SIG_DFL)
            requeued = trainer.is_global_zero and self.requeue_once()
            if trainer.strategy.broadcast(requeued):
                wait_for_the_end()
            self.listen()

    def requeue(self) -> None:
        """Has the job started again, and waits for its end; where that fails, goes on."""
        self.told.discard(REQUEUE)
        signal.signal(SAVE, signal.SIG_DFL)
        if self.requeue_once():
            wait_for_the_end()
        self.listen()

    def requeue_once(self) -> bool:
        """Asks SLURM to end this job and to start it again; False, and a warning, where it does not."""
        if restarts() and not self.stepped:
            log.warning(
                "not requeued again: there was no time for a single step since the last time; ask for more time"
            )
            return False
        refusal = requeue()
        if refusal:
            log.warning("cannot be requeued (%s): send the same command with resume=true", refusal)
        return not refusal


def wait_for_the_end() -> None:
    """SLURM ends every process of a job that it will start again."""
    while True:
        signal.pause()
