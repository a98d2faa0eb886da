"""RISurConv: Rotation Invariant Surface Attention-Augmented Convolutions. Zhang, Yang, Xiang; ECCV 2024, arXiv:2408.06110.

A reference point and its neighbours, put in order around its normal, are a fan of triangles; 14 lengths and cosines of each
two adjacent triangles and their normals are all that the network sees. At the published width of 32 it is the
classification network of the authors' code: five RISurConvs of 32 to 512 channels, a transformer encoder of three layers,
then 256-128-classes. Biases before a batch norm, which it removes, are left out, and so is the code's fourth encoder layer,
which it never calls.

The code departs from an invariant function of one cloud in places, where this file does not follow it:
the sign of an estimated axis is whatever the eigensolver returns (here see `estimated_normals` and `cloud_axes`); the order
around a normal begins with whatever point rounding puts there (here with the reference direction); the last RISurConv
orders points around their centroid but measures them from the origin (here from the centroid); the encoder attends across
the clouds of a batch (here within a cloud, which has one token); attention within a neighbourhood is normalised over the
other neighbourhoods (here over its own queries, as in the code's second attention and in arXiv:2012.09688).
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from ... import kernels
from ...errors import UserError
from ...geometry.eigen3 import least_eigenvectors
from ...kernels import Kernels
from ...nn.clouds import BatchNorm, cloud_mean, point_mlp
from ...tasks.spec import Spec
from ...tasks.symmetry import Symmetry, exact
from ..paper import Paper

PROPERTIES = 14
SKIP = 1024
"""From so many reference points on, a triangle's other corner is the second next neighbour, as in the authors' code."""
TOLERANCE = 1e-5
"""Angles, and ratios of lengths, that rounding in float32 could make of zero."""
TIES = 0.05
"""More than the part of clouds in which two neighbours stand at the same angle around an axis to rounding in float32, so that
their order hangs on it: of 256 of ModelNet's miniature, 0.8 to 1.6 %. The width of a promise, not of the network."""
SAME = 1e-6
"""Eigenvalues this close, in units of the largest, do not tell one axis from another."""


class RISurConv(Paper):
    """RISurConv for the classification of point clouds, with normals where the benchmark has them, else estimated ones.

    A cloud of fewer points than a layer samples, or than it takes neighbours, is filled up with copies of its points. Where
    fewer places are distinct than are sampled, or distances tie, the order of the points decides which are taken.

    Args:
        spec: the benchmark's.
        choice: which backends run its kernels.
        width: channels of the first RISurConv, published 32; all others are multiples.
        samples: reference points of each RISurConv but the last, never rising; published 1024, 512, 256, 128.
        neighbors: of each reference point, itself included; published 8, 16, 32, 64.
        normal_neighbors: from which normals are estimated, published 32.
        encoder_layers, heads, encoder_dropout: of the transformer encoder, published 3, 8 and 0.05.
        dropout: on both hidden layers of the classifier, published 0.4.
    """

    title = "RISurConv: Rotation Invariant Surface Attention-Augmented Convolutions for 3D Point Clouds"
    arxiv = "2408.06110"
    modalities = frozenset({"points"})
    outputs = frozenset({"graph:class"})
    tiny = {
        "width": 4,
        "samples": [24, 12],
        "neighbors": [6, 8],
        "normal_neighbors": 12,
        "encoder_layers": 1,
        "heads": 2,
        "encoder_dropout": 0.0,
        "dropout": 0.0,
    }

    def __init__(
        self,
        spec: Spec,
        choice: Kernels,
        width: int,
        samples: Sequence[int],
        neighbors: Sequence[int],
        normal_neighbors: int,
        encoder_layers: int,
        heads: int,
        encoder_dropout: float,
        dropout: float,
    ):
        super().__init__(spec)
        if not samples or len(samples) != len(neighbors) or list(samples) != sorted(samples, reverse=True):
            raise UserError(
                f"model.samples={list(samples)} model.neighbors={list(neighbors)}: give one of each for every layer, and "
                "never more samples than before"
            )
        encoder = encoder_of(width << len(samples), heads, encoder_layers, encoder_dropout)
        self.network = RISurConvNetwork(spec, choice, width, samples, neighbors, normal_neighbors, encoder, dropout)


def encoder_of(channels: int, heads: int, layers: int, dropout: float) -> nn.TransformerEncoder:
    """The transformer encoder behind the last RISurConv, its hidden layers four times as wide as its tokens."""
    if channels % heads:
        raise UserError(f"model.heads={heads} does not divide the encoder's {channels} channels")
    layer = nn.TransformerEncoderLayer(channels, heads, 4 * channels, dropout, batch_first=True)
    return nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)


