"""E(n) Equivariant Graph Neural Networks. Satorras, Hoogeboom, Welling; ICML 2021, arXiv:2102.09844.

Implements eqs. (3)-(6), the velocity variant (7) and the soft edges (8). Where the authors' code differs from the paper
we follow the code, since its numbers are the published ones: the coordinate update is a mean over neighbours, h has a
residual connection, and on QM9 the coordinates stay where they are, h starts as one-hot(Z) times powers of Z, and the
molecule is read out as MLP(sum_i MLP(h_i)) (appendix C). Its clamp of coordinate updates at 100 is left out.
"""

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from ... import kernels
from ...kernels import Kernels
from ...kernels.neighbor_list import complete_graph
from ...nn.edge_linear import EdgeLinear
from ...nn.gradient import with_forces
from ...tasks.spec import Spec
from ...tasks.symmetry import E3
from ..paper import Paper


class EGNN(Paper):
    """EGNN on atoms or on trajectories.

    Args:
        spec: the benchmark's.
        choice: which backends run its kernels.
        layers: the number of equivariant layers L.
        channels: the width of h and of the messages.
        attention: weigh every message by a gate of its own, eq. (8).
        update_coordinates: move x by eq. (4). It always moves where a target is a vector.
        cutoff: of periodic structures, which have no complete graph, the longest edge.
    """

    title = "E(n) Equivariant Graph Neural Networks"
    arxiv = "2102.09844"
    modalities = frozenset({"atoms", "trajectories"})
    outputs = frozenset({"graph:0e", "node:1o"})
    periodic = True
    scale = "mad"
    tiny = {"layers": 2, "channels": 16}

    def __init__(
        self,
        spec: Spec,
        choice: Kernels,
        layers: int,
        channels: int,
        attention: bool,
        update_coordinates: bool,
        cutoff: float,
    ):
        super().__init__(spec)
        moves = update_coordinates or any(target.irreps == "1o" and not target.gradient_of for target in spec.targets)
        self.network = with_forces(EGNNNetwork(spec, choice, layers, channels, attention, moves, cutoff), spec)


class EGNNNetwork(nn.Module):
    """The network of the paper: embed, L layers, read out."""

    symmetries = E3

    def __init__(
        self,
        spec: Spec,
        choice: Kernels,
        layers: int,
        channels: int,
        attention: bool,
        update_coordinates: bool,
        cutoff: float,
    ):
        super().__init__()
        self.segment_sum = kernels.get("segment_sum", choice)
        self.neighbor_list = kernels.get("neighbor_list", choice, cutoff=cutoff)
        self.inputs = Inputs(spec)
        self.embedding = nn.Linear(self.inputs.node_channels, channels)
        has_velocity = self.inputs.has_velocity
        self.layers = nn.ModuleList(
            EquivariantLayer(choice, channels, self.inputs.edge_channels, attention, update_coordinates, has_velocity)
            for _ in range(layers)
        )
        self.scalars = [t.name for t in spec.targets if t.level == "graph" and not t.gradient_of]
        self.vectors = [t for t in spec.targets if t.level == "node" and not t.gradient_of]
        if self.scalars:
            self.node_readout = nn.Sequential(nn.Linear(channels, channels), nn.SiLU(), nn.Linear(channels, channels))
            self.graph_readout = nn.Sequential(
                nn.Linear(channels, channels), nn.SiLU(), nn.Linear(channels, len(self.scalars))
            )
        self.layers[-1].freeze_unread(h=not self.scalars, x=not self.vectors)

    def features(self, batch: Any) -> Float[Tensor, "nodes channels"]:
        return self.propagate(batch)[0]

    def forward(self, batch: Any) -> dict[str, Tensor]:
        h, x = self.propagate(batch)
        outputs = {t.name: x if t.translates else x - batch.pos for t in self.vectors}
        if self.scalars:
            sums = self.segment_sum(self.node_readout(h), batch.batch, batch.num_graphs)
            outputs |= dict(zip(self.scalars, self.graph_readout(sums).unbind(-1), strict=True))
        return outputs

    def graph(self, batch: Any) -> dict[str, Tensor]:
        """Fields that a batch without edges lacks: edge_index (2, edges), and of periodic structures edge_shift (edges, 3).

        Every atom with every other of its sample, or with those within the cutoff in a periodic structure; the shift is how
        far from its source the image is that an edge comes from.
        """
        if "cell" not in batch:
            return {"edge_index": complete_graph(batch.ptr)}
        edges, offset, _ = self.neighbor_list(batch.pos.detach(), batch.ptr, batch.cell, batch.pbc)
        cell = batch.cell[batch.batch[edges[1]]]
        return {"edge_index": edges, "edge_shift": torch.einsum("ei,eij->ej", offset.to(cell), cell)}

    def propagate(self, batch: Any) -> tuple[Float[Tensor, "nodes channels"], Float[Tensor, "nodes dim"]]:
        graph = batch if "edge_index" in batch else self.graph(batch)
        edge_index = graph["edge_index"]
        shift = graph["edge_shift"] if "edge_shift" in graph else None  # noqa: SIM401 (a batch has no `get`)
        h, x = self.embedding(self.inputs.nodes(batch)), batch.pos
        velocity = batch.vel if self.inputs.has_velocity else None
        edge_features = self.inputs.edges(batch, edge_index)
        neighbors = self.segment_sum(x.new_ones(edge_index.shape[1], 1), edge_index[1], len(x)).clamp(min=1)
        for layer in self.layers:
            h, x = layer(h, x, edge_features, edge_index, neighbors, velocity, shift)
        return h, x


