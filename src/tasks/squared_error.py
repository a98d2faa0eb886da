"""Predicting one real quantity, scored by its mean squared error: positions of particles, volumes of polytopes."""

from collections.abc import Mapping
from typing import Any

from jaxtyping import Float
from torch import Tensor

from .normalizer import Normalizer
from .spec import Spec
from .task import Averages, Stage, Task


class MeanSquaredError(Task):
    """`mse`, the squared error averaged over all coordinates of a sample and then over samples; the loss likewise.

    A target of nodes is first averaged over the nodes and components of each sample. Where all samples are equally
    large, as in the published benchmarks, this is the mean over all numbers that were predicted.

    Args:
        spec: the benchmark's; it has one target, of nodes or of samples.
    """

    monitor = "mse"

    def __init__(self, spec: Spec):
        super().__init__(spec)
        (self.target,) = spec.targets
        self.units = {"mse": f"{self.target.unit}^2" if self.target.unit else ""}
        self.averages = Averages(("mse",))

    def loss(self, outputs: Mapping[str, Tensor], batch: Any, normalizer: Normalizer) -> Float[Tensor, ""]:
        name = self.target.name
        return self.squared_errors(outputs[name], normalizer.normalize(name, batch[name]), batch).mean()

    def per_sample(self, predictions: Mapping[str, Tensor], batch: Any) -> dict[str, Float[Tensor, " samples"]]:
        name = self.target.name
        return {"mse": self.squared_errors(predictions[name].double(), batch[name].double(), batch)}

    def squared_errors(
        self, predicted: Float[Tensor, "rows *components"], true: Float[Tensor, "rows *components"], batch: Any
    ) -> Float[Tensor, " samples"]:
        """The mean squared error of each sample."""
        rows = (predicted - true).square().flatten(1).mean(1) if predicted.ndim > 1 else (predicted - true).square()
        if self.target.level == "graph":
            return rows
        sums = rows.new_zeros(batch.num_graphs).index_add(0, batch.batch, rows)
        return sums / batch.ptr.diff()

    def update(self, stage: Stage, predictions: Mapping[str, Tensor], batch: Any, variant: str = "") -> None:
        self.averages.update(stage, self.per_sample(predictions, batch))

    def compute(self, stage: Stage) -> dict[str, Tensor]:
        return self.averages.compute(stage)

    def reset(self, stage: Stage) -> None:
        self.averages.reset(stage)