class RISurConvNetwork(nn.Module):
    """The classification network: invariant to rotations, translations and the order of points, but not to reflections, which
    reverse the order around a normal."""

    symmetries = (
        Symmetry("rotation", ties=TIES),
        Symmetry("translation", ties=TIES),
        *exact("permutation"),
        Symmetry("reflection", "learned"),
    )

    def __init__(
        self,
        spec: Spec,
        choice: Kernels,
        width: int,
        samples: Sequence[int],
        neighbors: Sequence[int],
        normal_neighbors: int,
        encoder: nn.Module,
        dropout: float,
    ):
        super().__init__()
        (target,) = spec.targets
        self.target = target.name
        self.fps = kernels.get("fps", choice)
        self.estimate = None if "normal" in spec.fields else Neighbors(choice, normal_neighbors)
        self.samples = list(samples)
        self.neighbors = [Neighbors(choice, k) for k in neighbors]
        widths = [0, *(width << layer for layer in range(len(samples) + 1))]
        self.layers = nn.ModuleList(SurfaceConv(width, i, o) for i, o in zip(widths, widths[1:], strict=False))
        self.encoder = encoder
        channels = widths[-1]
        self.classifier = nn.Sequential(
            point_mlp([channels, channels // 2], nn.ReLU()),
            nn.Dropout(dropout),
            point_mlp([channels // 2, channels // 4], nn.ReLU()),
            nn.Dropout(dropout),
        )
        self.feature_channels = channels // 4
        self.head = nn.Linear(self.feature_channels, target.classes)

    def forward(self, batch: Any) -> dict[str, Tensor]:
        return {self.target: self.head(self.features(batch))}

    def features(self, batch: Any) -> Float[Tensor, "samples channels"]:
        pos, ptr = batch.pos, batch.ptr
        normal = (
            batch.normal if self.estimate is None else estimated_normals(pos, ptr, self.estimate(pos, ptr, pos, ptr))
        )
        clouds = len(ptr) - 1
        rows = spread(self.fps, pos, ptr, self.samples[0])
        h = None
        for layer, neighbors, count in zip(self.layers, self.neighbors, self.samples, strict=False):
            rows = rows[:, :count]  # points stand in the order of farthest point sampling: it would take these again
            query_ptr = torch.arange(clouds + 1, device=ptr.device) * count
            center, axis = pos[rows].flatten(0, 1), normal[rows].flatten(0, 1)
            near = neighbors(pos, ptr, center, query_ptr)
            offset = pos[near] - center[:, None]
            order = around(offset, axis)
            near, offset = near.gather(1, order), offset.gather(1, order[..., None].expand(-1, -1, 3))
            properties = surface_properties(offset, normal[near], axis, 2 if count >= SKIP else 1)
            h = layer(properties, None if h is None else h[near], clouds)
            pos, normal, ptr = center, axis, query_ptr
            rows = torch.arange(len(pos), device=ptr.device).view(clouds, count)
        h = self.whole(pos.view(clouds, -1, 3), normal.view(clouds, -1, 3), h.unflatten(0, (clouds, -1)))
        return self.classifier(self.encoder(h[:, None])[:, 0])

    def whole(
        self,
        pos: Float[Tensor, "clouds points 3"],
        normal: Float[Tensor, "clouds points 3"],
        h: Float[Tensor, "clouds points channels"],
    ) -> Float[Tensor, "clouds out"]:
        """The last RISurConv: the reference point is the centroid, and all points are its neighbours."""
        offset = pos - pos.mean(1, keepdim=True)
        axis = cloud_axes(offset)
        order = around(offset, axis)[..., None]
        offset, normal, h = (x.gather(1, order.expand(-1, -1, x.shape[-1])) for x in (offset, normal, h))
        return self.layers[-1](surface_properties(offset, normal, axis, 1), h, len(pos))


class SurfaceConv(nn.Module):
    """RISurConv: properties are embedded, attend to each other, are joined with the features of the layer before, mapped,
    and the largest are taken over each neighbourhood; then the reference points of a cloud attend to each other."""

    def __init__(self, width: int, channels: int, out: int):
        super().__init__()
        self.embedding = nn.Sequential(
            nn.Linear(PROPERTIES, width, bias=False),
            BatchNorm(width),
            nn.Linear(width, 2 * width, bias=False),
            BatchNorm(2 * width),
            nn.ReLU(),
        )
        self.within = OffsetAttention(2 * width)
        self.convolution = point_mlp([2 * width + channels, out], nn.ReLU())
        self.between = OffsetAttention(out)

    def forward(
        self,
        properties: Float[Tensor, "references neighbors 14"],
        h: Float[Tensor, "references neighbors channels"] | None,
        clouds: int,
    ) -> Float[Tensor, "references out"]:
        shape = properties.shape[:2]
        x = self.within(self.embedding(properties.flatten(0, 1)).unflatten(0, shape))
        if h is not None:
            x = torch.cat([x, h], -1)
        x = self.convolution(x.flatten(0, 1)).unflatten(0, shape).amax(1)
        return self.between(x.unflatten(0, (clouds, -1))).flatten(0, 1)


class OffsetAttention(nn.Module):
    """h + ReLU(BN(W (h - A h))) on sets, A the attention: softmax over keys, then divided by its sum over queries.

    Point Cloud Transformer, arXiv:2012.09688, section 3.3.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.query = nn.Linear(channels, channels // 4, bias=False)
        self.key = nn.Linear(channels, channels // 4, bias=False)
        self.value = nn.Linear(channels, channels)
        self.out = point_mlp([channels, channels], nn.ReLU())

    def forward(self, h: Float[Tensor, "sets size channels"]) -> Float[Tensor, "sets size channels"]:
        attention = (self.query(h) @ self.key(h).mT).softmax(-1)
        attention = attention / (1e-9 + attention.sum(1, keepdim=True))
        offset = h - attention.mT @ self.value(h)
        return h + self.out(offset.flatten(0, 1)).unflatten(0, h.shape[:2])


class Neighbors:
    """The k nearest points of each query as a table; those of a smaller cloud are repeated."""

    def __init__(self, choice: Kernels, k: int):
        self.k = k
        self.knn = kernels.get("knn", choice, k=k, dim=3)

    def __call__(
        self,
        points: Float[Tensor, "points 3"],
        ptr: Int[Tensor, " clouds_plus_1"],
        query: Float[Tensor, "queries 3"],
        query_ptr: Int[Tensor, " clouds_plus_1"],
    ) -> Int[Tensor, "queries k"]:
        found = self.knn(points, ptr, query, query_ptr)[0]
        count = ptr.diff().clamp(max=self.k).repeat_interleave(query_ptr.diff())
        column = torch.arange(self.k, device=ptr.device) % count[:, None]
        return found[(count.cumsum(0) - count)[:, None] + column]


def spread(
    fps: Any, pos: Float[Tensor, "points 3"], ptr: Int[Tensor, " clouds_plus_1"], count: int
) -> Int[Tensor, "clouds count"]:
    """Rows of the points that farthest point sampling takes, in its order, from the point farthest from the centroid on.

    Those of a cloud of fewer points are repeated.
    """
    sizes = ptr.diff()
    if not bool((sizes > 0).all()):
        raise UserError(f"risurconv: cloud {int((sizes == 0).nonzero()[0, 0])} of this batch has no points")
    centred = pos - cloud_mean(pos, ptr).repeat_interleave(sizes, 0)
    start = torch.stack([piece.argmax() for piece in dot(centred, centred).split(sizes.tolist())])
    taken = sizes.clamp(max=count)
    found = fps(pos, ptr, taken, start)
    return found[(taken.cumsum(0) - taken)[:, None] + torch.arange(count, device=ptr.device) % taken[:, None]]


def estimated_normals(
    pos: Float[Tensor, "points 3"], ptr: Int[Tensor, " clouds_plus_1"], near: Int[Tensor, "points k"]
) -> Float[Tensor, "points 3"]:
    """The axis along which each point's neighbours vary least, pointing away from the centroid of the cloud.

    A cloud that lies in a plane has no outer side; its normals' signs then depend on the coordinates. Neighbours on a line,
    or in one place, have no normal: it is zero.
    """
    axis = least_axes(pos[near] - pos[:, None])
    outward = pos - cloud_mean(pos, ptr).repeat_interleave(ptr.diff(), 0)
    return torch.where(dot(axis, outward)[:, None] < 0, -axis, axis)


def cloud_axes(offset: Float[Tensor, "clouds points 3"]) -> Float[Tensor, "clouds 3"]:
    """The axis along which each centred cloud varies least, pointing to the side of its far points: sum |x| (x, axis) > 0."""
    axis = least_axes(offset)
    side = (offset.norm(dim=-1, keepdim=True) * offset).sum(1)
    return torch.where(dot(axis, side)[:, None] < 0, -axis, axis)


def least_axes(offset: Float[Tensor, "sets size 3"]) -> Float[Tensor, "sets 3"]:
    """The last principal axis of each set about the origin, of either sign, far points weighing less: m - |x|, m the largest
    |x|. Zero where it is not determined."""
    wide = offset.detach().double()
    distance = wide.norm(dim=-1, keepdim=True)
    farthest = distance.amax(1, keepdim=True)
    weight = farthest - distance
    weight = torch.where(weight.amax(1, keepdim=True) > SAME * farthest, weight, 1)
    values, axes = least_eigenvectors((weight * wide).mT @ wide)
    determined = values[:, 1] - values[:, 0] > SAME * values[:, 2]
    return torch.where(determined[:, None], axes, 0).to(offset.dtype)


def around(
    offset: Float[Tensor, "references neighbors 3"], axis: Float[Tensor, "references 3"]
) -> Int[Tensor, "references neighbors"]:
    """The order of neighbours clockwise around the axis, from the one farthest from the axis on.

    Neighbours on the axis, the reference point itself among them, count as opposite to the first; those at the same angle
    keep their order.
    """
    flat = offset - dot(offset, axis[:, None])[..., None] * axis[:, None]
    radius = flat.norm(dim=-1)
    first = radius.argmax(1)[:, None, None].expand(-1, 1, 3)
    reference = unit(flat.gather(1, first))
    side = torch.linalg.cross(reference, axis[:, None])
    angle = torch.atan2(dot(flat, side), dot(flat, reference))
    angle = torch.where(angle < -TOLERANCE, angle + 2 * math.pi, angle)
    angle = torch.where(radius > TOLERANCE * offset.norm(dim=-1), angle, math.pi)
    return angle.argsort(dim=1, stable=True)


def surface_properties(
    offset: Float[Tensor, "references neighbors 3"],
    normal: Float[Tensor, "references neighbors 3"],
    axis: Float[Tensor, "references 3"],
    shift: int,
) -> Float[Tensor, "references neighbors 14"]:
    """Rotation invariant surface properties, in the order of the authors' code.

    With p the reference point, x_i its neighbours in order, i - 1 and i + 1 those `shift` before and behind, n their normals
    and <ab> the unit vector from a to b: |p x_i|; the cosines, some negative, of the first triangle (p, x_i, x_i-1),
    n_p and <p x_i>, n_i and <p x_i>, at p, n_p and <p x_i-1>, n_i-1 and <p x_i-1>, at x_i-1, n_i and <x_i-1 x_i>,
    n_i-1 and <x_i-1 x_i>; of the second (p, x_i, x_i+1), at p, at x_i+1, n_i+1 and <x_i x_i+1>, n_i+1 and <p x_i>; and
    (<p x_i+1> x <p x_i>, <p x_i-1> x <p x_i>) between the two. A direction between points in one place is zero.

    Args:
        offset: x_i - p.
        normal: n_i.
        axis: n_p.
        shift: how many places apart the corners of a triangle are.
    """
    out = unit(offset)
    before, after = out.roll(shift, 1), out.roll(-shift, 1)
    edge = unit(offset - offset.roll(shift, 1))
    normal_after = normal.roll(-shift, 1)
    up, tilt = dot(out, axis[:, None]), -dot(out, normal)
    corner, far = dot(out, before), -dot(edge, normal)
    corner_after = corner.roll(-shift, 1)
    fold = dot(after, before) * dot(out, out) - corner_after * corner  # Binet and Cauchy's identity
    first = (offset.norm(dim=-1), up, tilt, corner, up.roll(shift, 1), tilt.roll(shift, 1), -dot(before, edge), far)
    second = (dot(edge, normal.roll(shift, 1)), corner_after, dot(after, edge.roll(-shift, 1)))
    return torch.stack((*first, *second, -far.roll(-shift, 1), dot(out, normal_after), fold), -1)


def dot(a: Float[Tensor, "*#batch 3"], b: Float[Tensor, "*#batch 3"]) -> Float[Tensor, "*batch"]:
    """The scalar product over the last axis; not a matrix product, which autocast would round."""
    return (a * b).sum(-1)


def unit(v: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3"]:
    """v / max(|v|, 1e-7), for clouds of the size of 1; zero gives zero."""
    return v * dot(v, v).clamp(min=1e-14).rsqrt()[..., None]
