"""What layers of hyperbolic space share: maps of points as rows, the edge beyond which nothing goes, and batch norm.

A map holds a point of hyperbolic space of curvature -c at every pixel, by its space part s on the hyperboloid, of which every
value is one. What moves points is a combination of few vectors, with coefficients that are found for each pixel from lengths
and inner products; operations on all channels are as few as that takes.
"""

import math
from abc import ABC, abstractmethod

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx, once_differentiable
from torch.nn.functional import avg_pool2d

from ..geometry.hyperbolic.numerics import asinh, root, widened
from ..geometry.tables import no_autocast

Rows = Float[Tensor, "pixels channels"]
PerPixel = Float[Tensor, " pixels"]


def as_rows(maps: Float[Tensor, "samples channels h w"]) -> Rows:
    """Every pixel a row, in float32 or better; a view of maps with channels last."""
    return widened(maps).permute(0, 2, 3, 1).flatten(0, 2)


def as_maps(rows: Rows, like: Float[Tensor, "samples _ h w"]) -> Float[Tensor, "samples channels h w"]:
    """The inverse of `as_rows` for maps of this size and dtype, with channels last."""
    samples, _, h, w = like.shape
    return rows.view(samples, h, w, -1).permute(0, 3, 1, 2).to(like.dtype)


def dots(x: Rows, y: Rows) -> PerPixel:
    """x . y for every row; twice as quick on a CPU as a sum over the last axis."""
    return (x * y) @ x.new_ones(x.shape[1])


class Squared(torch.autograd.Function):
    """|s|^2 of every row."""

    @staticmethod
    def forward(ctx: FunctionCtx, rows: Rows) -> PerPixel:
        ctx.save_for_backward(rows)
        return dots(rows, rows)

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, gradient: PerPixel) -> Rows:
        (rows,) = ctx.saved_tensors
        return rows * (2 * gradient).unsqueeze(1)


class Combined(torch.autograd.Function):
    """scale s + sum_i coefficient_i vector_i, for every row s."""

    @staticmethod
    def forward(
        ctx: FunctionCtx,
        rows: Rows,
        scale: PerPixel,
        coefficients: Float[Tensor, "vectors pixels"],
        vectors: Float[Tensor, "vectors channels"],
    ) -> Rows:
        ctx.save_for_backward(rows, scale, coefficients, vectors)
        return (rows * scale.unsqueeze(1)).addmm_(coefficients.mT, vectors)

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, gradient: Rows) -> tuple[Rows, PerPixel, Tensor, Tensor]:
        rows, scale, coefficients, vectors = ctx.saved_tensors
        return gradient * scale.unsqueeze(1), dots(gradient, rows), vectors @ gradient.mT, coefficients @ gradient


class WindowSum(torch.autograd.Function):
    """The sum over every window of a convolution. (torch's backward pass of pooling is eight times slower than this one's.)"""

    @staticmethod
    def forward(
        ctx: FunctionCtx, x: Float[Tensor, "samples 1 h w"], kernel: int, stride: int, padding: int
    ) -> Float[Tensor, "samples 1 h_out w_out"]:
        ctx.shape, ctx.kernel, ctx.stride, ctx.padding = x.shape, kernel, stride, padding
        return avg_pool2d(x, kernel, stride, padding, divisor_override=1)

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, gradient: Float[Tensor, "samples 1 h_out w_out"]) -> tuple[Tensor, None, None, None]:
        samples, _, h, w = ctx.shape
        more = 2 * ctx.padding - ctx.kernel + 1
        spread = gradient.new_zeros(samples, 1, h + more, w + more)
        spread[:, :, :: ctx.stride, :: ctx.stride] = gradient
        back = avg_pool2d(spread, ctx.kernel, 1, ctx.kernel - 1 - ctx.padding, divisor_override=1)
        return back, None, None, None


squared, combined = Squared.apply, Combined.apply


def window_squares(
    maps: Float[Tensor, "samples channels h w"], kernel: int, stride: int, padding: int
) -> Float[Tensor, "samples 1 h_out w_out"]:
    """The squared length of all that a convolution sees at once, in float32 or better."""
    squares = squared(as_rows(maps)).view(len(maps), 1, *maps.shape[2:])
    return WindowSum.apply(squares, kernel, stride, padding)


class Edge(nn.Module):
    """Brings points back that lie too far away, and counts them while training.

    Args:
        limit: the largest distance, in units of 1 / sqrt(c).
    """

    beyond: Tensor
    seen: Tensor

    def __init__(self, limit: float):
        super().__init__()
        self.limit = limit
        for name in ("beyond", "seen"):
            self.register_buffer(name, torch.zeros((), dtype=torch.long), persistent=False)

    def forward(self, distance: Float[Tensor, "*points"]) -> Float[Tensor, "*points"]:
        """Distances, cut at the limit."""
        self.count(distance, self.limit)
        return distance.clamp(-self.limit, self.limit)

    def inwards(self, r: Float[Tensor, "*points"]) -> Float[Tensor, "*points"]:
        """The factors that cut space parts of the lengths r / sqrt(c) > 0 at the limit."""
        farthest = math.sinh(self.limit)
        self.count(r, farthest)
        return (farthest / r).clamp_max(1.0)

    def count(self, values: Float[Tensor, "*points"], limit: float) -> None:
        if self.training:
            self.beyond += (values.detach().abs() > limit).sum()
            self.seen += values.numel()


