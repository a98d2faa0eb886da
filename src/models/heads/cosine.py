"""Cosine softmax, the head that others are compared with (Wang, Xiang, Cheng, Yuille; NormFace, arXiv:1704.06369)."""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import linear, normalize


class Cosine(nn.Module):
    """logit_c = scale cos(w_c, x): a linear head on the unit sphere.

    Args:
        channels, classes: of the features and of the benchmark.
        scale: the largest logit; cosines alone could never make a sure softmax.
    """

    def __init__(self, channels: int, classes: int, scale: float):
        super().__init__()
        self.scale = scale
        self.weight = nn.Parameter(torch.randn(classes, channels))

    def forward(self, x: Float[Tensor, "samples channels"]) -> Float[Tensor, "samples classes"]:
        return self.scale * linear(normalize(x, dim=-1), normalize(self.weight, dim=-1))
