"""What networks that look at edges and answer for a whole sample share around the layers of their own."""

from abc import ABC, abstractmethod
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from .. import kernels
from ..geometry.rotations import safe_norm
from ..kernels import Kernels
from ..kernels.neighbor_list import edge_vectors
from ..tasks.spec import Spec
from .radial import PolynomialEnvelope


class Edges(NamedTuple):
    """The graph that messages follow.

    index (2, edges): row 0 the source j, row 1 the destination i.
    vector (edges, 3): x_j - x_i; distance (edges,): its length, with gradient 0 at 0.
    envelope (edges,): 0 at the cutoff; 1 for the edges of a benchmark, which count at any length.
    """

    index: Tensor
    vector: Tensor
    distance: Tensor
    envelope: Tensor


class PooledNetwork(nn.Module, ABC):
    """Embeds elements, finds edges, pools what a subclass's `nodes` says of each node, and reads it out.

    Classes are read from the mean over the nodes; a real number is the sum of what is read at each. A target that turns
    in no representation (irreps "") may be read from equivariant features, any other (`invariant`) from scalars alone.

    Args:
        spec: the benchmark's.
        choice: which backends run its kernels.
        channels: of the embedding.
        cutoff: how far neighbours may be, where a benchmark has no edges of its own.
        max_neighbors: of each node, the nearest, whole shells; None for all.
    """

    feature_channels: int
    readout: nn.Module
    head: nn.Module

    def __init__(self, spec: Spec, choice: Kernels, channels: int, cutoff: float, max_neighbors: int | None = None):
        super().__init__()
        self.neighbor_list = kernels.get("neighbor_list", choice, cutoff=cutoff, max_neighbors=max_neighbors)
        self.segment_sum = kernels.get("segment_sum", choice)
        self.envelope = PolynomialEnvelope(cutoff, 6)
        elements = spec.fields["z"].categories if "z" in spec.fields else ()
        self.register_buffer("elements", torch.tensor(elements, dtype=torch.long), persistent=False)
        self.species = len(elements) or 1
        self.embedding = nn.Linear(self.species, channels, bias=False)
        targets = [target for target in spec.targets if not target.gradient_of]
        self.classes = {target.name: target.classes for target in targets}
        self.invariant = all(target.irreps for target in targets)

    def add_head(self, channels: int, readout: nn.Module) -> None:
        """Reads what `readout` makes of each node (of their mean, for classes), which has so many channels."""
        self.feature_channels, self.readout = channels, readout
        self.head = nn.Linear(channels, sum(classes or 1 for classes in self.classes.values()))

    @abstractmethod
    def nodes(self, batch: Any) -> Float[Tensor, "nodes channels"]:
        """What is pooled."""

    def features(self, batch: Any) -> Float[Tensor, "samples channels"]:
        h = self.nodes(batch)
        if not any(self.classes.values()):
            return self.segment_sum(self.readout(h), batch.batch, batch.num_graphs)
        total = self.segment_sum(h, batch.batch, batch.num_graphs)
        return self.readout(total / batch.ptr.diff().to(total)[:, None])

    def forward(self, batch: Any) -> dict[str, Tensor]:
        values = self.head(self.features(batch)).split([classes or 1 for classes in self.classes.values()], 1)
        return {
            name: value if classes else value.squeeze(1)
            for (name, classes), value in zip(self.classes.items(), values, strict=True)
        }

    def edges(self, batch: Any) -> Edges:
        """The edges within the cutoff, also to images where there is a `cell`; those of a benchmark that brings its own."""
        if "cell" in batch:
            index, _, vector = self.neighbor_list(batch.pos, batch.ptr, batch.cell, batch.pbc)
        elif "edge_index" in batch:
            index, vector = batch.edge_index, edge_vectors(batch.pos, batch.edge_index)
        else:
            index, _, vector = self.neighbor_list(batch.pos, batch.ptr)
        distance = safe_norm(vector)
        own = "edge_index" in batch and "cell" not in batch
        envelope = torch.ones_like(distance) if own else self.envelope(distance)
        return Edges(index, vector, distance, envelope)

    def inputs(self, batch: Any) -> Float[Tensor, "nodes species"]:
        """One-hot elements, or ones where nodes have none."""
        if len(self.elements):
            return (batch.z[:, None] == self.elements).to(batch.pos.dtype)
        return batch.pos.new_ones(len(batch.pos), 1)
