"""Equivariance with Learned Canonicalization Functions. Kaba, Mondal, Zhang, Bengio, Ravanbakhsh; ICML 2023, arXiv:2211.06489.

A small equivariant network predicts one frame for each sample, in which the large network sees it: n vectors, made
orthonormal by Gram-Schmidt, with the centroid as origin. As published for N-body systems, the small network is a deep set
of vector neurons (arXiv:2104.12229) with mean pooling and the smooth nonlinearity of the authors' code. It reads positions
and velocities and, beyond what is published, positions times numbers of their node, without which centred positions alone
would have the sum zero. The authors' code adds biases to vectors and drops out single components, neither of which
is equivariant: there are no biases here, and dropout takes whole vectors.
"""

import math
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import dropout, linear

from ...errors import UserError
from ...geometry.rotations import safe_norm, unit_vectors
from ...nn.frames import centroids, orthonormal, proper
from ...tasks.spec import Spec
from .symmetrized import Symmetrized, symmetrized


def canonicalization(
    network: nn.Module, spec: Spec, group: str, layers: int, channels: int, dropout: float = 0.0
) -> nn.Module:
    """The network in a learned frame; see `Canonicalization`."""
    return symmetrized(network, lambda inner: Canonicalization(inner, spec, group, layers, channels, dropout))


class Canonicalization(Symmetrized):
    """The network in one frame that a deep set of vector neurons predicts.

    The deep set computes in float64, which costs little beside the network: Gram-Schmidt enlarges rounding errors.

    Where the predicted vectors determine no frame, coordinate axes complete it: values and gradients stay finite, and what
    lies in the span of the determined axes is still seen alike from everywhere, as points on a line or in a plane are. A
    cloud that is its own image through the centroid determines no vector, and is not made symmetric.

    Args:
        network, spec, group: see `Symmetrized`.
        layers: of the deep set.
        channels: vectors of every node in its hidden layers.
        dropout: which share of these training leaves out, so that the network sees a sample in many frames.
    """

    def __init__(self, network: nn.Module, spec: Spec, group: str, layers: int, channels: int, dropout: float):
        super().__init__(network, spec, group)
        if not 0 <= dropout < 1:
            raise UserError(f"symmetrize.dropout={dropout}: it is a share of vectors, from 0 to less than 1")
        self.inputs, self.dropout = Vectors(spec), dropout
        widths = [self.inputs.channels, *[channels] * layers]
        self.layers = nn.ModuleList(VectorLayer(*pair) for pair in zip(widths, widths[1:], strict=False))
        self.last = nn.Linear(channels, self.dim, bias=False)

    def frames(self, batch: Any) -> Float[Tensor, "frames samples dim dim"]:
        index, samples = batch.batch, batch.num_graphs
        v = self.inputs(batch)
        for layer in self.layers:
            v = layer(v, index, samples)
            v = v * dropout(torch.ones_like(v[:, :1]), self.dropout, self.training)
        v = mixed(pooled(v, index, samples), self.last)
        frames = orthonormal(v, 100 * torch.finfo(batch.pos.dtype).eps)
        return (proper(frames) if self.rotations else frames)[None]


class Vectors(nn.Module):
    """Each node's vector fields, positions being centred, and its position times its distance and its other numbers.

    The distance is that from the centroid in units of the sample's root mean square; the numbers are real scalars and
    one-hot categories.
    """

    def __init__(self, spec: Spec):
        super().__init__()
        fields = {name: field for name, field in spec.fields.items() if field.level == "node"}
        self.vectors = [name for name, field in fields.items() if field.irreps == "1o" and name != "pos"]
        scalars = {name: field for name, field in fields.items() if field.irreps == "0e"}
        self.numbers = [name for name, field in scalars.items() if not field.categories]
        self.categories = [name for name, field in scalars.items() if field.categories]
        for name in self.categories:
            self.register_buffer(f"{name}_values", torch.tensor(scalars[name].categories), persistent=False)
        self.channels = 2 + len(self.vectors) + sum(math.prod(scalars[name].shape) for name in self.numbers)
        self.channels += sum(len(scalars[name].categories) for name in self.categories)

    def forward(self, batch: Any) -> Float[Tensor, "nodes dim channels"]:
        index, samples = batch.batch, batch.num_graphs
        pos = batch.pos.double()
        x = pos - centroids(pos, index, samples).index_select(0, index)
        distance = safe_norm(x)[:, None]
        square = centroids(distance.square(), index, samples)
        size = torch.where(square > 0, square, 1).sqrt().index_select(0, index)
        weights = [torch.ones_like(distance), distance / size]
        weights += [batch[name].reshape(len(x), -1) for name in self.numbers]
        weights += [batch[name][:, None] == self.get_buffer(f"{name}_values") for name in self.categories]
        weighted = x[:, :, None] * torch.cat([weight.to(x.dtype) for weight in weights], -1)[:, None]
        return torch.cat([weighted, *(batch[name].double()[:, :, None] for name in self.vectors)], -1)


class VectorLayer(nn.Module):
    """W v_i + U mean_j v_j, a nonlinearity, and a residual connection, on vectors (nodes, dim, channels).

    The nonlinearity takes (1 - cos) / 2 of a vector's part along a learned direction away, cos being that of the angle
    between the two: smooth, where vector neurons' ReLU cuts at 90 degrees.
    """

    def __init__(self, channels: int, out: int):
        super().__init__()
        self.own = nn.Linear(channels, out, bias=False)
        self.others = nn.Linear(channels, out, bias=False)
        self.direction = nn.Linear(out, out, bias=False)

    def forward(
        self, v: Float[Tensor, "nodes dim channels"], index: Int[Tensor, " nodes"], samples: int
    ) -> Float[Tensor, "nodes dim out"]:
        u = mixed(v, self.own) + mixed(pooled(v, index, samples), self.others).index_select(0, index)
        direction = unit_vectors(mixed(u, self.direction).mT).mT
        cosine = (unit_vectors(u.mT).mT * direction).sum(1, keepdim=True)
        u = u - (1 - cosine) / 2 * (u * direction).sum(1, keepdim=True) * direction
        return u + v if u.shape == v.shape else u


def mixed(v: Float[Tensor, "rows dim channels"], layer: nn.Linear) -> Float[Tensor, "rows dim out"]:
    """The layer in the precision of v."""
    return linear(v, layer.weight.to(v.dtype))


def pooled(
    v: Float[Tensor, "nodes dim channels"], index: Int[Tensor, " nodes"], samples: int
) -> Float[Tensor, "samples dim channels"]:
    """The mean over each sample's nodes."""
    return centroids(v.flatten(1), index, samples).unflatten(1, v.shape[1:])
