"""Frozen features, probed: what self-supervised papers are judged by, on views of objects and on single images.

Probes are trained on the features of the training samples and scored on every view of a test sample. While a paper trains,
cheap closed-form probes watch it; the published protocol runs once, on the test split.
"""

import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, one_hot
from torchmetrics import Metric

from ..nn.probes import ProbeRecipe, ridge, seeded_network, train_probe
from .normalizer import Normalizer
from .retrieval import effective_rank, neighbour_classes, spread
from .spec import Spec
from .task import Stage, Task

log = logging.getLogger("erlangen")

PARTS = {"all": "all", "inv": "invariant", "equi": "equivariant"}
"""The suffix of a metric, and the part of the representation that it is of."""
OUTPUTS = (*PARTS.values(), "embedded_invariant", "embedded_equivariant", "predicted_equivariant", "aggregate")
"""What a paper may give for every view (models.views.self_supervised), and `aggregate` for every few views together."""
KEPT = ("latents", "label", "id")
"""What is kept of a batch; a benchmark of single images has no latents."""
COLLAPSED = {"rank": 2.0, "spread": 0.01}
"""Below either, a representation is called collapsed."""
QUICK_PENALTY = 0.3
"""Of the ridge regressions that watch the training."""


class Views(NamedTuple):
    """What was gathered of a split: representations by part (samples, views, channels), classes, and latents, if any."""

    parts: dict[str, Float[Tensor, "samples views channels"]]
    label: Int[Tensor, " samples"]
    latents: Float[Tensor, "samples views latents"] | None = None

    @property
    def present(self) -> dict[str, str]:
        """The parts to be scored: the whole, and both parts unless one has no channels, so that the other is the whole."""
        divided = all(self.parts[name].shape[-1] for name in ("invariant", "equivariant"))
        return {short: name for short, name in PARTS.items() if name == "all" or divided}


