"""What 3DIEBench asks of a representation: frozen features, probed for class, rotation and colour, in whole and in parts.

The protocol is that of SIE (arXiv:2302.10283, section 5 and appendix C), with what makes its numbers hard to compare put
right: probes are scored on every view of a test object (its pairs are each view with the next) in place of one random view,
and beside the papers' R^2 stand the usual one and the angle. Probes are trained on random views of the training objects.
"""

import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, mse_loss, one_hot
from torchmetrics import Metric

from ..nn.probes import ProbeRecipe, mlp, random_features, ridge, seeded_network, train_probe
from .normalizer import Normalizer
from .poses import (
    base_translation,
    euler_to_quaternion,
    geodesic_degrees,
    object_translation,
    r2,
    r2_uniform,
    relative_color,
    relative_rotation,
)
from .retrieval import effective_rank, neighbour_classes, places, pose_error, retrieval, spread
from .spec import Spec
from .task import Stage, Task

log = logging.getLogger("erlangen")

PARTS = {"all": "all", "inv": "invariant", "equi": "equivariant"}
"""The suffix of a metric, and the part of the representation that it is of."""
OUTPUTS = (*PARTS.values(), "embedded_invariant", "embedded_equivariant", "predicted_equivariant")
"""What a paper may give for every view (models.views.self_supervised)."""
COLLAPSED = {"rank": 2.0, "spread": 0.01}
"""Below either, a representation is called collapsed."""
QUICK_FEATURES, QUICK_PENALTY, QUICK_SHIFTS = 1024, 0.3, 9
"""Of the closed-form probes that watch the training: random features, ridge penalty, pairs that each view is in."""

UNITS = {
    "top1": "%",
    "knn": "%",
    "rotation_r2": "",
    "rotation_r2_uniform": "",
    "rotation_deg": "deg",
    "color_r2": "",
    "translation_object_r2": "",
    "translation_base_r2": "",
    "mrr": "",
    "h@1": "",
    "h@5": "",
    "pre": "",
    "rank": "",
    "spread": "",
}


class Views(NamedTuple):
    """What was gathered of a split: representations by part (objects, views, channels), latents and classes."""

    parts: dict[str, Float[Tensor, "objects views channels"]]
    latents: Float[Tensor, "objects views latents"]
    label: Int[Tensor, " objects"]

    @property
    def present(self) -> dict[str, str]:
        """The parts to be scored: those that have channels, and not the whole twice."""
        whole = self.parts["all"].shape[-1]
        return {short: name for short, name in PARTS.items() if 0 < self.parts[name].shape[-1] < whole or name == "all"}


