"""SimCLR: A Simple Framework for Contrastive Learning. Chen, Kornblith, Norouzi, Hinton; ICML 2020, arXiv:2002.05709.

The loss is eq. (1), NT-Xent (nn.ssl_losses.nt_xent). On 3DIEBench the two renderings of an object take the place of two
augmentations of an image (arXiv:2302.10283, section 5).
"""

from collections.abc import Sequence
from typing import Any

from jaxtyping import Float
from torch import Tensor

from ...errors import UserError
from ...nn.gather import gather
from ...nn.ssl_losses import nt_xent
from ...tasks.spec import Spec
from .self_supervised import JointEmbedding, SelfSupervised, two_views


class SimCLR(SelfSupervised):
    """Each view is to find its partner among all other views of the batch.

    Args:
        spec: the benchmark's.
        blocks, channels, projector: see JointEmbedding.
        temperature: tau of eq. (1), above 0.
    """

    title = "A Simple Framework for Contrastive Learning of Visual Representations"
    arxiv = "2002.05709"
    tiny = {"blocks": [1, 1], "channels": 8, "projector": [16, 16]}

    def __init__(self, spec: Spec, blocks: Sequence[int], channels: int, projector: Sequence[int], temperature: float):
        super().__init__(spec)
        if temperature <= 0:
            raise UserError(f"model.temperature must be above 0, not {temperature}")
        self.temperature = temperature
        self.network = JointEmbedding(spec, blocks, channels, projector)

    def loss(self, batch: Any) -> Float[Tensor, ""]:
        return nt_xent(*two_views(gather(self(batch)["invariant"])), self.temperature)
