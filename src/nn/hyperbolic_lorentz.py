"""Layers of HCNN on the hyperboloid (Bdeir, Schwethelm, Landwehr; arXiv:2303.15919): a point is held by its space part.

ReLU acts on space parts, and a residual connection adds them: both are as without curvature.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import conv2d

from .. import kernels
from ..geometry.hyperbolic import lorentz
from ..geometry.hyperbolic.numerics import root, widened
from ..geometry.tables import no_autocast
from ..kernels import Kernels
from .hyperbolic import Edge, HyperbolicBatchNorm, as_maps, as_rows

FARTHEST = 10.0
"""The largest distance in units of 1 / sqrt(c): of the authors' code, which cuts exponential maps there."""


class LorentzConv2d(nn.Module):
    """Convolution: a linear map, bias included, of the window's concatenated points gives the space part.

    Concatenation keeps all space parts, and its time is t^2 = 1/c + sum |s|^2, to which padding with origins adds nothing.
    Time is counted from the origin, t - 1/sqrt(c): that only changes what the bias means, and has a limit for c -> 0.

    Args:
        choice: which backends run its kernels.
        inputs, outputs: dimensions of the spaces.
        kernel, stride, padding: as of nn.Conv2d.
        c: minus the curvature.
    """

    def __init__(self, choice: Kernels, inputs: int, outputs: int, kernel: int, stride: int, padding: int, c: float):
        super().__init__()
        self.stride, self.padding, self.c = stride, padding, c
        self.window_squares = kernels.get(
            "window_squares", choice, order=1, kernel=kernel, stride=stride, padding=padding
        )
        bound = math.sqrt(2 / (inputs * kernel**2))
        self.weight = nn.Parameter(torch.empty(outputs, inputs, kernel, kernel).uniform_(-bound, bound))
        self.time_weight = nn.Parameter(torch.empty(outputs, 1).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(outputs).uniform_(-bound, bound))

    def forward(self, space: Float[Tensor, "samples inputs h w"]) -> Float[Tensor, "samples outputs h_out w_out"]:
        with no_autocast(space):
            window = self.window_squares(widened(space).permute(0, 2, 3, 1))
        mapped = conv2d(space, self.weight, self.bias, self.stride, self.padding)
        with no_autocast(space):
            # the time of every window, less that of the origin
            window = window.reshape(-1, 1)
            time = window / ((1 / self.c + window).sqrt() + 1 / math.sqrt(self.c))
            return as_maps(torch.addmm(as_rows(mapped), time, widened(self.time_weight).mT), mapped)


class LorentzBatchNorm(HyperbolicBatchNorm):
    """Batch norm: tangent vectors go from mu to beta by way of the origin.

    beta is trained by its space part; see LorentzSGD for the metric. (The authors' code divides by the mean distance.)
    """

    def __init__(self, choice: Kernels, channels: int, c: float):
        super().__init__(choice, channels, c, FARTHEST, "origin")

    def space_of_beta(self) -> Float[Tensor, " channels"]:
        beta = widened(self.beta)
        return self.edge.inwards(root(self.c * beta.square().sum())) * beta


class LorentzMLR(nn.Module):
    """Multinomial logistic regression: logits |z| d, d the signed distance from a class's hyperplane.

    Args:
        channels, classes: of the features, space parts of points, and of the benchmark.
        c: minus the curvature.
    """

    def __init__(self, channels: int, classes: int, c: float):
        super().__init__()
        self.c, self.edge = c, Edge(FARTHEST)
        bound = 1 / math.sqrt(channels)
        self.a = nn.Parameter(torch.empty(classes).uniform_(-bound, bound))
        self.z = nn.Parameter(torch.empty(classes, channels).uniform_(-bound, bound))

    def forward(self, space: Float[Tensor, "samples channels"]) -> Float[Tensor, "samples classes"]:
        with no_autocast(space):
            s = widened(space)
            s = s * self.edge.inwards(root(self.c * s.square().sum(1))).unsqueeze(1)
            distances = lorentz.hyperplane_distance(lorentz.lift(s, self.c), self.z, self.a, self.c)
            return distances * self.z.norm(dim=1)


def lorentz_mean(space: Float[Tensor, "samples channels h w"], c: float) -> Float[Tensor, "samples channels"]:
    """Global average pooling: the space part of the centroid of all pixels."""
    points = lorentz.lift(space.flatten(2).mT, c)
    return lorentz.centroid(points, c)[:, 1:]
