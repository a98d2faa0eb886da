"""Dynamic Graph CNN for Learning on Point Clouds. Wang, Sun, Liu, Sarma, Bronstein, Solomon; TOG 2019, arXiv:1801.07829.

Implements EdgeConv, eqs. (7) and (8), on a graph of k nearest neighbours that every layer finds anew among its own
features (section 3.2), a point being its own first neighbour. At the published width of 64 it is the classification
network of figure 3 as in the authors' code: EdgeConvs of 64, 64, 128 and 256 channels, joined and mapped to 1024, maximum
and mean over the cloud, then 512-256-classes.
"""

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import leaky_relu, linear

from ... import kernels
from ...errors import UserError
from ...kernels import Kernels
from ...nn.clouds import BatchNorm, cloud_max, cloud_mean, point_mlp
from ...tasks.spec import Spec
from ...tasks.symmetry import Symmetry, exact
from ..paper import Paper

SLOPE = 0.2


class DGCNN(Paper):
    """DGCNN for the classification of point clouds, with normals where the benchmark has them.

    Args:
        spec: the benchmark's.
        choice: which backends run its kernels.
        width: channels of the first EdgeConv, published 64; all others are multiples.
        k: neighbours of each point, itself included; published 20. Every cloud needs as many points.
        dropout: on both hidden layers of the classifier, published 0.5.
    """

    title = "Dynamic Graph CNN for Learning on Point Clouds"
    arxiv = "1801.07829"
    modalities = frozenset({"points"})
    outputs = frozenset({"graph:class"})
    tiny = {"width": 8, "k": 6, "dropout": 0.0}

    def __init__(self, spec: Spec, choice: Kernels, width: int, k: int, dropout: float):
        super().__init__(spec)
        self.network = DGCNNNetwork(spec, choice, width, k, dropout)


class DGCNNNetwork(nn.Module):
    """The classification network of figure 3."""

    symmetries = (*exact("permutation"), Symmetry("rotation", "learned"), Symmetry("reflection", "learned"))

    def __init__(self, spec: Spec, choice: Kernels, width: int, k: int, dropout: float):
        super().__init__()
        (target,) = spec.targets
        self.target = target.name
        self.inputs = ["pos", *(["normal"] if "normal" in spec.fields else [])]
        widths = [3 * len(self.inputs), width, width, 2 * width, 4 * width]
        self.layers = nn.ModuleList(EdgeConv(choice, i, o, k) for i, o in zip(widths, widths[1:], strict=False))
        activation = nn.LeakyReLU(SLOPE)
        self.joint = point_mlp([sum(widths[1:]), 16 * width], activation)
        self.classifier = nn.Sequential(
            nn.Linear(32 * width, 8 * width, bias=False),
            BatchNorm(8 * width),
            activation,
            nn.Dropout(dropout),
            nn.Linear(8 * width, 4 * width),
            BatchNorm(4 * width),
            activation,
            nn.Dropout(dropout),
        )
        self.feature_channels = 4 * width
        self.head = nn.Linear(self.feature_channels, target.classes)

    def features(self, batch: Any) -> Float[Tensor, "samples channels"]:
        h = torch.cat([batch[name] for name in self.inputs], -1)
        outputs = []
        for layer in self.layers:
            h = layer(h, batch.ptr)
            outputs.append(h)
        h = self.joint(torch.cat(outputs, -1))
        return self.classifier(torch.cat([cloud_max(h, batch.ptr), cloud_mean(h, batch.ptr)], -1))

    def forward(self, batch: Any) -> dict[str, Tensor]:
        return {self.target: self.head(self.features(batch))}


class EdgeConv(nn.Module):
    """x_i' = max_j LeakyReLU(BN(theta (x_j - x_i) + phi x_i)), j over the k nearest neighbours of i, eqs. (7) and (8)."""

    def __init__(self, choice: Kernels, channels: int, out: int, k: int):
        super().__init__()
        self.channels, self.k = channels, k
        self.linear = nn.Linear(2 * channels, out, bias=False)
        self.norm = BatchNorm(out)
        self.knn = kernels.get("knn", choice, k=k, dim=channels)

    def forward(
        self, x: Float[Tensor, "points channels"], ptr: Int[Tensor, " samples_plus_1"]
    ) -> Float[Tensor, "points out"]:
        theta, phi = self.linear.weight.split(self.channels, dim=1)
        neighbors = self.neighbors(x, ptr)
        # theta (x_j - x_i) + phi x_i = theta x_j + (phi - theta) x_i: once a point instead of once an edge
        edges = linear(x, theta).index_select(0, neighbors.flatten()).unflatten(0, neighbors.shape)
        edges = edges + linear(x, phi - theta)[:, None]
        edges = self.norm(edges.flatten(0, 1)).unflatten(0, neighbors.shape)
        return leaky_relu(edges.max(1).values, SLOPE)  # which rises, and so commutes with the maximum

    def neighbors(
        self, x: Float[Tensor, "points channels"], ptr: Int[Tensor, " samples_plus_1"]
    ) -> Int[Tensor, "points k"]:
        """The k nearest points of each point of the same cloud, itself included."""
        smallest = int(ptr.diff().min())
        if smallest < self.k:
            raise UserError(
                f"model.k={self.k}: a cloud of this batch has only {smallest} points; use model.k={smallest}"
            )
        x = x.detach()
        return self.knn(x, ptr, x, ptr)[0].view(-1, self.k)
