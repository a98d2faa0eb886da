"""SIE: Self-supervised learning of Split Invariant Equivariant representations. Garrido, Najman, LeCun; arXiv:2302.10283.

Implements section 4: a representation in two parts with a projector each, the invariance loss on one, a hypernetwork
predictor that moves the other by the rotation between the two views, and VICReg's variance and covariance terms on both
together, with a variance term on what is predicted. Weights are those of the authors' code, where the factor of the
equivariant term multiplies that of the invariant one: lambda_inv = sim, lambda_equi = equi_factor * sim.
"""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import mse_loss

from ...nn.gather import gather
from ...nn.ssl_losses import regularization, variance
from ...tasks.spec import Spec
from .self_supervised import JointEmbedding, SelfSupervised, two_views


class SIE(SelfSupervised):
    """VICReg on one part of the representation, predicted motion on the other. Without the other part it is VICReg.

    Args:
        spec: the benchmark's; its batches hold the `rotation` between the two views.
        blocks, channels, projector: see JointEmbedding.
        equivariant: channels of the equivariant part, published 256 of 512.
        sim, std, cov: weights of the invariance, variance and covariance terms.
        equi_factor: of the equivariance term, in units of `sim`; 0.45 in the authors' recipe (their code's default is 4.5).
    """

    title = "Self-supervised learning of Split Invariant Equivariant representations"
    arxiv = "2302.10283"
    tiny = {"blocks": [1, 1], "channels": 8, "projector": [16, 16], "equivariant": 8}
    needs = frozenset({"rotation"})

    def __init__(
        self,
        spec: Spec,
        blocks: Sequence[int],
        channels: int,
        projector: Sequence[int],
        equivariant: int,
        sim: float,
        std: float,
        cov: float,
        equi_factor: float,
    ):
        super().__init__(spec)
        self.sim, self.std, self.cov, self.equi_factor = sim, std, cov, equi_factor
        self.network = JointEmbedding(spec, blocks, channels, projector, equivariant)
        self.predictor = Hypernetwork(self.network.moving_channels) if equivariant else None

    def act(
        self, z: Float[Tensor, "*batch channels"], g: Float[Tensor, "*batch 4"]
    ) -> Float[Tensor, "*batch channels"]:
        """The equivariant embedding that is predicted after the rotation g, a quaternion (w, x, y, z)."""
        return self.predictor(z, g)

    def loss(self, batch: Any) -> Float[Tensor, ""]:
        outputs = self(batch)
        kept = two_views(gather(outputs["invariant"]))
        loss = self.sim * mse_loss(*kept)
        if self.predictor is None:
            return loss + regularization(*kept, self.std, self.cov)
        moved = two_views(gather(outputs["equivariant"]))
        predicted = gather(self.act(outputs["equivariant"][:, 0], batch.rotation[:, 0]))
        loss = loss + self.equi_factor * self.sim * mse_loss(predicted, moved[1])
        loss = loss + self.std * variance(predicted) / 2
        # both parts together, so that none holds what the other one has already
        joint = (torch.cat(views, -1) for views in zip(kept, moved, strict=True))
        return loss + regularization(*joint, self.std, self.cov)


class Hypernetwork(nn.Module):
    """z -> W(g) z, where the matrix W(g) = sum_k g_k A_k is linear in the quaternion g and without bias (section 4.2).

    The first A_k are drawn as a linear layer's weights are, so that W(g) z has about a third of z's variance; the authors'
    own start is larger by the root of the number of channels.
    """

    def __init__(self, channels: int):
        super().__init__()
        bound = channels**-0.5
        self.matrices = nn.Parameter(torch.empty(4, channels, channels).uniform_(-bound, bound))

    def forward(
        self, z: Float[Tensor, "*batch channels"], g: Float[Tensor, "*batch 4"]
    ) -> Float[Tensor, "*batch channels"]:
        # the four images of z, weighted: no matrix is made for every sample
        images = torch.einsum("koi,...i->...ko", self.matrices, z)
        return torch.einsum("...k,...ko->...o", g, images)
