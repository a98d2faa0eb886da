"""Augmentation of whole batches of images, on the device where they are.

It runs inside the training step, after the generators were seeded for this very batch, so that a resumed run draws what
the uninterrupted one would have drawn. Images come as floats from 0 to 1, before they are standardised.
"""

import math
from abc import ABC, abstractmethod
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ..errors import UserError
from ..tasks.spec import Spec
from .rotate_images import quarter_turns, rotate


class Augment(nn.Module, ABC):
    """A random change of the images of a batch; everything else in it stays.

    Args:
        spec: the benchmark's; its batches must have an `image`.
    """

    def __init__(self, spec: Spec):
        super().__init__()
        if "image" not in spec.fields:
            raise UserError(
                f"augment={type(self).__name__} changes images, and {spec.benchmark} has none: leave it out"
            )
        self.size = spec.fields["image"].shape[-2:]

    def forward(self, batch: Any) -> Any:
        batch = batch.clone()
        batch["image"] = self.change(batch["image"])
        return batch

    @abstractmethod
    def change(
        self, images: Float[Tensor, "samples channels height width"]
    ) -> Float[Tensor, "samples channels height width"]:
        """The changed images."""


class CropFlip(Augment):
    """A crop of the image padded with black, and a reflection with probability 1/2 (He et al., arXiv:1512.03385, sec. 4.2).

    Args:
        spec: the benchmark's.
        padding: pixels on each side.
        flip: whether left and right may be exchanged; not for digits.
    """

    def __init__(self, spec: Spec, padding: int, flip: bool):
        super().__init__(spec)
        import kornia.augmentation as kornia  # a quarter of a second that only an augmented run should pay

        steps = [kornia.RandomCrop(self.size, padding=padding), *([kornia.RandomHorizontalFlip(p=0.5)] if flip else [])]
        self.steps = nn.Sequential(*steps)

    def change(
        self, images: Float[Tensor, "samples channels height width"]
    ) -> Float[Tensor, "samples channels height width"]:
        return self.steps(images)


class QuarterTurns(Augment):
    """A turn by 0, 90, 180 or 270 degrees: the group C4, without loss."""

    def change(
        self, images: Float[Tensor, "samples channels height width"]
    ) -> Float[Tensor, "samples channels height width"]:
        return quarter_turns(images, torch.randint(4, (len(images),), device=images.device))


class Rotations(Augment):
    """A turn by any angle: the group SO(2), bilinear with the border reflected."""

    def change(
        self, images: Float[Tensor, "samples channels height width"]
    ) -> Float[Tensor, "samples channels height width"]:
        return rotate(images, 2 * math.pi * torch.rand(len(images), device=images.device))
