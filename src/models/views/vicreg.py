"""VICReg: Variance-Invariance-Covariance Regularization. Bardes, Ponce, LeCun; ICLR 2022, arXiv:2105.04906.

The loss is eq. (6), nn.ssl_losses.vicreg. The published weights are 25, 25 and 1 on ImageNet; SIE's authors use 10, 10 and 1
for their VICReg on 3DIEBench.
"""

from collections.abc import Sequence
from typing import Any

from jaxtyping import Float
from torch import Tensor

from ...nn.gather import gather
from ...nn.ssl_losses import vicreg
from ...tasks.spec import Spec
from .self_supervised import JointEmbedding, SelfSupervised, two_views


class VICReg(SelfSupervised):
    """An embedding that is the same for two views, with unit variance and no correlations.

    Args:
        spec: the benchmark's.
        blocks, channels, projector: see JointEmbedding.
        sim, std, cov: the weights lambda, mu and nu of eq. (6).
    """

    title = "VICReg: Variance-Invariance-Covariance Regularization for Self-Supervised Learning"
    arxiv = "2105.04906"
    tiny = {"blocks": [1, 1], "channels": 8, "projector": [16, 16]}

    def __init__(
        self,
        spec: Spec,
        blocks: Sequence[int],
        channels: int,
        projector: Sequence[int],
        sim: float,
        std: float,
        cov: float,
    ):
        super().__init__(spec)
        self.weights = {"sim": sim, "std": std, "cov": cov}
        self.network = JointEmbedding(spec, blocks, channels, projector)

    def loss(self, batch: Any) -> Float[Tensor, ""]:
        return vicreg(*two_views(gather(self(batch)["invariant"])), **self.weights)