class EquivariantLayer(nn.Module):
    """E_GCL: one round of messages, eqs. (3)-(8)."""

    def __init__(
        self,
        choice: Kernels,
        channels: int,
        edge_channels: int,
        attention: bool,
        update_coordinates: bool,
        has_velocity: bool,
    ):
        super().__init__()
        self.segment_sum = kernels.get("segment_sum", choice)
        act = nn.SiLU()
        self.first = EdgeLinear(channels, edge_channels + 1, channels)
        self.phi_e = nn.Sequential(act, nn.Linear(channels, channels), act)
        self.phi_inf = nn.Sequential(nn.Linear(channels, 1), nn.Sigmoid()) if attention else None
        self.phi_h = nn.Sequential(nn.Linear(2 * channels, channels), act, nn.Linear(channels, channels))
        self.phi_x = self.phi_v = None
        if update_coordinates:
            last = nn.Linear(channels, 1, bias=False)
            nn.init.xavier_uniform_(last.weight, gain=0.001)  # x hardly moves at first, or deep stacks explode
            self.phi_x = nn.Sequential(nn.Linear(channels, channels), act, last)
            if has_velocity:
                self.phi_v = nn.Sequential(nn.Linear(channels, channels), act, nn.Linear(channels, 1))

    def freeze_unread(self, h: bool, x: bool) -> None:
        """Leaves untrained what only leads to an h or x that nothing reads, and so gets no gradient."""
        for mlp in [self.phi_h] * h + [self.phi_x, self.phi_v] * x:
            if mlp is not None:
                mlp.requires_grad_(False)

    def forward(
        self,
        h: Float[Tensor, "nodes channels"],
        x: Float[Tensor, "nodes dim"],
        edge_features: Float[Tensor, "edges edge_channels"],
        edge_index: Int[Tensor, "2 edges"],
        neighbors: Float[Tensor, "nodes 1"],
        velocity: Float[Tensor, "nodes dim"] | None,
        shift: Float[Tensor, "edges dim"] | None = None,
    ) -> tuple[Float[Tensor, "nodes channels"], Float[Tensor, "nodes dim"]]:
        j, i = edge_index
        offset = x.index_select(0, i) - x.index_select(0, j)
        offset = offset if shift is None else offset - shift
        squared_distance = offset.square().sum(-1, keepdim=True)
        message = self.phi_e(self.first(h, torch.cat([squared_distance, edge_features], -1), edge_index))  # eq. (3)
        if self.phi_inf is not None:
            message = message * self.phi_inf(message)  # eq. (8)
        if self.phi_x is not None:
            x = x + self.segment_sum(offset * self.phi_x(message), i, len(x)) / neighbors  # eq. (4)
        if self.phi_v is not None:
            x = x + self.phi_v(h) * velocity  # eq. (7)
        received = self.segment_sum(message, i, len(h))  # eq. (5)
        return h + self.phi_h(torch.cat([h, received], -1)), x  # eq. (6)


class Inputs(nn.Module):
    """Invariant features of nodes and edges, from the fields that the benchmark has.

    Atoms: one-hot(Z) times (Z / Z_max)^{0, 1, 2}. Trajectories: the speed |v|; an edge has the product of its charges
    and its squared distance at the start. Other numbers, as masses, are features of nodes as they are.
    """

    powers = 3

    def __init__(self, spec: Spec):
        super().__init__()
        self.has_velocity = "vel" in spec.fields
        self.has_charge = "charge" in spec.fields
        self.numbers = [name for name in spec.node_numbers if name != "charge"]
        elements = spec.fields["z"].categories if "z" in spec.fields else ()
        self.register_buffer("elements", torch.tensor(elements, dtype=torch.long), persistent=False)
        self.node_channels = len(elements) * self.powers + self.has_velocity + len(self.numbers)
        self.edge_channels = 2 * self.has_charge

    def nodes(self, batch: Any) -> Float[Tensor, "nodes channels"]:
        features = []
        if len(self.elements):
            one_hot = (batch.z[:, None] == self.elements).to(batch.pos.dtype)
            relative = batch.z.to(batch.pos.dtype) / self.elements.max()
            powers = relative[:, None] ** torch.arange(self.powers, device=relative.device)
            features.append((one_hot[:, :, None] * powers[:, None, :]).flatten(1))
        if self.has_velocity:
            features.append(batch.vel.norm(dim=-1, keepdim=True))
        features += [batch[name] for name in self.numbers]
        return torch.cat(features, -1)

    def edges(self, batch: Any, edge_index: Int[Tensor, "2 edges"]) -> Float[Tensor, "edges channels"]:
        j, i = edge_index
        if not self.has_charge:
            return batch.pos.new_zeros(len(i), 0)
        squared_distance = (batch.pos[i] - batch.pos[j]).square().sum(-1, keepdim=True)
        return torch.cat([batch.charge[i] * batch.charge[j], squared_distance], -1)
