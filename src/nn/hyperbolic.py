"""What layers of hyperbolic space share: the edge beyond which nothing goes, and batch norm.

A map holds a point of hyperbolic space of curvature -c at every pixel, by its space part s on the hyperboloid, of which every
value is one.
"""

import math
from abc import ABC, abstractmethod

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from .. import kernels
from ..geometry.hyperbolic.numerics import widened
from ..geometry.tables import no_autocast
from ..kernels import Kernels
from ..kernels.hyperbolic_norm import Route
from ..kernels.hyperbolic_rows import Rows, over


def as_rows(maps: Float[Tensor, "samples channels h w"]) -> Rows:
    """Every pixel a row, in float32 or better; a view of maps with channels last."""
    return widened(maps).permute(0, 2, 3, 1).flatten(0, 2)


def as_maps(rows: Rows, like: Float[Tensor, "samples _ h w"]) -> Float[Tensor, "samples channels h w"]:
    """The inverse of `as_rows` for maps of this size and dtype, with channels last."""
    samples, _, h, w = like.shape
    return rows.view(samples, h, w, -1).permute(0, 3, 1, 2).to(like.dtype)


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
        self.count(over(distance.detach().abs(), self.limit), distance.numel())
        return distance.clamp(-self.limit, self.limit)

    def inwards(self, r: Float[Tensor, "*points"]) -> Float[Tensor, "*points"]:
        """The factors that cut space parts of the lengths r / sqrt(c) > 0 at the limit."""
        farthest = math.sinh(self.limit)
        self.count(over(r.detach(), farthest), r.numel())
        return (farthest / r).clamp_max(1.0)

    def count(self, beyond: Int[Tensor, ""], seen: int) -> None:
        """Takes note, while training, of so many points, and of so many among them that lay beyond the limit."""
        if self.training:
            self.beyond += beyond
            self.seen += seen


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
        choice: which backends run its kernels.
        channels: n.
        c: minus the curvature.
        limit: the largest distance from the origin before, and from beta afterwards, in units of 1 / sqrt(c).
        route: how tangent vectors go from mu to beta, see kernels/hyperbolic_norm.py.
        momentum: the weight of a batch in the running statistics.
    """

    running_mean: Tensor
    running_var: Tensor
    eps = 1e-5

    def __init__(self, choice: Kernels, channels: int, c: float, limit: float, route: Route, momentum: float = 0.1):
        super().__init__()
        self.c, self.momentum, self.edge = c, momentum, Edge(limit)
        self.norm = kernels.get("hyperbolic_norm", choice, order=1, route=route, c=c, limit=limit, eps=self.eps)
        self.gamma = nn.Parameter(torch.ones(1))
        self.beta = nn.Parameter(torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(()))

    @abstractmethod
    def space_of_beta(self) -> Float[Tensor, " channels"]:
        """The space part of the new mean."""

    def forward(self, maps: Float[Tensor, "samples channels h w"]) -> Float[Tensor, "samples channels h w"]:
        with no_autocast(maps):
            rows = as_rows(maps)
            given = () if self.training else (widened(self.running_mean), widened(self.running_var))
            out, mean, variance, beyond = self.norm(rows, self.space_of_beta(), widened(self.gamma), *given)
            self.edge.count(beyond, 2 * len(rows))
            if self.training:
                self.update(mean, variance)
            return as_maps(out, maps)

    @torch.no_grad()
    def update(self, mean: Float[Tensor, " channels"], variance: Float[Tensor, ""]) -> None:
        means = torch.stack([widened(self.running_mean), mean])
        times = (1 + self.c * means.square().sum(1)).sqrt()
        space, time = torch.lerp(*means, self.momentum), torch.lerp(*times, self.momentum)
        self.running_mean.copy_(space / (time.square() - self.c * space.square().sum()).clamp_min(1.0).sqrt())
        self.running_var.copy_(torch.lerp(widened(self.running_var), variance, self.momentum))
