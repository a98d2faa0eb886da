"""CARE: Structuring Representation Geometry with Rotationally Equivariant Contrastive Learning. Gupta, Robinson, Lim, Villar,
Jegelka; ICLR 2024, arXiv:2306.13924.

Beside SimCLR's loss stands the equivariance loss, eq. (3): one random transformation of all images of a group is to keep the
inner products between their embeddings, so that it acts on the sphere as an orthogonal matrix (nn.orthogonal_action). As in
the authors' code, two transformations of the same images are compared, each group of images with its own two.

The paper's, on CIFAR: the transformations are those that make the views. Ours, on 3DIEBench, whose views are rendered, each
object's by its own rotations: a turn of the picture by any angle, of each object's first view.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from ...errors import UserError
from ...nn.gather import gather
from ...nn.orthogonal_action import gram_difference, wahba_error
from ...nn.rotate_images import rotate
from ...nn.ssl_losses import nt_xent
from ...nn.view_pairs import Images
from ...tasks.spec import Spec
from .self_supervised import JointEmbedding, SelfSupervised, two_views


class CARE(SelfSupervised):
    """SimCLR on whose embeddings augmentations act as rotations. With weight 0 it is SimCLR.

    `val/wahba` and `test/wahba` say how nearly they do (orthogonal_action.wahba_error), of the first batch under two
    transformations.

    Args:
        spec: the benchmark's.
        blocks, channels, projector, bottleneck: see JointEmbedding; published ResNet-50.
        temperature: tau of SimCLR's eq. (1), published 0.5.
        weight: of the equivariance loss, published 0.03 on CIFAR-10.
        group: images that are transformed alike, published 16 on CIFAR-10. What is left over of a batch counts for SimCLR's
            loss only.
    """

    title = "Structuring Representation Geometry with Rotationally Equivariant Contrastive Learning"
    arxiv = "2306.13924"
    tiny = {"blocks": [1, 1], "channels": 8, "projector": [16, 16], "bottleneck": False, "group": 2}

    def __init__(
        self,
        spec: Spec,
        blocks: Sequence[int],
        channels: int,
        projector: Sequence[int],
        bottleneck: bool,
        temperature: float,
        weight: float,
        group: int,
    ):
        super().__init__(spec)
        if temperature <= 0 or weight < 0 or group < 2:
            raise UserError(
                "model.temperature must be above 0, model.weight 0 or more and model.group 2 or more, not "
                f"{temperature}, {weight} and {group}"
            )
        self.temperature, self.weight, self.group = temperature, weight, group
        self.network = JointEmbedding(spec, blocks, channels, projector, bottleneck=bottleneck)

    def loss(self, batch: Any) -> Float[Tensor, ""]:
        loss = nt_xent(*two_views(gather(self(batch)["invariant"])), self.temperature)
        if not self.weight:
            return loss
        return loss + self.weight * gather(self.deviation(batch)).mean()

    def deviation(self, batch: Any) -> Float[Tensor, " groups"]:
        """How far from orthogonal two transformations of each group of images are from each other."""
        images = batch.source if "source" in batch else batch.images[:, 0]
        share = min(self.group, len(images))
        images = images[: len(images) // share * share]
        first, second = (self.embed(self.transform(images, share)).unflatten(0, (-1, share)) for _ in range(2))
        return gram_difference(first, second)

    def transform(self, images: Images, share: int) -> Images:
        """Random transformations, one for every `share` consecutive images."""
        if self.augment is not None:
            return self.augment.view(images, share=share)
        angles = 2 * math.pi * torch.rand(len(images) // share, device=images.device)
        return rotate(images, angles.repeat_interleave(share))

    def embed(self, images: Images) -> Float[Tensor, "samples embedded"]:
        """On the sphere."""
        network = self.network
        return normalize(network.invariant(network.backbone(network.standardize(images))), dim=-1)

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        super().validation_step(batch, batch_idx)
        self.log_wahba("val", batch, batch_idx)

    def test_step(self, batch: Any, batch_idx: int) -> dict[str, Tensor]:
        predictions = super().test_step(batch, batch_idx)
        self.log_wahba("test", batch, batch_idx)
        return predictions

    def log_wahba(self, stage: str, batch: Any, batch_idx: int) -> None:
        images = batch.images.flatten(0, 1)
        if batch_idx == 0 and len(images) > self.network.invariant[-1].out_features:
            first, second = (self.embed(self.transform(images, len(images))) for _ in range(2))
            self.log(f"{stage}/wahba", wahba_error(first, second).float(), batch_size=len(batch), rank_zero_only=True)