def projected_share(module: nn.Module) -> Float[Tensor, ""]:
    """Which part of the points was brought back from beyond an edge since the last call."""
    edges = [part for part in module.modules() if isinstance(part, Edge)]
    share = sum(edge.beyond for edge in edges) / sum(edge.seen for edge in edges).clamp_min(1)
    for edge in edges:
        edge.beyond.zero_()
        edge.seen.zero_()
    return share


class HyperbolicBatchNorm(nn.Module, ABC):
    """exp_beta(gamma / sqrt(variance + eps) PT(log_mu(x))), mu the centroid of all pixels of the batch.

    The variance is Fréchet's, the mean squared distance from mu: one number for all channels, as gamma is. Running statistics
    are the centroid of the old and the new mean, and the mean of the old and the new variance.

    Args:
        channels: n.
        c: minus the curvature.
        limit: the largest distance from the origin before, and from beta afterwards, in units of 1 / sqrt(c).
        momentum: the weight of a batch in the running statistics.
    """

    running_mean: Tensor
    running_var: Tensor
    eps = 1e-5

    def __init__(self, channels: int, c: float, limit: float, momentum: float = 0.1):
        super().__init__()
        self.c, self.momentum, self.edge = c, momentum, Edge(limit)
        self.gamma = nn.Parameter(torch.ones(1))
        self.beta = nn.Parameter(torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(()))

    @abstractmethod
    def space_of_beta(self) -> Float[Tensor, " channels"]:
        """The space part of the new mean."""

    @abstractmethod
    def carried(self, x: "Relative", g: PerPixel, cosh: PerPixel) -> tuple[PerPixel, PerPixel]:
        """a and b of g s + a p + b q, the point at the new distance from beta in the transported direction."""

    def forward(self, maps: Float[Tensor, "samples channels h w"]) -> Float[Tensor, "samples channels h w"]:
        with no_autocast(maps):
            rows = as_rows(maps)
            reach = root(self.c * squared(rows))
            inwards = self.edge.inwards(reach)
            squares = (inwards * reach).square()
            time = (1 + squares).sqrt()
            mean = widened(self.running_mean)
            if self.training:
                mean = self.mean_of(inwards @ rows / len(rows), time.mean())
            ends = torch.stack([mean, self.space_of_beta()])
            x = Relative(self.c, squares / self.c, time, inwards * (ends @ rows.mT), ends)
            angle = asinh(x.sinh)
            variance = angle.square().mean() / self.c if self.training else self.running_var
            if self.training:
                self.update(mean.detach(), variance.detach())
            angle = self.edge(self.gamma / (variance + self.eps).sqrt() * angle)
            sinh = angle.sinh()
            g = sinh / x.sinh
            a, b = self.carried(x, g, (1 + sinh.square()).sqrt())
            return as_maps(combined(rows, inwards * g, torch.stack([a, b]), ends), maps)

    def mean_of(self, space: Float[Tensor, " channels"], time: Float[Tensor, ""]) -> Float[Tensor, " channels"]:
        """The centroid's space part, from the mean space part and the mean time (in units of 1 / sqrt(c))."""
        # time^2 - c |space|^2 is at least 1, whatever rounding says
        return space / (time.square() - self.c * space.square().sum()).clamp_min(1.0).sqrt()

    @torch.no_grad()
    def update(self, mean: Float[Tensor, " channels"], variance: Float[Tensor, ""]) -> None:
        means = torch.stack([widened(self.running_mean), mean])
        times = (1 + self.c * means.square().sum(1)).sqrt()
        self.running_mean.copy_(self.mean_of(torch.lerp(*means, self.momentum), torch.lerp(*times, self.momentum)))
        self.running_var.copy_(torch.lerp(widened(self.running_var), variance, self.momentum))


class Relative:
    """Points, given by lengths and inner products, as they lie to two others p and q.

    Args:
        c: minus the curvature.
        squares: |s|^2.
        time: of these points, in units of 1 / sqrt(c).
        products: s . p and s . q.
        ends: p and q.
    """

    def __init__(
        self,
        c: float,
        squares: PerPixel,
        time: PerPixel,
        products: Float[Tensor, "2 pixels"],
        ends: Float[Tensor, "2 channels"],
    ):
        self.c, self.squares, self.time = c, squares, time
        self.p, self.q = products
        gram = ends.square().sum(1)
        self.pp, self.pq = gram[0], ends.prod(0).sum()
        self.p_time, self.q_time = (1 + c * gram).sqrt()
        self.shift = c * self.p / (1 + self.p_time) - self.time
        """s + shift p is the space part of the point, moved by the boost that brings p to the origin."""
        self.sinh = root(c * (squares + self.shift * (2 * self.p + self.shift * self.pp)))
        """of sqrt(c) times the distance from p."""
