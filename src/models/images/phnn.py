"""PHNNs: Lightweight Neural Networks via Parameterized Hypercomplex Convolutions.

Grassucci, Zhang, Comminiello; IEEE TNNLS 2022, arXiv:2110.04176.

A residual network all of whose convolutions multiply in a learned algebra of n dimensions, with about 1/n of the parameters.
The classifier stays real, as in the authors' code. Images get grey channels (the mean of their own) until n divides their
number: with n = 4, colours are quaternions with grey for their real part; with n = 3 they need none.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ...errors import UserError
from ...nn.hypercomplex import with_hypercomplex_convolutions
from ...tasks.spec import Spec
from .classifier import Classifier, ImageClassifier
from .resnet import ResidualStages


class PHNN(ImageClassifier):
    """A residual network with parameterized hypercomplex convolutions.

    Args:
        spec: the benchmark's.
        n: dimensions of the algebra; must divide `channels`.
        blocks, channels, shortcut: of the residual network, see ResNet.
    """

    title = "PHNNs: Lightweight Neural Networks via Parameterized Hypercomplex Convolutions"
    arxiv = "2110.04176"
    tiny = {"blocks": [1, 1], "channels": 8, "n": 2}

    def __init__(self, spec: Spec, n: int, blocks: Sequence[int], channels: int, shortcut: str):
        super().__init__(spec)
        if shortcut not in ("pad", "project"):
            raise UserError(f"model.shortcut must be pad or project, not {shortcut!r}")
        if n < 1 or channels % n:
            raise UserError(f"model.n={n} does not divide model.channels={channels}")
        grey = Grey(spec.fields["image"].shape[0], n)
        stages = ResidualStages(grey.channels, blocks, channels, shortcut)
        backbone = nn.Sequential(grey, with_hypercomplex_convolutions(stages, n))
        backbone.feature_channels = stages.feature_channels
        self.network = Classifier(spec, backbone)


class Grey(nn.Module):
    """Puts the mean over channels in front until their number is a multiple of n."""

    def __init__(self, channels: int, n: int):
        super().__init__()
        self.more = -channels % n
        self.channels = channels + self.more

    def forward(self, images: Float[Tensor, "samples channels h w"]) -> Float[Tensor, "samples more_channels h w"]:
        grey = images.mean(1, keepdim=True).expand(-1, self.more, -1, -1)
        return torch.cat([grey, images], 1)
