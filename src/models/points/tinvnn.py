"""Revisiting Transformation Invariant Geometric Deep Learning. Zhang, Wang, Zhang, Cui, Zhu; 2021, arXiv:2112.12345.

TinvNN: initial representations that preserve distances and do not see how a cloud is turned, mirrored, moved or scaled, in
front of any network; here PointNet and DGCNN. Multidimensional scaling gives them from the distances alone, as eigenvectors
of the centred Gram matrix times the roots of their eigenvalues. For points of three dimensions the matrix has rank three,
and the same numbers are coordinates along the principal axes, which is how they are computed: 3 x 3 instead of n x n. MDS
leaves the sign of each eigenvector open, and the scale. Here each column has a positive third moment, and the farthest point
lies at distance 1; this choice is our own, made without the paper's modification at hand, which has no public code.
"""

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ...kernels import Kernels
from ...nn.clouds import cloud_matmul, cloud_max
from ...nn.frames import centroids, covariances
from ...tasks.spec import Spec
from ...tasks.symmetry import E3, exact
from .dgcnn import DGCNN, DGCNNNetwork
from .pointnet import PointNet, PointNetNetwork

ROUNDING = 1e-12
"""Distances from the centroid, in units of the largest coordinate, that float64 could make of zero."""


class TinvDGCNN(DGCNN):
    """DGCNN on initial representations of points (and normals) by multidimensional scaling. Arguments: see `DGCNN`."""

    title = "Revisiting Transformation Invariant Geometric Deep Learning: Are Initial Representations All You Need?"
    arxiv = "2112.12345"

    def __init__(self, spec: Spec, choice: Kernels, width: int, k: int, dropout: float):
        super().__init__(spec, choice, width, k, dropout)
        self.network = TinvDGCNNNetwork(spec, choice, width, k, dropout)


class TinvPointNet(PointNet):
    """PointNet on initial representations of points (and normals) by multidimensional scaling. Arguments: see `PointNet`."""

    title = TinvDGCNN.title
    arxiv = TinvDGCNN.arxiv

    def __init__(self, spec: Spec, width: int, transforms: bool, dropout: float, orthogonality: float):
        super().__init__(spec, width, transforms, dropout, orthogonality)
        self.network = TinvPointNetNetwork(spec, width, transforms, dropout)


class InvariantInput:
    """Puts initial representations in the place of positions and normals, for whatever network comes next."""

    symmetries = (*E3, *exact("scaling"))

    def features(self, batch: Any) -> Float[Tensor, "samples channels"]:
        invariant = batch.clone()
        invariant.pos, axes = initial_representations(batch.pos, batch.ptr)
        if "normal" in self.inputs:
            invariant.normal = cloud_matmul(batch.normal, axes, batch.ptr)
        return super().features(invariant)


class TinvDGCNNNetwork(InvariantInput, DGCNNNetwork):
    """DGCNN's network behind `InvariantInput`."""


class TinvPointNetNetwork(InvariantInput, PointNetNetwork):
    """PointNet's network behind `InvariantInput`."""


def initial_representations(
    pos: Float[Tensor, "points 3"], ptr: Int[Tensor, " clouds_plus_1"]
) -> tuple[Float[Tensor, "points 3"], Float[Tensor, "clouds 3 3"]]:
    """Points of each cloud by multidimensional scaling, the axis of largest variance first, and the axes as columns.

    Distances are those of the cloud over its largest distance from the centroid; a cloud that is one point becomes zero.
    Where two variances are equal, or a third moment is zero, as in shapes of high symmetry, axes or their signs are not
    determined by the distances between points, and depend on how the cloud is turned.
    """
    sizes = ptr.diff()
    cloud = torch.repeat_interleave(sizes)
    matrices = covariances(pos, cloud, len(sizes))
    axes = torch.linalg.eigh(matrices).eigenvectors.flip(-1)
    centred = pos.double() - centroids(pos.double(), cloud, len(sizes)).index_select(0, cloud)
    columns = cloud_matmul(centred, axes, ptr)
    moments = torch.zeros_like(axes[:, 0]).index_add(0, cloud, columns**3)
    signs = torch.where(moments < 0, -1.0, 1.0).to(axes)
    radius = cloud_max(centred.norm(dim=-1, keepdim=True), ptr)
    extent = radius > ROUNDING * cloud_max(pos.abs().amax(-1, keepdim=True), ptr)
    scale = torch.where(extent, signs / torch.where(extent, radius, 1), 0)
    return (columns * scale.index_select(0, cloud)).to(pos.dtype), (axes * signs[:, None]).to(pos.dtype)
