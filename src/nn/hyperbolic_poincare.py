"""Layers of Poincaré ResNet (van Spengler, Berkhout, Mettes; arXiv:2303.14027): on tangent vectors and space parts.

ReLU and pooling act on tangent vectors v at the origin of the ball, as in the authors' code, and convolutions begin with them.
Everything else is done to the same point on the hyperboloid, whose space part is s = lambda_x x = sinh(2 r) / r v and whose
time is (lambda_x - 1) / sqrt(c) = cosh(2 r) / sqrt(c), r = sqrt(c) |v|: the layers never go through the ball.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx, once_differentiable
from torch.nn.functional import conv2d

from ..geometry.hyperbolic import lorentz, poincare
from ..geometry.hyperbolic.numerics import FARTHEST, asinh, root, widened
from ..geometry.tables import no_autocast
from .hyperbolic import (
    Edge,
    HyperbolicBatchNorm,
    PerPixel,
    Relative,
    Rows,
    as_maps,
    as_rows,
    combined,
    squared,
    window_squares,
)

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
            return as_maps(rows * space_factor(squared(rows), self.c, self.edge).unsqueeze(1), tangent)


class PoincareReLU(nn.Module):
    """Space parts of points to tangent vectors at the origin, and ReLU; points beyond the ball's edge are brought back."""

    def __init__(self, c: float):
        super().__init__()
        self.c, self.edge = c, Edge(LIMIT)

    def forward(self, space: Float[Tensor, "samples channels h w"]) -> Float[Tensor, "samples channels h w"]:
        with no_autocast(space):
            rows = as_rows(space)
            r = root(self.c * squared(rows))
            return as_maps(rows.relu() * (self.edge(asinh(r)) / (2 * r)).unsqueeze(1), space)


def space_factor(squares: Float[Tensor, "*points"], c: float, edge: Edge) -> Float[Tensor, "*points"]:
    """What turns tangent vectors at the origin, given by |v|^2, into space parts of points on the hyperboloid."""
    r = root(4 * c * squares)
    return 2 * edge(r).sinh() / r


class PoincareConv2d(nn.Module):
    """Convolution (section 3.1): beta-concatenation of the window's points, then the fully connected layer of HNN++.

    The concatenation's tangent vector is that of all pixels, scaled by a ratio of beta functions; output k has the signed
    distance 2 |z_k| d_k from the k-th coordinate hyperplane, d_k that of the window from the hyperplane of z_k and r_k. (In the
    authors' code lambda is 2 (1 - c |x|^2), where it should be 2 / (1 - c |x|^2).)

    The weights begin as half of the identity from the window's entries to as many outputs (section 3.2).

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
            z = widened(self.z)
            length = root(z.square().sum((1, 2, 3)))
            shift = (2 * math.sqrt(self.c) * widened(self.r)).clamp(-FARTHEST, FARTHEST)
            kernel = z * (math.sqrt(self.c) * self.ratio * shift.cosh() / length).view(-1, 1, 1, 1)
        mapped = conv2d(tangent, kernel.to(tangent.dtype), None, self.stride, self.padding)
        with no_autocast(tangent):
            window = window_squares(tangent, self.z.shape[-1], self.stride, self.padding).flatten() * self.ratio**2
            factor = space_factor(window, self.c, self.edge)
            time = (1 + self.c * factor.square() * window).sqrt()
            along = combined(as_rows(mapped), factor, time.unsqueeze(0), -shift.sinh().unsqueeze(0))
            return as_maps(SinhMultiple.apply(along, 2 * length, 1 / math.sqrt(self.c)), mapped)


def beta_half(dim: int) -> float:
    """The beta function B(dim / 2, 1 / 2)."""
    return math.exp(math.lgamma(dim / 2) - math.lgamma((dim + 1) / 2)) * math.sqrt(math.pi)


class SinhMultiple(torch.autograd.Function):
    """scale sinh(k asinh(x)), with k asinh(x) cut at the ball's edge, which no coordinate of a point inside is beyond.

    The derivative needs no more transcendental functions; beyond the cut it goes on as it is there.
    """

    @staticmethod
    def forward(ctx: FunctionCtx, x: Rows, k: Float[Tensor, " channels"], scale: float) -> Rows:
        angle = asinh(x.abs()).copysign_(x)
        y = (angle * k).clamp_(-LIMIT, LIMIT).sinh_().mul_(scale)
        ctx.save_for_backward(x, k, angle, y)
        ctx.scale = scale
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, gradient: Rows) -> tuple[Rows, Float[Tensor, " channels"], None]:
        x, k, angle, y = ctx.saved_tensors
        inner = (y * y).add_(ctx.scale**2).sqrt_().mul_(gradient)
        towards_k = (inner * angle).sum(0)
        return inner.mul_(k).mul_((x * x).add_(1).rsqrt_()), towards_k, None


class PoincareBatchNorm(HyperbolicBatchNorm):
    """Midpoint batch norm (section 3.3): tangent vectors go from mu straight to beta = exp_0(self.beta).

    (The authors' code has no running statistics: it normalises test batches by their own.)
    """

    def __init__(self, channels: int, c: float):
        super().__init__(channels, c, LIMIT)

    def space_of_beta(self) -> Float[Tensor, " channels"]:
        beta = widened(self.beta)
        return space_factor(beta.square().sum(), self.c, self.edge) * beta

    def carried(self, x: Relative, g: PerPixel, cosh: PerPixel) -> tuple[PerPixel, PerPixel]:
        # (x - cosh d p) sinh(k d) / sinh(d) + <q, .> / (1 - <p, q>) (p + q), all products Lorentzian and times c
        away = x.p_time * x.time - self.c * x.p
        ends = self.c * x.pq - x.p_time * x.q_time
        turn = (self.c * x.q - x.q_time * x.time - away * ends) / (1 - ends)
        return g * (turn - away), cosh + g * turn


class PoincareSum(nn.Module):
    """x + y of gyrovectors, given and returned by their space parts: the residual connection (section 3.4)."""

    def __init__(self, c: float):
        super().__init__()
        self.c = c

    def forward(
        self, x: Float[Tensor, "samples channels h w"], y: Float[Tensor, "samples channels h w"]
    ) -> Float[Tensor, "samples channels h w"]:
        with no_autocast(x):
            u, v = as_rows(x), as_rows(y)
            x_time, y_time = (1 + self.c * squared(u)).sqrt(), (1 + self.c * squared(v)).sqrt()
            # the boost that brings the origin to x
            along = self.c * (u * v).sum(1) / (1 + x_time) + y_time
            return as_maps(torch.addcmul(v, u, along.unsqueeze(1)), x)


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
            point = lorentz.lift(space_factor(squared(v), self.c, self.edge).unsqueeze(1) * v, self.c)
            distances = lorentz.hyperplane_distance(point, self.z, 2 * self.r, self.c)
            return 2 * root(self.z.square().sum(1)) * distances
