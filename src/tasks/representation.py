"""What 3DIEBench asks of a representation: frozen features, probed for class, rotation and colour, in whole and in parts.

The protocol is that of SIE (arXiv:2302.10283, section 5 and appendix C), with what makes its numbers hard to compare put
right: probes are scored on every view of a test object (its pairs are each view with the next) in place of one random view,
and beside the papers' R^2 stand the usual one and the angle. Probes are trained on random views of the training objects.
"""

from collections.abc import Callable
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import mse_loss

from ..nn.probes import mlp, random_features, ridge, seeded_network
from .frozen import PARTS, QUICK_PENALTY, FrozenFeatures, Views
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
from .retrieval import places, pose_error, retrieval

QUICK_FEATURES, QUICK_SHIFTS = 1024, 9
"""Of the closed-form probe of the rotation that watches the training: random features, pairs that each view is in."""


class RepresentationTask(FrozenFeatures):
    """Beside `top1` and `knn`, of each part `rotation_r2`, `_uniform` and `_deg`, `color_r2`, `mrr`, `h@1`, `h@5`, `pre`.

    While a paper trains, random features and a ridge regression also give `rotation_r2_all` on the validation objects. For
    the arguments see FrozenFeatures.

    Attributes:
        rotations: predictions and truth (pairs, 4) of the last protocol's regression on the whole representation, for a plot.
    """

    neighbours = 20
    metrics: ClassVar[dict[str, str]] = {
        **FrozenFeatures.metrics,
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
    }

    def __init__(self, *arguments: Any, **options: Any):
        super().__init__(*arguments, **options)
        self.translation = self.spec.fields["latents"].shape[-1] == 10
        self.units["rotation_r2_floor"] = ""
        self.rotations: tuple[Tensor, Tensor] | None = None

    def quick(self, train: Views, views: Views) -> dict[str, Tensor]:
        x, new = train.parts["all"], views.parts["all"]
        inputs, targets = pairs(x, train.latents, relative_rotation, shifts=min(QUICK_SHIFTS, x.shape[1] - 1))
        center, scale = inputs.mean(0), inputs.std(0).clamp(min=1e-8)
        layer = random_features(inputs.shape[-1], QUICK_FEATURES, inputs.device)
        turn = ridge(layer((inputs - center) / scale), targets, QUICK_PENALTY)
        asked, true = pairs(new, views.latents, relative_rotation)
        found = r2(turn(layer((asked - center) / scale)), true)
        return {**super().quick(train, views), "rotation_r2_all": found}

    def protocol(self, train: Views, views: Views) -> dict[str, Tensor]:
        _, true = pairs(views.parts["all"], views.latents, relative_rotation)
        floor = r2(true.mean(0).expand_as(true), true)
        return {"rotation_r2_floor": floor, **super().protocol(train, views)}

    def probed(self, train: Views, views: Views, part: str) -> dict[str, Tensor]:
        return {
            **super().probed(train, views, part),
            **self.regressions(train, views, PARTS[part]),
            **self.found_again(views, part),
        }

    def regressions(self, train: Views, views: Views, name: str) -> dict[str, Tensor]:
        """MLPs from two concatenated views to what lies between them."""
        turns, true = self.regression(train, views, name, relative_rotation)
        if name == "all":
            self.rotations = turns, true
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
