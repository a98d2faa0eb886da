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

from ..geometry.hyperbolic import lorentz, poincare
from ..geometry.hyperbolic.numerics import FARTHEST, asinh, root, widened
from ..geometry.tables import no_autocast
from .hyperbolic import Edge, HyperbolicBatchNorm
from .hyperbolic_norm import Carrying, Scalar
from .hyperbolic_passes import Boosted, Distances, PerPixel, Rows, Scaled, Windows, as_maps, as_rows, dots, over

LIMIT = 2 * math.atanh(1 - poincare.EDGE[torch.float32])
"""The distance of the ball's edge from the origin in units of 1 / sqrt(c), as the authors project in float32."""


class ToSpace(nn.Module):
    """Tangent vectors at the origin to space parts of points; beyond the edge they are cut."""

    def __init__(self, c: float):
        super().__init__()
        self.c, self.edge = c, Edge(LIMIT)

    def forward(self, tangent: Float[Tensor, "samples channels h w"]) -> Float[Tensor, "samples channels h w"]:
        with no_autocast(tangent):
            rows = as_rows(tangent)
            return as_maps(Scaled.apply(rows, *self.factor(rows.detach()), False), tangent)

    @torch.no_grad()
    def factor(self, rows: Rows) -> tuple[PerPixel, PerPixel]:
        """sinh(r) / |v| for r = 2 sqrt(c) |v|, and its derivative by |v|^2."""
        r = root(4 * self.c * dots(rows, rows))
        self.edge.count(over(r, LIMIT), len(r))
        cut = r.clamp_max(LIMIT)
        factor = 2 * cut.sinh() / r
        slope = (2 * cut.cosh()).mul_(r <= LIMIT).sub_(factor).div_(r).div_(r).mul_(2 * self.c)
        return factor, slope


class PoincareReLU(nn.Module):
    """Space parts of points to tangent vectors at the origin, and ReLU; points beyond the ball's edge are brought back."""

    def __init__(self, c: float):
        super().__init__()
        self.c, self.edge = c, Edge(LIMIT)

    def forward(self, space: Float[Tensor, "samples channels h w"]) -> Float[Tensor, "samples channels h w"]:
        with no_autocast(space):
            rows = as_rows(space)
            return as_maps(Scaled.apply(rows, *self.factor(rows.detach()), True), space)

    @torch.no_grad()
    def factor(self, rows: Rows) -> tuple[PerPixel, PerPixel]:
        """asinh(r) / (2 r) for r = sqrt(c) |s|, and its derivative by |s|^2."""
        squares = self.c * dots(rows, rows)
        r = root(squares)
        angle = asinh(r)
        self.edge.count(over(angle, LIMIT), len(r))
        factor = angle.clamp_max(LIMIT).div_(r).mul_(0.5)
        slope = (1 + squares).rsqrt_().mul_(angle <= LIMIT).mul_(0.5).sub_(factor).div_(r).div_(r).mul_(self.c / 2)
        return factor, slope


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
        inputs, outputs: dimensions of the balls.
        kernel, stride, padding: as of nn.Conv2d.
        c: minus the curvature.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, padding: int, c: float):
        super().__init__()
        self.stride, self.padding, self.c, self.edge = stride, padding, c, Edge(LIMIT)
        self.ratio = beta_half(inputs * kernel**2) / beta_half(inputs)
        self.z = nn.Parameter(torch.eye(outputs, inputs * kernel**2).view(outputs, inputs, kernel, kernel) / 2)
        self.r = nn.Parameter(torch.zeros(outputs))

    def forward(self, tangent: Float[Tensor, "samples inputs h w"]) -> Float[Tensor, "samples outputs h_out w_out"]:
        """Tangent vectors to space parts."""
        with no_autocast(tangent):
            tangent, window = Windows.apply(tangent, self.z.shape[-1], self.stride, self.padding)
            z = widened(self.z)
            length = root(z.square().sum((1, 2, 3)))
            shift = (2 * math.sqrt(self.c) * widened(self.r)).clamp(-FARTHEST, FARTHEST)
            kernel = z * (math.sqrt(self.c) * self.ratio * shift.cosh() / length).view(-1, 1, 1, 1)
        mapped = conv2d(tangent, kernel.to(tangent.dtype), None, self.stride, self.padding)
        with no_autocast(tangent):
            window = window.flatten() * self.ratio**2
            rows, beyond = Distances.apply(as_rows(mapped), window, -shift.sinh(), 2 * length, self.c, self.edge.limit)
            self.edge.count(beyond, len(rows))
            return as_maps(rows, mapped)


def beta_half(dim: int) -> float:
    """The beta function B(dim / 2, 1 / 2)."""
    return math.exp(math.lgamma(dim / 2) - math.lgamma((dim + 1) / 2)) * math.sqrt(math.pi)


def direct(p: Scalar, q: Scalar, product: Scalar) -> Float[Tensor, "2 3"]:
    """u + <q, u> / (1 - <p, q>) (p + q) of u = x + <x, p> p, all products Lorentzian and times c: see Carrying."""
    away = torch.stack([p, -torch.ones_like(p), torch.zeros_like(p)])
    turn = turned(p, q, product)
    return torch.stack([turn - away, turn])


def turned(p: Scalar, q: Scalar, product: Scalar) -> Float[Tensor, "3"]:
    ends = product - p * q
    return torch.stack([-q - ends * p, ends, torch.ones_like(p)]) / (1 - ends)


def direct_gradient(
    p: Scalar, q: Scalar, product: Scalar, gradient: Float[Tensor, "2 3"]
) -> tuple[Scalar, Scalar, Scalar]:
    """By p, q and their product."""
    ends = product - p * q
    by_turn = gradient.sum(0)
    time, along, _ = (by_turn / (1 - ends)).unbind()
    by_ends = turned(p, q, product).dot(by_turn) / (1 - ends) + along - p * time
    return -ends * time - q * by_ends - gradient[0, 0], -time - p * by_ends, by_ends


class PoincareBatchNorm(HyperbolicBatchNorm):
    """Midpoint batch norm: tangent vectors go from mu straight to beta = exp_0(self.beta).

    (The authors' code has no running statistics: it normalises test batches by their own.)
    """

    carrying = Carrying(direct, direct_gradient)

    def __init__(self, channels: int, c: float):
        super().__init__(channels, c, LIMIT)

    def space_of_beta(self) -> Float[Tensor, " channels"]:
        beta = widened(self.beta)
        return space_factor(beta.square().sum(), self.c, self.edge) * beta


class PoincareSum(nn.Module):
    """x + y of gyrovectors, given and returned by their space parts: the residual connection."""

    def __init__(self, c: float):
        super().__init__()
        self.c = c

    def forward(
        self, x: Float[Tensor, "samples channels h w"], y: Float[Tensor, "samples channels h w"]
    ) -> Float[Tensor, "samples channels h w"]:
        with no_autocast(x):
            return as_maps(Boosted.apply(as_rows(x), as_rows(y), self.c), x)


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