class FrozenFeatures(Task):
    """`top1` of a linear classifier and `knn`, in per cent, by part of the representation; no loss.

    While a paper trains, a ridge regression on some training samples gives `top1_all` on the validation samples. `rank` and
    `spread` tell a collapsed representation, which is also said aloud. `top1_aggregate` is that of several views summed up in
    one representation, where a paper does so.

    Args:
        spec: the benchmark's.
        classes: how many there are.
        train_views: batches with all views of the training samples (of the first so many), in order.
        recipe: of the probes.
        quick_objects: training samples for the closed-form probes.
    """

    monitor = "top1_all"
    better = "higher"
    neighbours: ClassVar[int] = 200
    metrics: ClassVar[dict[str, str]] = {"top1": "%", "knn": "%", "rank": "", "spread": ""}

    def __init__(
        self,
        spec: Spec,
        classes: int,
        train_views: Callable[[int | None], Iterable[Any]],
        recipe: ProbeRecipe,
        quick_objects: int,
    ):
        super().__init__(spec)
        self.classes, self.train_views, self.recipe, self.quick_objects = classes, train_views, recipe, quick_objects
        self.units = {f"{name}_{part}": unit for name, unit in self.metrics.items() for part in PARTS}
        self.units["top1_aggregate"] = "%"
        self.gathered = nn.ModuleDict({stage: GatheredViews() for stage in ("val", "test")})
        self.predict: Callable[[Any], dict[str, Tensor]] | None = None

    def loss(self, outputs: Mapping[str, Tensor], batch: Any, normalizer: Normalizer) -> Float[Tensor, ""]:
        raise TypeError(f"{self.spec.benchmark} has no loss of its own: a self-supervised paper brings one")

    def per_sample(self, predictions: Mapping[str, Tensor], batch: Any) -> dict[str, Float[Tensor, " samples"]]:
        """Nothing: what a view counts is known only when the probes are trained."""
        return {}

    def score(self, stage: Stage, predict: Callable[[Any], dict[str, Tensor]], batch: Any) -> dict[str, Tensor]:
        self.predict = predict  # the probes also need the training views
        return super().score(stage, predict, batch)

    def update(self, stage: Stage, predictions: Mapping[str, Tensor], batch: Any, variant: str = "") -> None:
        self.gathered[stage].update(predictions, batch)

    def reset(self, stage: Stage) -> None:
        self.gathered[stage].reset()

    @torch.inference_mode(False)
    @torch.no_grad()
    def compute(self, stage: Stage) -> dict[str, Tensor]:
        views = self.gathered[stage].compute()
        train = self.represented(self.quick_objects if stage == "val" else None)
        metrics = self.quick(train, views) if stage == "val" else self.protocol(train, views)
        for part, name in views.present.items():
            features = views.parts[name].flatten(0, 1)
            metrics |= {f"rank_{part}": effective_rank(features), f"spread_{part}": spread(features)}
            low = {key: float(metrics[f"{key}_{part}"]) for key, limit in COLLAPSED.items()}
            if any(low[key] < limit for key, limit in COLLAPSED.items()):
                log.warning("COLLAPSED representation (%s): rank %.2f, spread %.3g", name, low["rank"], low["spread"])
        return metrics

    def represented(self, objects: int | None) -> Views:
        """The representation of all views of the training samples, or of the first so many."""
        gathered = GatheredViews()
        for batch in self.train_views(objects):
            batch = batch.to(self.gathered["test"].device)
            gathered.update(self.predict(batch), batch)
        return gathered.gathered()

    def quick(self, train: Views, views: Views) -> dict[str, Tensor]:
        """Closed-form probes of the whole representation: here, linear for the class."""
        x, new = train.parts["all"], views.parts["all"]
        classes = ridge(x.flatten(0, 1), one_hot(each_view(train.label, x), self.classes).float(), QUICK_PENALTY)
        hit = classes(new.flatten(0, 1)).argmax(-1) == each_view(views.label, new)
        return {"top1_all": 100 * hit.double().mean()}

    def protocol(self, train: Views, views: Views) -> dict[str, Tensor]:
        """Everything that the papers report, of every part."""
        found = {
            f"{key}_{part}": value for part in views.present for key, value in self.probed(train, views, part).items()
        }
        if "aggregate" in views.parts:
            found["top1_aggregate"] = self.linear_accuracy(train, views, "aggregate")
        return found

    def probed(self, train: Views, views: Views, part: str) -> dict[str, Tensor]:
        """What is reported of one part."""
        name = PARTS[part]
        return {
            "top1": self.linear_accuracy(train, views, name),
            "knn": self.neighbour_accuracy(train, views, name),
        }

    def linear_accuracy(self, train: Views, views: Views, name: str) -> Tensor:
        """A linear classifier, trained on one random view a sample and epoch."""
        x, new = train.parts[name], views.parts[name]

        def draw(objects: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
            view = torch.randint(x.shape[1], (len(objects),), generator=generator).to(x.device)
            return x[objects, view], train.label[objects]

        network = seeded_network(lambda: nn.Linear(x.shape[-1], self.classes), x.device)
        probe = self.fit_probe(network, draw, len(x), cross_entropy)
        return 100 * (probe(new.flatten(0, 1)).argmax(-1) == each_view(views.label, new)).double().mean()

    def neighbour_accuracy(self, train: Views, views: Views, name: str) -> Tensor:
        """The first view of every training sample votes."""
        new = views.parts[name]
        chosen = neighbour_classes(
            new.flatten(0, 1), train.parts[name][:, 0], train.label, self.classes, self.neighbours
        )
        return 100 * (chosen == each_view(views.label, new)).double().mean()

    def fit_probe(self, network: nn.Module, draw: Any, objects: int, loss: Any) -> Callable[[Tensor], Tensor]:
        with torch.enable_grad():
            return train_probe(network, draw, objects, loss, self.recipe, next(network.parameters()).device)


class GatheredViews(Metric):
    """The representations of all samples, over all processes, in the order of their ids."""

    full_state_update = False

    def __init__(self) -> None:
        super().__init__()
        for name in (*OUTPUTS, *KEPT):
            self.add_state(name, [], dist_reduce_fx="cat")

    def update(self, outputs: Mapping[str, Tensor], batch: Any) -> None:
        for name in OUTPUTS:
            if name in outputs:
                getattr(self, name).append(outputs[name].float())
        for name in KEPT:
            if name in batch:
                getattr(self, name).append(batch[name])

    def compute(self) -> Views:
        return self.gathered()

    def gathered(self) -> Views:
        """What this process has gathered; after a synchronisation, what all have."""
        values = {name: joined(getattr(self, name)) for name in (*OUTPUTS, *KEPT)}
        values = {name: value.clone() for name, value in values.items() if value is not None}  # out of inference mode
        order = values.pop("id").argsort()
        values = {name: value[order] for name, value in values.items()}
        return Views(label=values.pop("label"), latents=values.pop("latents", None), parts=values)


def joined(state: Any) -> Tensor | None:
    """A state is a list before a synchronisation and a tensor after it; None where nothing was counted."""
    if isinstance(state, Tensor):
        return state if len(state) else None
    return torch.cat(state) if state else None


def each_view(
    label: Int[Tensor, " samples"], features: Float[Tensor, "samples views channels"]
) -> Int[Tensor, " rows"]:
    """The class of every view, in the order of `features.flatten(0, 1)`."""
    return label.repeat_interleave(features.shape[1])
