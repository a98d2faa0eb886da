"""Predicting real quantities: mean absolute errors in the benchmark's own units."""

from collections.abc import Callable, Mapping
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from .normalizer import Normalizer, Statistics
from .spec import Spec
from .task import Averages, Stage, Task


class Regression(Task):
    """Mean absolute error of each scalar target of a sample; the loss is the L1 (or L2) distance of normalised values.

    With several targets, `std_mae` is the mean of MAE / sigma and `log_mae` the mean of its logarithm, sigma being the
    target's standard deviation over the training split (as in DimeNet, arXiv:2003.03123).

    Args:
        spec: the benchmark's.
        statistics: gives those of the training split, for `std_mae` and `log_mae`; asked only when they are needed.
        distance: the training loss.
    """

    def __init__(
        self, spec: Spec, statistics: Callable[[], Mapping[str, Statistics]], distance: Literal["l1", "l2"] = "l1"
    ):
        super().__init__(spec)
        self.names = [target.name for target in spec.targets]
        self.statistics = statistics
        self.distance = distance
        self.averages = Averages(tuple(f"mae_{name}" for name in self.names))
        self.units = {f"mae_{target.name}": target.unit for target in spec.targets} | {"std_mae": "", "log_mae": ""}
        self.monitor = f"mae_{self.names[0]}" if len(self.names) == 1 else "std_mae"

    def loss(self, outputs: Mapping[str, Tensor], batch: Any, normalizer: Normalizer) -> Float[Tensor, ""]:
        distance = {"l1": torch.nn.functional.l1_loss, "l2": torch.nn.functional.mse_loss}[self.distance]
        terms = [distance(outputs[name], normalizer.normalize(name, batch[name])) for name in self.names]
        return torch.stack(terms).mean()

    def per_sample(self, predictions: Mapping[str, Tensor], batch: Any) -> dict[str, Float[Tensor, " samples"]]:
        return {f"mae_{name}": (predictions[name] - batch[name]).abs() for name in self.names}

    def update(self, stage: Stage, predictions: Mapping[str, Tensor], batch: Any, variant: str = "") -> None:
        self.averages.update(stage, self.per_sample(predictions, batch))

    def compute(self, stage: Stage) -> dict[str, Tensor]:
        metrics = self.averages.compute(stage)
        if len(self.names) > 1:
            known = self.statistics()
            relative = torch.stack([metrics[f"mae_{name}"] / known[name].std for name in self.names])
            metrics |= {"std_mae": relative.mean(), "log_mae": relative.log().mean()}
        return metrics

    def reset(self, stage: Stage) -> None:
        self.averages.reset(stage)
