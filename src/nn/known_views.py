"""Views of an image by random augmentation of which it is known what was done: the actions of a world model."""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from ..errors import UserError
from ..tasks.spec import Spec
from .view_pairs import Images, SimCLRViews

COLORS = {"brightness_factor": 1.0, "contrast_factor": 1.0, "saturation_factor": 1.0, "hue_factor": 0.0}
"""What colours are changed by, and what leaves them as they are."""


class KnownViews(SimCLRViews):
    """Several views of every image, and what leads from each to the next (seq-JEPA, arXiv:2505.03176).

    A batch comes back with `images` (samples, views, channels, height, width), and with the differences between successive
    views (samples, views - 1, size) in `crop` (top, left, height and width, in pixels), `jitter` (the factors of COLORS) and
    `blur` (the deviation in pixels, 0 for none). As in the authors' code, each parameter is divided by its norm over
    the views of an image first, and reflection and loss of colours are not told.

    Args:
        views: how many, 2 or more.
        spec, scale, flip, jitter, jitter_chance, gray, blur, sigma: see SimCLRViews.
    """

    def __init__(
        self,
        spec: Spec,
        views: int,
        scale: Sequence[float],
        flip: float,
        jitter: Sequence[float],
        jitter_chance: float,
        gray: float,
        blur: float,
        sigma: Sequence[float],
    ):
        super().__init__(spec, scale, flip, jitter, jitter_chance, gray, blur, sigma)
        if views < 2:
            raise UserError(f"augment.views must be 2 or more, not {views}")
        self.views = views

    def forward(self, batch: Any) -> Any:
        source, batch = batch["images"][:, 0], batch.clone()
        views, done = zip(*(self.known_view(source) for _ in range(self.views)), strict=True)
        batch["images"] = torch.stack(views, 1)
        for name in done[0]:
            batch[name] = normalize(torch.stack([parameters[name] for parameters in done], 1), dim=1).diff(dim=1)
        return batch

    def known_view(self, images: Images) -> tuple[Images, dict[str, Float[Tensor, "samples size"]]]:
        """One random view of every image, and the parameters by which it was made."""
        view = self.view(images)
        drawn = {item.name.rpartition("_")[0]: item.data for item in self.pipeline(self.size)._params}
        corners = drawn["RandomResizedCrop"]["src"]  # (x, y), clockwise from the upper left one
        first, size = corners[:, 0], corners[:, 2] - corners[:, 0] + 1
        colors, blur = drawn["ColorJitter"], drawn["RandomGaussianBlur"]
        changed = [torch.where(colors["batch_prob"] > 0.5, colors[name], same) for name, same in COLORS.items()]
        blurred = torch.where(blur["batch_prob"] > 0.5, blur["sigma"], 0.0)
        parameters = {
            "crop": torch.cat([first.flip(-1), size.flip(-1)], -1),
            "jitter": torch.stack(changed, -1),
            "blur": blurred[:, None],
        }
        return view, {name: values.to(images) for name, values in parameters.items()}
