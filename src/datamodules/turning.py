"""Views that turn step by step, for pictures of how a representation follows them."""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from ..nn.rotate_images import rotate
from ..tasks.batch import TensorBatch


class Turning(NamedTuple):
    """What was turned.

    batch: `images` (samples, steps, channels, height, width), `label`, `id`, and, where an object was turned, `latents`.
    degrees: the turn of every step.
    words: what was turned about what.
    """

    batch: TensorBatch
    degrees: Float[Tensor, " steps"]
    words: str


def turned_pictures(images: Float[Tensor, "samples channels height width"], steps: int) -> Turning:
    """Every picture turned once about its centre, the first and last step being the same."""
    degrees = torch.linspace(0, 360, steps)
    angles = torch.deg2rad(degrees).repeat(len(images))
    turned = rotate(images.repeat_interleave(steps, 0), angles).unflatten(0, (-1, steps))
    numbers = torch.arange(len(images))
    return Turning(TensorBatch(images=turned, label=numbers, id=numbers), degrees, "the picture turns about its centre")
