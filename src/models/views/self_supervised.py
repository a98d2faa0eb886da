"""What self-supervised papers on views share: a backbone, one or two projectors, and a representation in two parts.

The first channels of the backbone's output are the invariant part, the last ones the equivariant part, which may be empty
(arXiv:2302.10283, section 4). Losses see the embeddings behind the projectors; evaluation sees the representation before
them.
"""

from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ...errors import UserError
from ...nn.standardize import Standardize
from ...tasks.capabilities import Acts
from ...tasks.poses import relative_rotation
from ...tasks.spec import Spec
from ..images.resnet import ResidualStages
from ..paper import Paper, sample_count

Views = Float[Tensor, "samples views channels"]
SMALL = 32
"""Pixels up to which images are not halved before the first stage."""


class JointEmbedding(nn.Module):
    """Views to representations, and to the embeddings of their invariant and equivariant parts.

    Args:
        spec: of a benchmark of views.
        blocks, channels: of the backbone, a ResNet (images.resnet): ResNet-18 is [2, 2, 2, 2] and 64, with 512 channels at
            its end. Its stem is that of ImageNet's networks, or of CIFAR's for images of 32 pixels or fewer.
        projector: the widths of the projector's layers. Where there are two parts, each has a projector of its own, as wide
            as its share of the channels.
        equivariant: channels of the equivariant part.
        bottleneck: whether the backbone is one of bottlenecks: ResNet-50 is [3, 4, 6, 3] and 64, with 2,048 channels.
    """

    def __init__(
        self,
        spec: Spec,
        blocks: Sequence[int],
        channels: int,
        projector: Sequence[int],
        equivariant: int = 0,
        bottleneck: bool = False,
    ):
        super().__init__()
        _, inputs, *size = spec.fields["images"].shape
        self.standardize = Standardize(inputs)
        self.backbone = make_backbone(inputs, blocks, channels, max(size) <= SMALL, bottleneck)
        self.feature_channels = self.backbone.feature_channels
        if not 0 <= equivariant < self.feature_channels:
            raise UserError(
                f"model.equivariant must lie between 0 and {self.feature_channels - 1} (the backbone has "
                f"{self.feature_channels} channels), not {equivariant}"
            )
        self.split = self.feature_channels - equivariant
        share = self.split / self.feature_channels
        self.invariant = make_projector(self.split, [round(width * share) for width in projector])
        self.equivariant: nn.Module | None = None
        self.moving_channels = round(projector[-1] * (1 - share)) if equivariant else 0
        if equivariant:
            self.equivariant = make_projector(equivariant, [round(width * (1 - share)) for width in projector])

    def features(self, batch: Any) -> Views:
        """The representation of every view."""
        samples, views = batch.images.shape[:2]
        features = self.backbone(self.standardize(batch.images.flatten(0, 1)))
        return features.unflatten(0, (samples, views))

    def forward(self, batch: Any) -> dict[str, Tensor]:
        """The `representation` and the embeddings `invariant` and `equivariant` (no channels where there is no such part)."""
        features = self.features(batch)
        kept, moved = features.split([self.split, self.feature_channels - self.split], -1)
        return {
            "representation": features,
            "invariant": each_view(self.invariant, kept),
            "equivariant": moved if self.equivariant is None else each_view(self.equivariant, moved),
        }


class SelfSupervised(Paper):
    """A paper that learns a representation from views alone; `loss` is all that most of them add.

    `predict` gives what the benchmark scores for every view of a batch: the representation by part, and, of a paper that
    acts on its latent space, its embeddings and those that it predicts from the first view and the rotations from there.
    """

    modalities = frozenset({"views"})
    outputs = frozenset()
    network: JointEmbedding

    @abstractmethod
    def loss(self, batch: Any) -> Float[Tensor, ""]:
        """Of the joined batch of all processes."""

    def represent(self, batch: Any) -> dict[str, Views]:
        return self.parts({"representation": self.network.features(batch)})

    def parts(self, outputs: Mapping[str, Tensor]) -> dict[str, Views]:
        """What is probed, by part, from the network's outputs."""
        features, split = outputs["representation"], self.network.split
        return {"all": features, "invariant": features[..., :split], "equivariant": features[..., split:]}

    def between(
        self, source: Float[Tensor, "*batch latents"], target: Float[Tensor, "*batch latents"]
    ) -> Float[Tensor, "*element"]:
        """The group element that leads from one view to the other, in the form in which `act` takes it."""
        return relative_rotation(source, target)

    def predict(self, batch: Any) -> dict[str, Tensor]:
        if not isinstance(self, Acts) or self.network.equivariant is None:
            return self.represent(batch)
        outputs = self(batch)
        source, latents = outputs["equivariant"][:, :1].expand_as(outputs["equivariant"]), batch.latents
        return {
            **self.parts(outputs),
            "embedded_invariant": outputs["invariant"],
            "embedded_equivariant": outputs["equivariant"],
            "predicted_equivariant": self.act(source, self.between(latents[:, :1].expand_as(latents), latents)),
        }

    def training_step(self, batch: Any, batch_idx: int) -> Float[Tensor, ""]:
        if self.augment is not None:
            batch = self.augment(batch)
        loss = self.loss(batch)
        self.check_finite(loss, batch)
        self.log("train/loss", loss, prog_bar=True, batch_size=sample_count(batch))
        return loss

    def fit_closed_form(self, train_batches: Callable[[], Iterable[Any]]) -> None:
        self.network.standardize.fit(batch.images.flatten(0, 1) for batch in train_batches())


def each_view(module: Callable[[Tensor], Tensor], x: Float[Tensor, "samples views *shape"]) -> Views:
    """A module of rows applied to all views at once."""
    return module(x.flatten(0, 1)).unflatten(0, x.shape[:2])


def make_backbone(
    inputs: int, blocks: Sequence[int], channels: int, small: bool = False, bottleneck: bool = False
) -> ResidualStages:
    """A ResNet (images.resnet) with the stem of ImageNet's, or for small images with that of CIFAR's."""
    backbone = ResidualStages(inputs, blocks, channels, "project", bottleneck)
    if not small:
        backbone.stem = downsampling_stem(inputs, channels)
    return backbone


def downsampling_stem(inputs: int, outputs: int) -> nn.Sequential:
    """The stem of ResNets for ImageNet: a convolution of 7 x 7 and a maximum of 3 x 3, each with stride 2."""
    convolution = nn.Conv2d(inputs, outputs, 7, 2, padding=3, bias=False)
    nn.init.kaiming_normal_(convolution.weight, mode="fan_out", nonlinearity="relu")
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU(), nn.MaxPool2d(3, 2, padding=1))


def make_projector(inputs: int, widths: Sequence[int]) -> nn.Sequential:
    """Linear layers with batch norm and ReLU between them; the last one has neither, and no bias."""
    *hidden, last = widths
    layers: list[nn.Module] = []
    for width in hidden:
        layers += [nn.Linear(inputs, width, bias=False), nn.BatchNorm1d(width), nn.ReLU()]
        inputs = width
    return nn.Sequential(*layers, nn.Linear(inputs, last, bias=False))


def two_views(embedding: Views) -> tuple[Float[Tensor, "samples channels"], Float[Tensor, "samples channels"]]:
    """The first two views, which a paper of pairs compares."""
    if embedding.shape[1] != 2:
        raise UserError(
            f"this paper compares two views of a sample, and there are {embedding.shape[1]}: use data.views=2"
        )
    first, second = torch.unbind(embedding, 1)
    return first, second
