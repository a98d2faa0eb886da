"""Clifford Group Equivariant Simplicial Message Passing Networks. Liu, Ruhe, Eijkelboom, Forré; ICLR 2024, arXiv:2402.10011.

Points become a simplicial complex: the faces of their convex hull, as published for hulls, or the Vietoris-Rips complex.
A simplex is embedded by a Clifford network of its vertices' features, summed over their orders; all simplices then exchange
messages by one shared network, which knows the dimensions of both ends. Layers are those of
`erlangen.nn.clifford`, and commute with O(n) in n dimensions; positions are seen from their mean.

The authors' program counts those messages between vertices twice that go from the later to the earlier end of an edge, so
that its mean depends on the order of the points; here every pair counts once.
"""

from itertools import permutations
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import one_hot

from ...errors import UserError
from ...geometry.clifford import Signature, blades, grades
from ...geometry.simplices import Complex, build_complex, hull_faces, vietoris_rips
from ...kernels import Kernels
from ...nn.clifford import CliffordLinear, CliffordMLP
from ...nn.frames import centroids
from ...tasks.spec import Spec
from ...tasks.symmetry import E3
from ..paper import Paper

LIFTS = ("hull", "rips")


class CSMPN(Paper):
    """CSMPN on points in n dimensions or on trajectories.

    Args:
        spec: the benchmark's.
        choice: which backends run its kernels.
        lift: "hull", the faces of the convex hull, or "rips", pairs within `radius` and triangles of such pairs.
        radius: of the Vietoris-Rips complex, in the unit of the positions.
        dimension: of the largest simplices: 2 as published; 0 leaves a Clifford network on the complete graph.
        layers: of messages.
        channels: multivectors of every simplex.
    """

    title = "Clifford Group Equivariant Simplicial Message Passing Networks"
    arxiv = "2402.10011"
    modalities = frozenset({"points5d", "trajectories"})
    outputs = frozenset({"graph:0e", "node:1o"})
    scale = "none"
    tiny = {"dimension": 1, "layers": 1, "channels": 2}

    def __init__(
        self, spec: Spec, choice: Kernels, lift: str, radius: float, dimension: int, layers: int, channels: int
    ):
        super().__init__(spec)
        if lift not in LIFTS:
            raise UserError(f"model.lift must be {' or '.join(LIFTS)}, not {lift!r}")
        if not radius > 0:
            raise UserError(f"model.radius must be positive, not {radius}")
        if not 0 <= dimension <= 2:
            raise UserError(f"model.dimension must be 0, 1 or 2, not {dimension}")
        for name, value in {"layers": layers, "channels": channels}.items():
            if value < 1:
                raise UserError(f"model.{name} must be 1 or more, not {value}")
        self.network = CSMPNNetwork(spec, choice, lift, radius, dimension, layers, channels)


class CSMPNNetwork(nn.Module):
    """Lift, embed, pass messages, read out: numbers from the mean of all simplices, vectors at the vertices."""

    symmetries = E3

    def __init__(
        self, spec: Spec, choice: Kernels, lift: str, radius: float, dimension: int, layers: int, channels: int
    ):
        super().__init__()
        self.lift, self.radius, self.dimension = lift, radius, dimension
        self.inputs = Inputs(spec)
        signature = self.inputs.signature
        self.embeddings = nn.ModuleList(
            Embedding(choice, signature, self.inputs.channels, channels, d) for d in range(dimension + 1)
        )
        self.layers = nn.ModuleList(Messages(choice, signature, channels, dimension + 1) for _ in range(layers))
        self.targets = spec.targets
        self.last = CliffordLinear(signature, channels, len(spec.targets), gain=3**0.5)

    def features(self, batch: Any) -> Float[Tensor, "nodes channels"]:
        return self.propagate(batch)[0][0, : len(batch.pos)]

    def forward(self, batch: Any) -> dict[str, Tensor]:
        h, complex = self.propagate(batch)
        values, outputs = self.last(h), {}
        for channel, target in enumerate(self.targets):
            if target.level == "graph":
                mean = centroids(values[0, :, channel, None], complex.sample, batch.num_graphs)
                outputs[target.name] = mean.squeeze(1)
            else:
                vectors = values[self.inputs.vectors_at, : len(batch.pos), channel].T
                outputs[target.name] = batch.pos + vectors if target.translates else vectors
        return outputs

    def propagate(self, batch: Any) -> tuple[Float[Tensor, "blades simplices channels"], Complex]:
        lifted = (
            hull_faces(batch.pos, batch.ptr)
            if self.lift == "hull"
            else vietoris_rips(batch.pos, batch.ptr, self.radius)
        )
        complex = build_complex(lifted, batch.ptr, self.dimension)
        x = self.inputs(batch)
        h = torch.cat(
            [embed(x, simplices) for embed, simplices in zip(self.embeddings, complex.simplices, strict=True)], 1
        )
        kind = h.new_zeros(len(h), h.shape[1], self.dimension + 1)
        kind[0] = one_hot(complex.kind, self.dimension + 1).to(h.dtype)
        for layer in self.layers:
            h = layer(h, kind, complex.edge_index)
        return h, complex


