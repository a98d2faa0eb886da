"""Layers of HCNN on the hyperboloid (Bdeir, Schwethelm, Landwehr; arXiv:2303.15919): a point is held by its space part.

ReLU acts on space parts, and a residual connection adds them: both are as without curvature.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import conv2d

from ..geometry.hyperbolic import lorentz
from ..geometry.hyperbolic.numerics import root, widened
from ..geometry.tables import no_autocast
from .hyperbolic import Edge, HyperbolicBatchNorm
from .hyperbolic_norm import Carrying, Scalar
from .hyperbolic_passes import Windows, as_maps, as_rows

FARTHEST = 10.0
"""The largest distance in units of 1 / sqrt(c): of the authors' code, which cuts exponential maps there."""


class LorentzConv2d(nn.Module):
    """Convolution: a linear map, bias included, of the window's concatenated points gives the space part.

    Concatenation keeps all space parts, and its time is t^2 = 1/c + sum |s|^2, to which padding with origins adds nothing.
    Time is counted from the origin, t - 1/sqrt(c): that only changes what the bias means, and has a limit for c -> 0.

    Args:
        inputs, outputs: dimensions of the spaces.
        kernel, stride, padding: as of nn.Conv2d.
        c: minus the curvature.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, padding: int, c: float):
        super().__init__()
        self.stride, self.padding, self.c = stride, padding, c
        bound = math.sqrt(2 / (inputs * kernel**2))
        self.weight = nn.Parameter(torch.empty(outputs, inputs, kernel, kernel).uniform_(-bound, bound))
        self.time_weight = nn.Parameter(torch.empty(outputs, 1).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(outputs).uniform_(-bound, bound))

    def forward(self, space: Float[Tensor, "samples inputs h w"]) -> Float[Tensor, "samples outputs h_out w_out"]:
        with no_autocast(space):
            space, window = Windows.apply(space, self.weight.shape[-1], self.stride, self.padding)
        mapped = conv2d(space, self.weight, self.bias, self.stride, self.padding)
        with no_autocast(space):
            # the time of every window, less that of the origin
            window = window.reshape(-1, 1)
            time = window / ((1 / self.c + window).sqrt() + 1 / math.sqrt(self.c))
            return as_maps(torch.addmm(as_rows(mapped), time, widened(self.time_weight).mT), mapped)


def by_the_origin(p: Scalar, q: Scalar, product: Scalar) -> Float[Tensor, "2 3"]:
    """The boost that brings p to the origin, then the one that brings the origin to q: see Carrying."""
    u, v = 1 / (1 + p), 1 / (1 + q)
    along = product * v
    return torch.stack([-torch.ones_like(u), u, torch.zeros_like(u), -along, along * u, v]).view(2, 3)


def by_the_origin_gradient(
    p: Scalar, q: Scalar, product: Scalar, gradient: Float[Tensor, "2 3"]
) -> tuple[Scalar, Scalar, Scalar]:
    """By p, q and their product."""
    u, v = 1 / (1 + p), 1 / (1 + q)
    along = product * v
    (_, a, _), (time, b, end) = (row.unbind() for row in gradient.unbind())
    by_p = -u * u * (a + along * b)
    by_along = u * b - time
    return by_p, -v * (along * by_along + v * end), v * by_along


class LorentzBatchNorm(HyperbolicBatchNorm):
    """Batch norm: tangent vectors go from mu to beta by way of the origin.

    beta is trained by its space part; see LorentzSGD for the metric. (The authors' code divides by the mean distance.)
    """

    carrying = Carrying(by_the_origin, by_the_origin_gradient)

    def __init__(self, channels: int, c: float):
        super().__init__(channels, c, FARTHEST)

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