class RepresentationTask(Task):
    """`top1` and `knn`, `rotation_r2`, `_uniform` and `_deg`, `color_r2`, `mrr`, `h@1`, `h@5`, `pre`, by part; no loss.

    While a paper trains, cheap closed-form probes of some training objects give `top1_all` and `rotation_r2_all` on the
    validation objects; the published protocol runs once, on the test split. `rank` and `spread` tell a collapsed
    representation, which is also said aloud.

    Args:
        spec: the benchmark's.
        classes: how many there are.
        train_views: batches with all views of the training objects (of the first so many), in order.
        recipe: of the probes.
        quick_objects: training objects for the closed-form probes.
    """

    monitor = "top1_all"
    better = "higher"

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
        self.translation = spec.fields["latents"].shape[-1] == 10
        self.units = {f"{name}_{part}": unit for name, unit in UNITS.items() for part in PARTS}
        self.units["rotation_r2_floor"] = ""
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
        """The representation of all views of the training objects, or of the first so many."""
        gathered = GatheredViews()
        for batch in self.train_views(objects):
            batch = batch.to(self.gathered["test"].device)
            gathered.update(self.predict(batch), batch)
        return gathered.gathered()

    def quick(self, train: Views, views: Views) -> dict[str, Tensor]:
        """Closed-form probes of the whole representation: linear for the class, on random features for the rotation."""
        x, new = train.parts["all"], views.parts["all"]
        classes = ridge(x.flatten(0, 1), one_hot(each_view(train.label, x), self.classes).float(), QUICK_PENALTY)
        hit = classes(new.flatten(0, 1)).argmax(-1) == each_view(views.label, new)
        inputs, targets = pairs(x, train.latents, relative_rotation, shifts=min(QUICK_SHIFTS, x.shape[1] - 1))
        center, scale = inputs.mean(0), inputs.std(0).clamp(min=1e-8)
        layer = random_features(inputs.shape[-1], QUICK_FEATURES, inputs.device)
        turn = ridge(layer((inputs - center) / scale), targets, QUICK_PENALTY)
        asked, true = pairs(new, views.latents, relative_rotation)
        return {
            "top1_all": 100 * hit.double().mean(),
            "rotation_r2_all": r2(turn(layer((asked - center) / scale)), true),
        }

    def protocol(self, train: Views, views: Views) -> dict[str, Tensor]:
        """Everything that the papers report, of every part."""
        metrics = {}
        _, true = pairs(views.parts["all"], views.latents, relative_rotation)
        metrics["rotation_r2_floor"] = r2(true.mean(0).expand_as(true), true)
        for part, name in views.present.items():
            found = {
                "top1": self.linear_accuracy(train, views, name),
                "knn": self.neighbour_accuracy(train, views, name),
                **self.regressions(train, views, name),
                **self.found_again(views, part),
            }
            metrics |= {f"{key}_{part}": value for key, value in found.items()}
        return metrics

    def linear_accuracy(self, train: Views, views: Views, name: str) -> Tensor:
        """A linear classifier, trained on one random view an object and epoch."""
        x, new = train.parts[name], views.parts[name]

        def draw(objects: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
            view = torch.randint(x.shape[1], (len(objects),), generator=generator).to(x.device)
            return x[objects, view], train.label[objects]

        network = seeded_network(lambda: nn.Linear(x.shape[-1], self.classes), x.device)
        probe = self.fit_probe(network, draw, len(x), cross_entropy)
        return 100 * (probe(new.flatten(0, 1)).argmax(-1) == each_view(views.label, new)).double().mean()

    def neighbour_accuracy(self, train: Views, views: Views, name: str) -> Tensor:
        """The first view of every training object votes."""
        new = views.parts[name]
        chosen = neighbour_classes(new.flatten(0, 1), train.parts[name][:, 0], train.label, self.classes)
        return 100 * (chosen == each_view(views.label, new)).double().mean()

    def regressions(self, train: Views, views: Views, name: str) -> dict[str, Tensor]:
        """MLPs from two concatenated views to what lies between them."""
        turns, true = self.regression(train, views, name, relative_rotation)
        found = {
            "rotation_r2": r2(turns, true),
            "rotation_r2_uniform": r2_uniform(turns, true),
            "rotation_deg": geodesic_degrees(turns, true),
            "color_r2": r2(*self.regression(train, views, name, relative_color)),
        }
        if self.translation:
            found["translation_object_r2"] = r2(*self.regression(train, views, name, object_translation))
            found["translation_base_r2"] = r2(*self.regression(train, views, name, base_translation))
        return found

    def regression(
        self, train: Views, views: Views, name: str, between: Callable[[Tensor, Tensor], Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Predictions and truth on the test pairs, by a probe that met one random pair an object and epoch."""
        x, latents = train.parts[name], train.latents

        def draw(objects: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
            first, second = two_views(len(objects), x.shape[1], generator, x.device)
            inputs = torch.cat([x[objects, first], x[objects, second]], -1)
            return inputs, between(latents[objects, first], latents[objects, second])

        asked, true = pairs(views.parts[name], views.latents, between)
        network = seeded_network(lambda: mlp(2 * x.shape[-1], self.recipe.width, true.shape[-1]), x.device)
        return self.fit_probe(network, draw, len(x), mse_loss)(asked), true

    def fit_probe(self, network: nn.Module, draw: Any, objects: int, loss: Any) -> Callable[[Tensor], Tensor]:
        with torch.enable_grad():
            return train_probe(network, draw, objects, loss, self.recipe, next(network.parameters()).device)

    def found_again(self, views: Views, part: str) -> dict[str, Tensor]:
        """Retrieval of each view from the prediction that the first view and the rotation between them allow.

        A paper that acts on its latent space predicts its equivariant embedding; all else is predicted to stay as it is.
        """
        queries, candidates = self.predictions(views, PARTS[part])
        rotations = euler_to_quaternion(views.latents[..., :3])
        return {**retrieval(places(queries, candidates)), "pre": pose_error(queries, candidates, rotations)}

    def predictions(self, views: Views, name: str) -> tuple[Tensor, Tensor]:
        if "predicted_equivariant" not in views.parts:
            candidates = views.parts[name]
            return candidates[:, :1].expand_as(candidates), candidates
        kept, moved = views.parts["embedded_invariant"], views.parts["embedded_equivariant"]
        queries = {"invariant": kept[:, :1].expand_as(kept), "equivariant": views.parts["predicted_equivariant"]}
        candidates = {"invariant": kept, "equivariant": moved}
        if name != "all":
            return queries[name], candidates[name]
        return torch.cat(list(queries.values()), -1), torch.cat(list(candidates.values()), -1)


class GatheredViews(Metric):
    """The representations of all samples, over all processes, in the order of their ids."""

    full_state_update = False

    def __init__(self) -> None:
        super().__init__()
        for name in (*OUTPUTS, "latents", "label", "id"):
            self.add_state(name, [], dist_reduce_fx="cat")

    def update(self, outputs: Mapping[str, Tensor], batch: Any) -> None:
        for name in OUTPUTS:
            if name in outputs:
                getattr(self, name).append(outputs[name].float())
        for name in ("latents", "label", "id"):
            getattr(self, name).append(batch[name])

    def compute(self) -> Views:
        return self.gathered()

    def gathered(self) -> Views:
        """What this process has gathered; after a synchronisation, what all have."""
        values = {name: joined(getattr(self, name)) for name in (*OUTPUTS, "latents", "label", "id")}
        values = {name: value.clone() for name, value in values.items() if value is not None}  # out of inference mode
        order = values.pop("id").argsort()
        latents, label = values.pop("latents")[order], values.pop("label")[order]
        return Views({name: value[order] for name, value in values.items()}, latents, label)


def joined(state: Any) -> Tensor | None:
    """A state is a list before a synchronisation and a tensor after it; None where nothing was counted."""
    if isinstance(state, Tensor):
        return state if len(state) else None
    return torch.cat(state) if state else None


def each_view(
    label: Int[Tensor, " objects"], features: Float[Tensor, "objects views channels"]
) -> Int[Tensor, " rows"]:
    """The class of every view, in the order of `features.flatten(0, 1)`."""
    return label.repeat_interleave(features.shape[1])


def pairs(
    features: Float[Tensor, "objects views channels"],
    latents: Float[Tensor, "objects views latents"],
    between: Callable[[Tensor, Tensor], Tensor],
    shifts: int = 1,
) -> tuple[Float[Tensor, "rows doubled"], Float[Tensor, "rows parts"]]:
    """Each view beside each of the next `shifts` ones (the first follows the last), and what lies between them."""
    steps = range(1, shifts + 1)
    inputs = torch.cat([torch.cat([features, features.roll(-step, 1)], -1) for step in steps]).flatten(0, 1)
    return inputs, torch.cat([between(latents, latents.roll(-step, 1)) for step in steps]).flatten(0, 1).float()


def two_views(count: int, views: int, generator: torch.Generator, device: torch.device) -> tuple[Tensor, Tensor]:
    """Two different views for each of `count` objects."""
    first = torch.randint(views, (count,), generator=generator)
    step = torch.randint(1, views, (count,), generator=generator)
    return first.to(device), ((first + step) % views).to(device)
