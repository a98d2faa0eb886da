"""Choosing one class for each sample: overall and mean class accuracy over the whole split."""

from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torchmetrics import Metric

from .normalizer import Normalizer
from .spec import Spec
from .task import Stage, Task


class Classification(Task):
    """Cross-entropy on the logits of the one target of the spec; `acc` and `macc` (mean over classes) in per cent.

    Args:
        spec: the benchmark's; its target has `classes`.
        label_smoothing: of the training loss.
        test_variants: the suffixes of what `variants` gives at the test stage, e.g. ("", "_z", "_so3").
    """

    monitor = "acc"
    better = "higher"

    def __init__(self, spec: Spec, label_smoothing: float = 0.0, test_variants: tuple[str, ...] = ("",)):
        super().__init__(spec)
        (self.target,) = spec.targets
        self.label_smoothing = label_smoothing
        self.suffixes = {"val": ("",), "test": test_variants}
        self.units = {f"{metric}{suffix}": "%" for suffix in test_variants for metric in ("acc", "macc")}
        self.counts = nn.ModuleDict(
            {
                stage + suffix: ClassCounts(self.target.classes)
                for stage in self.suffixes
                for suffix in self.suffixes[stage]
            }
        )

    def loss(self, outputs: Mapping[str, Tensor], batch: Any, normalizer: Normalizer) -> Float[Tensor, ""]:
        name = self.target.name
        return cross_entropy(outputs[name], batch[name], label_smoothing=self.label_smoothing)

    def per_sample(self, predictions: Mapping[str, Tensor], batch: Any) -> dict[str, Float[Tensor, " samples"]]:
        name = self.target.name
        return {"acc": 100 * (predictions[name].argmax(-1) == batch[name]).double()}

    def update(self, stage: Stage, predictions: Mapping[str, Tensor], batch: Any, variant: str = "") -> None:
        self.counts[stage + variant].update(predictions[self.target.name].argmax(-1), batch[self.target.name])

    def compute(self, stage: Stage) -> dict[str, Tensor]:
        return {
            f"{metric}{suffix}": value
            for suffix in self.suffixes[stage]
            for metric, value in self.counts[stage + suffix].compute().items()
        }

    def reset(self, stage: Stage) -> None:
        for suffix in self.suffixes[stage]:
            self.counts[stage + suffix].reset()


class ClassCounts(Metric):
    """How many samples of each class there were, and how many of them were recognised."""

    full_state_update = False
    correct: Tensor
    seen: Tensor

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.classes = classes
        for name in ("correct", "seen"):
            self.add_state(name, torch.zeros(classes, dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, predicted: Tensor, true: Tensor) -> None:
        self.seen += torch.bincount(true, minlength=self.classes)
        self.correct += torch.bincount(true[predicted == true], minlength=self.classes)

    def compute(self) -> dict[str, Tensor]:
        """Per cent over samples, and over the classes that occur."""
        occurs = self.seen > 0
        recall = self.correct[occurs].double() / self.seen[occurs].double()
        return {
            "acc": 100 * self.correct.sum().double() / self.seen.sum(),
            "macc": 100 * recall.mean(),
        }