class Inputs(nn.Module):
    """Multivectors of a node: its centred position and other vectors at grade 1, its numbers at grade 0."""

    def __init__(self, spec: Spec):
        super().__init__()
        self.vectors, self.numbers = spec.node_vectors, spec.node_numbers
        dim = spec.fields["pos"].shape[0] if spec.fields["pos"].shape else 3
        self.signature: Signature = (dim, 0, 0)
        self.vectors_at = [blade for blade, grade in enumerate(grades(self.signature)) if grade == 1]
        self.channels = 1 + len(self.vectors) + len(self.numbers)

    def forward(self, batch: Any) -> Float[Tensor, "blades nodes channels"]:
        means = centroids(batch.pos, batch.batch, batch.num_graphs)
        vectors = [batch.pos - means.index_select(0, batch.batch), *(batch[name] for name in self.vectors)]
        x = batch.pos.new_zeros(len(blades(self.signature)), len(batch.pos), self.channels)
        x[self.vectors_at, :, : len(vectors)] = torch.stack(vectors, -1).transpose(0, 1)
        for channel, name in enumerate(self.numbers, start=len(vectors)):
            x[0, :, channel] = batch[name].flatten()
        return x


class Embedding(nn.Module):
    """A d-simplex from its vertices: a linear map for d = 0, else a Clifford network of d layers, summed over all orders."""

    def __init__(self, choice: Kernels, signature: Signature, channels: int, out: int, dimension: int):
        super().__init__()
        inputs = (dimension + 1) * channels
        self.network = (
            CliffordMLP(choice, signature, inputs, out, out, dimension)
            if dimension
            else CliffordLinear(signature, inputs, out, gain=3**0.5)
        )
        orders = torch.tensor(list(permutations(range(dimension + 1))))
        self.register_buffer("orders", orders, persistent=False)

    def forward(
        self, x: Float[Tensor, "blades nodes channels"], simplices: Int[Tensor, "simplices vertices"]
    ) -> Float[Tensor, "blades simplices out"]:
        vertices = simplices[:, self.orders].flatten(0, 1)
        rows = x[:, vertices].flatten(2)
        return self.network(rows).unflatten(1, (len(simplices), len(self.orders))).sum(2)


class Messages(nn.Module):
    """h_i + phi_h(h_i, mean over j of phi_m(h_i - h_j)), both networks knowing the dimensions of the simplices."""

    def __init__(self, choice: Kernels, signature: Signature, channels: int, kinds: int):
        super().__init__()
        self.message = CliffordMLP(choice, signature, channels + 2 * kinds, channels, channels, 2)
        self.update = CliffordMLP(choice, signature, 2 * channels + kinds, channels, channels, 2)

    def forward(
        self,
        h: Float[Tensor, "blades simplices channels"],
        kind: Float[Tensor, "blades simplices kinds"],
        edge_index: Int[Tensor, "2 messages"],
    ) -> Float[Tensor, "blades simplices channels"]:
        j, i = edge_index
        difference = h.index_select(1, i) - h.index_select(1, j)
        message = self.message(torch.cat([difference, kind.index_select(1, j), kind.index_select(1, i)], -1))
        number = h.new_zeros(h.shape[1]).index_add(0, i, torch.ones_like(i, dtype=h.dtype)).clamp(min=1)
        received = torch.zeros_like(h).index_add(1, i, message) / number[:, None]
        return h + self.update(torch.cat([h, received, kind], -1))
