"""PointNet: Deep Learning on Point Sets for Classification and Segmentation. Qi, Su, Mo, Guibas; CVPR 2017, arXiv:1612.00593.

Implements eq. (1), f({x}) = gamma(max_i h(x_i)), the two spatial transformers (appendix C) and their regulariser, eq. (2).
At the published width of 64 it is the paper's network: h is 64-64-(64, 128, 1024), gamma 512-256-classes. The authors'
code sums the regulariser over the batch and halves it; here it is eq. (2), averaged over clouds. Biases before a batch
norm, which it removes, are left out.
"""

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from ...nn.clouds import cloud_matmul, cloud_max, point_mlp
from ...tasks.spec import Spec
from ...tasks.symmetry import Symmetry, exact
from ..paper import Paper


class PointNet(Paper):
    """PointNet for the classification of point clouds, with normals where the benchmark has them.

    Args:
        spec: the benchmark's.
        width: channels of the first layer, published 64; all others are multiples.
        transforms: whether inputs and features are transformed by T-nets (without, it is the paper's "PointNet vanilla").
        dropout: on the last hidden layer, published 0.3.
        orthogonality: the weight of eq. (2), published 0.001.
    """

    title = "PointNet: Deep Learning on Point Sets for 3D Classification and Segmentation"
    arxiv = "1612.00593"
    modalities = frozenset({"points"})
    outputs = frozenset({"graph:class"})
    tiny = {"width": 8, "dropout": 0.0}

    def __init__(self, spec: Spec, width: int, transforms: bool, dropout: float, orthogonality: float):
        super().__init__(spec)
        self.orthogonality = orthogonality
        self.network = PointNetNetwork(spec, width, transforms, dropout)

    def training_step(self, batch: Any, batch_idx: int) -> Float[Tensor, ""]:
        loss = super().training_step(batch, batch_idx)
        for module in self.network.modules():
            if isinstance(module, FeatureTransform):
                loss = loss + self.orthogonality * module.deviation
        return loss


class PointNetNetwork(nn.Module):
    """The classification network of figure 2."""

    symmetries = (*exact("permutation"), Symmetry("rotation", "learned"), Symmetry("reflection", "learned"))

    def __init__(self, spec: Spec, width: int, transforms: bool, dropout: float):
        super().__init__()
        (target,) = spec.targets
        self.target = target.name
        self.inputs = ["pos", *(["normal"] if "normal" in spec.fields else [])]
        channels = 3 * len(self.inputs)
        self.input_transform = TNet(channels, 3, width) if transforms else None
        self.first = point_mlp([channels, width, width], nn.ReLU())
        self.feature_transform = FeatureTransform(width) if transforms else None
        self.second = point_mlp([width, width, 2 * width, 16 * width], nn.ReLU())
        self.gamma = nn.Sequential(point_mlp([16 * width, 8 * width, 4 * width], nn.ReLU()), nn.Dropout(dropout))
        self.feature_channels = 4 * width
        self.head = nn.Linear(self.feature_channels, target.classes)

    def features(self, batch: Any) -> Float[Tensor, "samples channels"]:
        return self.gamma(self.global_feature(batch))

    def forward(self, batch: Any) -> dict[str, Tensor]:
        return {self.target: self.head(self.features(batch))}

    def global_feature(self, batch: Any) -> Float[Tensor, "samples channels"]:
        """max_i h(x_i), which only the cloud's critical points decide (theorem 2)."""
        x = torch.cat([batch[name] for name in self.inputs], -1)
        if self.input_transform is not None:
            matrices = self.input_transform(x, batch.ptr)
            x = cloud_matmul(x.unflatten(-1, (-1, 3)), matrices, batch.ptr).flatten(1)
        h = self.first(x)
        if self.feature_transform is not None:
            h = self.feature_transform(h, batch.ptr)
        return cloud_max(self.second(h), batch.ptr)


class TNet(nn.Module):
    """A matrix (out, out) for each cloud, from a small PointNet of its own; the identity at first (appendix C)."""

    def __init__(self, channels: int, out: int, width: int):
        super().__init__()
        self.out = out
        self.points = point_mlp([channels, width, 2 * width, 16 * width], nn.ReLU())
        self.cloud = point_mlp([16 * width, 8 * width, 4 * width], nn.ReLU())
        self.last = nn.Linear(4 * width, out * out)
        nn.init.zeros_(self.last.weight)
        with torch.no_grad():
            self.last.bias.copy_(torch.eye(out).flatten())

    def forward(
        self, x: Float[Tensor, "points channels"], ptr: Int[Tensor, " samples_plus_1"]
    ) -> Float[Tensor, "samples out out"]:
        return self.last(self.cloud(cloud_max(self.points(x), ptr))).unflatten(-1, (self.out, self.out))


class FeatureTransform(nn.Module):
    """Multiplies every point's features by its cloud's matrix A, which training keeps close to orthogonal.

    `deviation` is |I - A A^T|^2, eq. (2), averaged over the clouds of the last call.
    """

    deviation: Tensor

    def __init__(self, channels: int):
        super().__init__()
        self.net = TNet(channels, channels, channels)

    def forward(
        self, h: Float[Tensor, "points channels"], ptr: Int[Tensor, " samples_plus_1"]
    ) -> Float[Tensor, "points channels"]:
        matrices = self.net(h, ptr)
        identity = torch.eye(matrices.shape[-1], dtype=matrices.dtype, device=matrices.device)
        self.deviation = (identity - matrices @ matrices.mT).square().sum((1, 2)).mean()
        return cloud_matmul(h, matrices, ptr)
