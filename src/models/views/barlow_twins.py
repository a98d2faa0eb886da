"""Barlow Twins: Self-Supervised Learning via Redundancy Reduction. Zbontar, Jing, Misra, LeCun, Deny; arXiv:2103.03230.

The loss is eq. (1) with the correlations of eq. (2) (nn.ssl_losses.barlow_twins).
"""

from collections.abc import Sequence
from typing import Any

from jaxtyping import Float
from torch import Tensor

from ...nn.gather import gather
from ...nn.ssl_losses import barlow_twins
from ...tasks.spec import Spec
from .self_supervised import JointEmbedding, SelfSupervised, two_views


class BarlowTwins(SelfSupervised):
    """The correlations between the embeddings of two views are to be the identity.

    Args:
        spec: the benchmark's.
        blocks, channels, projector: see JointEmbedding.
        redundancy: lambda of eq. (1), published 5.1e-3.
    """

    title = "Barlow Twins: Self-Supervised Learning via Redundancy Reduction"
    arxiv = "2103.03230"
    tiny = {"blocks": [1, 1], "channels": 8, "projector": [16, 16]}

    def __init__(self, spec: Spec, blocks: Sequence[int], channels: int, projector: Sequence[int], redundancy: float):
        super().__init__(spec)
        self.redundancy = redundancy
        self.network = JointEmbedding(spec, blocks, channels, projector)

    def loss(self, batch: Any) -> Float[Tensor, ""]:
        return barlow_twins(*two_views(gather(self(batch)["invariant"])), self.redundancy)
