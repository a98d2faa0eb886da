"""The plain message-passing network that equivariant ones are compared with: no symmetry of space is built in.

The "GNN" of the N-body table of Satorras, Hoogeboom, Welling (arXiv:2102.09844, table 1 without coordinates, and its code):
nodes read positions and velocities as plain numbers, edges the product of charges, h_i' = h_i + phi_h(h_i, sum_j
phi_e(h_i, h_j, a_ij)). The targets of nodes are read from h, those of samples from the sum of phi(h), as in EGNN.
"""

import math
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from ... import kernels
from ...geometry.irreps import Irreps
from ...kernels import Kernels
from ...kernels.neighbor_list import complete_graph
from ...nn.edge_linear import EdgeLinear
from ...nn.gradient import with_forces
from ...tasks.spec import Field, Spec
from ...tasks.symmetry import exact
from ..paper import Paper


class GNN(Paper):
    """Message passing on coordinates, on atoms, trajectories or points of five dimensions.

    Args:
        spec: the benchmark's.
        choice: which backends run its kernels.
        layers: the number of rounds of messages; published 4.
        channels: the width of h and of the messages; published 64.
    """

    title = "Graph neural network on coordinates (baseline of EGNN's N-body table)"
    arxiv = "2102.09844"
    modalities = frozenset({"atoms", "trajectories", "points5d"})
    outputs = frozenset({"graph:0e", "node:1o"})
    scale = "mad"
    tiny = {"layers": 2, "channels": 16}

    def __init__(self, spec: Spec, choice: Kernels, layers: int, channels: int):
        super().__init__(spec)
        self.network = with_forces(GNNNetwork(spec, choice, layers, channels), spec)


class GNNNetwork(nn.Module):
    """Embed, pass messages, read out."""

    symmetries = exact("permutation")

    def __init__(self, spec: Spec, choice: Kernels, layers: int, channels: int):
        super().__init__()
        self.segment_sum = kernels.get("segment_sum", choice)
        self.inputs = Coordinates(spec)
        self.embedding = nn.Linear(self.inputs.node_channels, channels)
        self.layers = nn.ModuleList(MessagePassing(choice, channels, self.inputs.edge_channels) for _ in range(layers))
        own = [target for target in spec.targets if not target.gradient_of]
        self.of_nodes = [target.name for target in own if target.level == "node"]
        self.of_samples = [target.name for target in own if target.level == "graph"]
        self.node_decoders = nn.ModuleDict(
            {name: mlp(channels, channels, components(spec.target(name))) for name in self.of_nodes}
        )
        if self.of_samples:
            self.node_readout = mlp(channels, channels, channels)
            self.sample_readout = mlp(channels, channels, len(self.of_samples))

    def graph(self, batch: Any) -> dict[str, Tensor]:
        """Every node with every other of its sample; a benchmark that brings edges of its own is taken at its word."""
        return {"edge_index": complete_graph(batch.ptr)}

    def features(self, batch: Any) -> Float[Tensor, "nodes channels"]:
        edge_index = (batch if "edge_index" in batch else self.graph(batch))["edge_index"]
        h, a = self.embedding(self.inputs.nodes(batch)), self.inputs.edges(batch, edge_index)
        for layer in self.layers:
            h = layer(h, a, edge_index)
        return h

    def forward(self, batch: Any) -> dict[str, Tensor]:
        h = self.features(batch)
        outputs = {name: self.node_decoders[name](h) for name in self.of_nodes}
        if self.of_samples:
            sums = self.segment_sum(self.node_readout(h), batch.batch, batch.num_graphs)
            outputs |= dict(zip(self.of_samples, self.sample_readout(sums).unbind(-1), strict=True))
        return outputs


class MessagePassing(nn.Module):
    """One round of messages."""

    def __init__(self, choice: Kernels, channels: int, edge_channels: int):
        super().__init__()
        self.segment_sum = kernels.get("segment_sum", choice)
        self.first = EdgeLinear(channels, edge_channels, channels)
        self.phi_e = nn.Sequential(nn.SiLU(), nn.Linear(channels, channels), nn.SiLU())
        self.phi_h = mlp(2 * channels, channels, channels)

    def forward(
        self,
        h: Float[Tensor, "nodes channels"],
        a: Float[Tensor, "edges edge_channels"],
        edge_index: Int[Tensor, "2 edges"],
    ) -> Float[Tensor, "nodes channels"]:
        received = self.segment_sum(self.phi_e(self.first(h, a, edge_index)), edge_index[1], len(h))
        return h + self.phi_h(torch.cat([h, received], -1))


class Coordinates(nn.Module):
    """All that a benchmark says of its nodes, as plain numbers: one-hot categories, and the components of real fields.

    Charges are read from edges, as products.
    """

    def __init__(self, spec: Spec):
        super().__init__()
        nodes = {name: field for name, field in spec.fields.items() if field.level == "node" and name != "charge"}
        self.real = [name for name, field in nodes.items() if not field.categories]
        self.categories = [name for name, field in nodes.items() if field.categories]
        for name in self.categories:
            self.register_buffer(f"{name}_values", torch.tensor(nodes[name].categories), persistent=False)
        self.node_channels = sum(components(nodes[name]) for name in self.real)
        self.node_channels += sum(len(nodes[name].categories) for name in self.categories)
        self.edge_channels = int("charge" in spec.fields)

    def nodes(self, batch: Any) -> Float[Tensor, "nodes channels"]:
        numbers = [batch[name].flatten(1) for name in self.real]
        one_hot = [batch[name][:, None] == self.get_buffer(f"{name}_values") for name in self.categories]
        return torch.cat([*numbers, *(columns.to(batch.pos.dtype) for columns in one_hot)], -1)

    def edges(self, batch: Any, edge_index: Int[Tensor, "2 edges"]) -> Float[Tensor, "edges channels"]:
        j, i = edge_index
        return batch.charge[i] * batch.charge[j] if self.edge_channels else batch.pos.new_zeros(len(i), 0)


def components(field: Field) -> int:
    """How many numbers a node has of a field."""
    return math.prod(field.shape) if field.shape else Irreps(field.irreps).dim


def mlp(channels: int, hidden: int, out: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(channels, hidden), nn.SiLU(), nn.Linear(hidden, out))
