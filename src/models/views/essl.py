"""E-SSL: Equivariant Contrastive Learning. Dangovski, Jing, Loh, Han, Srivastava, Cheung, Agrawal, Soljačić; ICLR 2022.

arXiv:2111.00899, eq. (1) in its form E-SimCLR: SimCLR's loss, and weight times that of predicting, from the representation
before the projector, by which element of a group the input was transformed.

The paper's, on CIFAR: the group is that of quarter turns; a third, smaller crop of each image is shown in all four and the
turn is to be told (cross-entropy). Ours, on 3DIEBench, where the group is that of rotations: from the representations of the
two views the quaternion of R_1^-1 R_2 is to be told (mean squared error). Where the authors' code for CIFAR differs: its
SimCLR contrasts a view only with the other views of other images, and its projector ends with a batch norm.
"""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from ...errors import UserError
from ...nn.gather import gather
from ...nn.ssl_losses import nt_xent
from ...tasks.spec import Spec
from .self_supervised import JointEmbedding, SelfSupervised, two_views


class ESSL(SelfSupervised):
    """SimCLR that also tells how its input was turned. With weight 0 it is SimCLR.

    Args:
        spec: the benchmark's.
        blocks, channels, projector: see JointEmbedding.
        temperature: tau of SimCLR's eq. (1), published 0.5.
        weight: lambda of eq. (1), published 0.4.
        hidden: width of the predictor, published 2048.
        crop: side in pixels of the images whose turn is told, published 16 of CIFAR's 32; not for views of objects.
    """

    title = "Equivariant Contrastive Learning"
    arxiv = "2111.00899"
    tiny = {"blocks": [1, 1], "channels": 8, "projector": [16, 16], "hidden": 16}

    def __init__(
        self,
        spec: Spec,
        blocks: Sequence[int],
        channels: int,
        projector: Sequence[int],
        temperature: float,
        weight: float,
        hidden: int,
        crop: int,
    ):
        super().__init__(spec)
        if temperature <= 0 or weight < 0 or crop < 8:
            raise UserError(
                "model.temperature must be above 0, model.weight 0 or more and model.crop 8 or more, not "
                f"{temperature}, {weight} and {crop}"
            )
        self.temperature, self.weight, self.crop = temperature, weight, crop
        self.between_views = "rotation" in spec.fields
        self.network = JointEmbedding(spec, blocks, channels, projector)
        seen = self.network.feature_channels * (2 if self.between_views else 1)
        self.predictor = Predictor(seen, hidden) if weight else None

    def loss(self, batch: Any) -> Float[Tensor, ""]:
        outputs = self(batch)
        loss = nt_xent(*two_views(gather(outputs["invariant"])), self.temperature)
        if self.predictor is None:
            return loss
        told = self.rotation_loss(outputs, batch) if self.between_views else self.quarter_turn_loss(batch)
        return loss + self.weight * gather(told).mean()

    def rotation_loss(self, outputs: dict[str, Tensor], batch: Any) -> Float[Tensor, " samples"]:
        """Of each pair's relative rotation."""
        told = self.predictor(outputs["representation"].flatten(1))
        return (told - batch.rotation[:, 0]).square().mean(-1)

    def quarter_turn_loss(self, batch: Any) -> Float[Tensor, " samples"]:
        """Of each image's four turns."""
        small = self.augment.view(batch.source, (self.crop, self.crop))
        turned = torch.cat([small.rot90(turns, (-2, -1)) for turns in range(4)])
        logits = self.predictor(self.network.backbone(self.network.standardize(turned)))
        turns = torch.arange(4, device=logits.device).repeat_interleave(len(small))
        return cross_entropy(logits, turns, reduction="none").unflatten(0, (4, -1)).mean(0)


class Predictor(nn.Sequential):
    """Two hidden layers with layer norm and ReLU, and four outputs: the turns' logits, or a quaternion."""

    def __init__(self, inputs: int, hidden: int):
        layers: list[nn.Module] = []
        for width in (inputs, hidden):
            layers += [nn.Linear(width, hidden), nn.LayerNorm(hidden), nn.ReLU()]
        super().__init__(*layers, nn.Linear(hidden, 4))
