"""Layers of Poincaré ResNet (van Spengler, Berkhout, Mettes; arXiv:2303.14027): on tangent vectors and space parts.

ReLU and pooling act on tangent vectors v at the origin of the ball, as in the authors' code, and convolutions begin with them.
Everything else is done to the same point on the hyperboloid, whose space part is s = lambda_x x = sinh(2 r) / r v and whose
time is (lambda_x - 1) / sqrt(c) = cosh(2 r) / sqrt(c), r = sqrt(c) |v|: the layers never go through the ball.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import conv2d

from .. import kernels
from ..geometry.hyperbolic import lorentz, poincare
from ..geometry.hyperbolic.numerics import FARTHEST, root, widened
from ..geometry.tables import no_autocast
from ..kernels import Kernels
from ..kernels.hyperbolic_radial import Kind
from .hyperbolic import Edge, HyperbolicBatchNorm, as_maps, as_rows

LIMIT = 2 * math.atanh(1 - poincare.EDGE[torch.float32])
"""The distance of the ball's edge from the origin in units of 1 / sqrt(c), as the authors project in float32."""


class PoincareRadial(nn.Module):
    """A point at every pixel, written in another way; points beyond the ball's edge are brought back."""

    def __init__(self, choice: Kernels, kind: Kind, c: float):
        super().__init__()
        self.radial = kernels.get("hyperbolic_radial", choice, order=1, kind=kind, c=c, limit=LIMIT)
        self.edge = Edge(LIMIT)

    def forward(self, maps: Float[Tensor, "samples channels h w"]) -> Float[Tensor, "samples channels h w"]:
        with no_autocast(maps):
            rows, beyond = self.radial(as_rows(maps))
            self.edge.count(beyond, len(rows))
            return as_maps(rows, maps)


class ToSpace(PoincareRadial):
    """Tangent vectors at the origin to space parts of points."""

    def __init__(self, choice: Kernels, c: float):
        super().__init__(choice, "space", c)


class PoincareReLU(PoincareRadial):
    """Space parts of points to tangent vectors at the origin, and ReLU."""

    def __init__(self, choice: Kernels, c: float):
        super().__init__(choice, "relu", c)


def space_factor(squares: Float[Tensor, "*points"], c: float, edge: Edge) -> Float[Tensor, "*points"]:
    """What turns tangent vectors at the origin, given by |v|^2, into space parts of points on the hyperboloid."""
    r = root(4 * c * squares)
    return 2 * edge(r).sinh() / r


class PoincareConv2d(nn.Module):
    """Convolution: beta-concatenation of the window's points, then the fully connected layer of HNN++.

    The concatenation's tangent vector is that of all pixels, scaled by a ratio of beta functions; output k has the signed
    distance 2 |z_k| d_k from the k-th coordinate hyperplane, d_k that of the window from the hyperplane of z_k and r_k. (In the
    authors' code lambda is 2 (1 - c |x|^2), where it should be 2 / (1 - c |x|^2).)

    The weights begin as half of the identity from the window's entries to as many outputs (the paper's identity).

    Args:
        choice: which backends run its kernels.
        inputs, outputs: dimensions of the balls.
        kernel, stride, padding: as of nn.Conv2d.
        c: minus the curvature.
    """

    def __init__(self, choice: Kernels, inputs: int, outputs: int, kernel: int, stride: int, padding: int, c: float):
        super().__init__()
        self.stride, self.padding, self.c, self.edge = stride, padding, c, Edge(LIMIT)
        self.window_squares = kernels.get(
            "window_squares", choice, order=1, kernel=kernel, stride=stride, padding=padding
        )
        self.linear = kernels.get("hyperbolic_linear", choice, order=1, c=c, limit=LIMIT)
        self.ratio = beta_half(inputs * kernel**2) / beta_half(inputs)
        self.z = nn.Parameter(torch.eye(outputs, inputs * kernel**2).view(outputs, inputs, kernel, kernel) / 2)
        self.r = nn.Parameter(torch.zeros(outputs))

    def forward(self, tangent: Float[Tensor, "samples inputs h w"]) -> Float[Tensor, "samples outputs h_out w_out"]:
        """Tangent vectors to space parts."""
        with no_autocast(tangent):
            window = self.window_squares(widened(tangent).permute(0, 2, 3, 1))
            z = widened(self.z)
            length = root(z.square().sum((1, 2, 3)))
            shift = (2 * math.sqrt(self.c) * widened(self.r)).clamp(-FARTHEST, FARTHEST)
            kernel = z * (math.sqrt(self.c) * self.ratio * shift.cosh() / length).view(-1, 1, 1, 1)
        mapped = conv2d(tangent, kernel.to(tangent.dtype), None, self.stride, self.padding)
        with no_autocast(tangent):
            window = window.flatten() * self.ratio**2
            rows, beyond = self.linear(as_rows(mapped), window, -shift.sinh(), 2 * length)
            self.edge.count(beyond, len(rows))
            return as_maps(rows, mapped)


def beta_half(dim: int) -> float:
    """The beta function B(dim / 2, 1 / 2)."""
    return math.exp(math.lgamma(dim / 2) - math.lgamma((dim + 1) / 2)) * math.sqrt(math.pi)


class PoincareBatchNorm(HyperbolicBatchNorm):
    """Midpoint batch norm: tangent vectors go from mu straight to beta = exp_0(self.beta).

    (The authors' code has no running statistics: it normalises test batches by their own.)
    """

    def __init__(self, choice: Kernels, channels: int, c: float):
        super().__init__(choice, channels, c, LIMIT, "direct")

    def space_of_beta(self) -> Float[Tensor, " channels"]:
        beta = widened(self.beta)
        return space_factor(beta.square().sum(), self.c, self.edge) * beta


class PoincareSum(nn.Module):
    """x + y of gyrovectors, given and returned by their space parts: the residual connection."""

    def __init__(self, choice: Kernels, c: float):
        super().__init__()
        self.sum = kernels.get("hyperbolic_sum", choice, order=1, c=c)

    def forward(
        self, x: Float[Tensor, "samples channels h w"], y: Float[Tensor, "samples channels h w"]
    ) -> Float[Tensor, "samples channels h w"]:
        with no_autocast(x):
            return as_maps(self.sum(as_rows(x), as_rows(y)), x)


class PoincareMLR(nn.Module):
    """Multinomial logistic regression of HNN++: logits 2 |z| d, d the signed distance from a class's hyperplane.

    (The authors' code ends with a fully connected layer's tangent vector instead.) The weights begin as half of the identity.

    Args:
        channels, classes: of the features, tangent vectors at the origin, and of the benchmark.
        c: minus the curvature.
    """

    def __init__(self, channels: int, classes: int, c: float):
        super().__init__()
        self.c, self.edge = c, Edge(LIMIT)
        self.z = nn.Parameter(torch.eye(classes, channels) / 2)
        self.r = nn.Parameter(torch.zeros(classes))

    def forward(self, tangent: Float[Tensor, "samples channels"]) -> Float[Tensor, "samples classes"]:
        with no_autocast(tangent):
            v = widened(tangent)
            point = lorentz.lift(space_factor(v.square().sum(1), self.c, self.edge).unsqueeze(1) * v, self.c)
            distances = lorentz.hyperplane_distance(point, self.z, 2 * self.r, self.c)
            return 2 * root(self.z.square().sum(1)) * distances
