"""The contract of a paper: a LightningModule that owns a network and trains it as published."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar, Literal, Protocol

import lightning as L
import torch
from jaxtyping import Float
from torch import Tensor, nn

from ..errors import UserError
from ..kernels import Kernels
from ..optim.schedules import Recipe
from ..tasks.normalizer import Normalizer, Statistics
from ..tasks.spec import Spec
from ..tasks.symmetry import Symmetry
from ..tasks.task import Task


class Network(Protocol):
    """What every network offers: what its head reads, and a (normalised) value for every target."""

    def features(self, batch: Any) -> Tensor: ...

    def __call__(self, batch: Any) -> dict[str, Tensor]: ...


class Paper(L.LightningModule):
    """A published method. A plain supervised paper only builds `self.network` and names what it promises.

    Class attributes:
        title, arxiv: the publication.
        modalities: what its batches may be.
        outputs: which targets it can predict, as "level:irreps", e.g. "graph:0e" for an energy.
        needs: fields that its batches must have, e.g. the "rotation" between two views.
        views_by: the file in conf/augment that makes views for it of data with one image a sample, if nothing else is chosen.
        periodic: whether it takes periodic cells (a `cell` among the fields) for what they are.
        scale: what a target is divided by before training: its standard or mean absolute deviation.
        grid: the option that says how fine its grids of the sphere are, where rotations are kept but for them.
        trains: False for a paper that is fitted in closed form (`fit_closed_form`) and has no gradient steps.
        tiny: overrides of the constructor for a test of seconds.
    """

    title: ClassVar[str]
    arxiv: ClassVar[str] = ""
    modalities: ClassVar[frozenset[str]]
    outputs: ClassVar[frozenset[str]] = frozenset({"graph:0e"})
    needs: ClassVar[frozenset[str]] = frozenset()
    views_by: ClassVar[str] = "simclr"
    periodic: ClassVar[bool] = False
    scale: ClassVar[Literal["std", "mad", "none"]] = "std"
    grid: ClassVar[str | None] = None
    trains: ClassVar[bool] = True
    tiny: ClassVar[Mapping[str, Any]] = {}

    network: nn.Module
    task: Task
    kernels: Kernels
    recipe: Recipe
    compiled: Callable[[Any], dict[str, Tensor]] | None = None
    augment: nn.Module | None

    def __init__(self, spec: Spec):
        super().__init__()
        self.spec = spec
        self.normalizer = Normalizer(spec)
        self.augment = None

    @property
    def symmetries(self) -> tuple[Symmetry, ...]:
        """What is promised; a network that was wrapped (symmetrised) speaks for itself."""
        return getattr(self.network, "symmetries", ())

    def prepare(
        self, task: Task, statistics: Mapping[str, Statistics], train_batches: Callable[[], Iterable[Any]]
    ) -> None:
        """Takes the benchmark's question and the training split's statistics. Called once, before training.

        Args:
            task: loss and metrics.
            statistics: of the training split, by target.
            train_batches: one pass over the whole training split, for papers that need more than the statistics.
        """
        self.task = task
        self.normalizer.fit(statistics, self.scale)
        self.fit_closed_form(train_batches)

    def fit_closed_form(self, train_batches: Callable[[], Iterable[Any]]) -> None:
        """What a paper determines from the training split without gradients; nothing by default."""

    def forward(self, batch: Any) -> dict[str, Tensor]:
        """The network's outputs, normalised."""
        return (self.compiled or self.network)(batch)

    def predict(self, batch: Any) -> dict[str, Tensor]:
        """Every target in the benchmark's units, as the benchmark scores it (free atoms subtracted)."""
        return self.normalizer.denormalize(self(batch))

    def training_step(self, batch: Any, batch_idx: int) -> Float[Tensor, ""]:
        if self.augment is not None:
            batch = self.augment(batch)
        loss = self.task.loss(self(batch), batch, self.normalizer)
        self.check_finite(loss, batch)
        self.log("train/loss", loss, prog_bar=True, batch_size=sample_count(batch))
        return loss

    def check_finite(self, loss: Tensor, batch: Any) -> None:
        """Stops on a NaN or infinite loss, naming the samples that caused it; under DDP on every process."""
        finite = bool(torch.isfinite(loss))
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            others = torch.tensor(float(finite), device=loss.device)
            torch.distributed.all_reduce(others, torch.distributed.ReduceOp.MIN)
            if finite and not others:
                raise UserError(
                    "the training loss became NaN or infinite on another process, which says on what samples"
                )
        if not finite:
            raise not_finite(f"the training loss became {loss.item()}", self.global_step, batch)

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.task.score("val", self.predict, batch)

    def test_step(self, batch: Any, batch_idx: int) -> dict[str, Tensor]:
        return self.task.score("test", self.predict, batch)

    def on_validation_epoch_end(self) -> None:
        values = self._log_metrics("val")
        if self.trainer.state.fn == "fit" and not self.trainer.sanity_checking and self.task.monitor in values:
            score = float(values[self.task.monitor])
            self.recipe.observe(score if self.task.better == "higher" else -score)

    def on_test_epoch_end(self) -> None:
        self._log_metrics("test")

    def _log_metrics(self, stage: Literal["val", "test"]) -> dict[str, Tensor]:
        values = self.task.compute(stage)
        for name, value in values.items():
            self.log(f"{stage}/{name}", value.float(), prog_bar=name == self.task.monitor, sync_dist=True)
        self.task.reset(stage)
        return values

    def param_groups(self) -> list[dict[str, Any]]:
        """Parameters for the optimiser: no weight decay on norms and biases (all that has fewer than two axes)."""
        parameters = [p for p in self.parameters() if p.requires_grad]
        decayed = [p for p in parameters if p.ndim >= 2]
        others = [p for p in parameters if p.ndim < 2]
        groups = [{"params": decayed}, {"params": others, "weight_decay": 0.0}]
        return [group for group in groups if group["params"]]

    def configure_optimizers(self) -> dict[str, Any]:
        optimizer = self.recipe.optimizer(self.param_groups())
        total = self.trainer.estimated_stepping_batches
        per_epoch = max(1, -(-self.trainer.num_training_batches // self.trainer.accumulate_grad_batches))
        scheduler = self.recipe.scheduler(optimizer, per_epoch, total)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}


def not_finite(what: str, step: int, batch: Any) -> UserError:
    """The error for numbers that a training cannot go on from."""
    ids = getattr(batch, "id", None)
    named = "unknown samples" if ids is None else f"samples {ids.tolist()}"
    return UserError(
        f"{what} at step {step} on {named}; the last good checkpoint is kept: try a lower learning rate, gradient clipping "
        "or float32"
    )


def sample_count(batch: Any) -> int:
    """The number of samples in a batch of any modality."""
    return batch.num_graphs if hasattr(batch, "num_graphs") else len(batch)
