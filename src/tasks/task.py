"""What a benchmark asks: the loss to train with and the numbers to be judged by, so that no paper grades itself."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, Literal

from jaxtyping import Float
from torch import Tensor, nn

from .metrics import MeanOf
from .normalizer import Normalizer
from .spec import Spec

Stage = Literal["val", "test"]


class Task(nn.Module, ABC):
    """One benchmark's question. A benchmark with metrics of its own subclasses this.

    Attributes:
        units: the unit of every metric, by its name.
        monitor: the metric that chooses the best checkpoint, on the validation split only.
        better: whether a lower or a higher `monitor` is better.
    """

    units: Mapping[str, str]
    monitor: str
    better: Literal["lower", "higher"] = "lower"

    def __init__(self, spec: Spec):
        super().__init__()
        self.spec = spec

    def __deepcopy__(self, memo: dict[int, Any]) -> "Task":
        """Copies of a paper (averages, teachers) share its task, which may hold on to the benchmark and all its data."""
        return self

    @abstractmethod
    def loss(self, outputs: Mapping[str, Tensor], batch: Any, normalizer: Normalizer) -> Float[Tensor, ""]:
        """The training loss of a network's (normalised) outputs."""

    @abstractmethod
    def per_sample(self, predictions: Mapping[str, Tensor], batch: Any) -> dict[str, Float[Tensor, " samples"]]:
        """Every sample's own contribution to the metrics, in the benchmark's units (kept for paired comparisons)."""

    def variants(self, stage: Stage, batch: Any) -> dict[str, Any]:
        """The batches to be scored at a stage, by the suffix of their metrics.

        The first one, "", is the batch that the plain metrics and the run's record of predictions are of. A benchmark that
        also asks for the score on rotated (or noisy, or corrupted) test samples adds them here, e.g. as "_so3".
        """
        return {"": batch}

    def score(self, stage: Stage, predict: Callable[[Any], dict[str, Tensor]], batch: Any) -> dict[str, Tensor]:
        """Predicts and counts every variant of a batch.

        Args:
            stage: which metrics to count for.
            predict: targets in the benchmark's units, from a batch.
            batch: as the data module gives it.

        Returns:
            The predictions of the variant "".
        """
        predictions = {}
        for variant, changed in self.variants(stage, batch).items():
            predictions[variant] = predict(changed)
            self.update(stage, predictions[variant], changed, variant)
        return predictions[""]

    @abstractmethod
    def update(self, stage: Stage, predictions: Mapping[str, Tensor], batch: Any, variant: str = "") -> None:
        """Counts a batch of predictions, in the benchmark's units, for one of its variants."""

    @abstractmethod
    def compute(self, stage: Stage) -> dict[str, Tensor]:
        """The metrics of all that was counted since the last `reset`."""

    @abstractmethod
    def reset(self, stage: Stage) -> None: ...


class Averages(nn.Module):
    """A task's running means, one set for each stage, one mean for each metric."""

    def __init__(self, names: tuple[str, ...]):
        super().__init__()
        self.stages = nn.ModuleDict(
            {stage: nn.ModuleDict({name: MeanOf() for name in names}) for stage in ("val", "test")}
        )

    def update(self, stage: Stage, values: Mapping[str, Tensor]) -> None:
        for name, value in values.items():
            self.stages[stage][name].update(value)

    def compute(self, stage: Stage) -> dict[str, Tensor]:
        return {name: metric.compute() for name, metric in self.stages[stage].items()}

    def reset(self, stage: Stage) -> None:
        for metric in self.stages[stage].values():
            metric.reset()
