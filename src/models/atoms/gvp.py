"""Geometric Vector Perceptrons. Jing, Eismann, Suriana, Townshend, Dror; ICLR 2021, arXiv:2009.01411.

Implements the perceptron of algorithm 1 on tuples (s, V) of scalars and vectors, and the layers of section 3.2: messages of
three perceptrons on both nodes and the edge, their mean, a feed-forward block of two, and residual connections with layer
norm and dropout of whole vectors. Nodes start without vectors and edges have their direction and radial functions, since
there is no protein backbone here. SiLU takes the place of ReLU, so that forces are smooth.
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import silu

from ... import kernels
from ...errors import UserError
from ...geometry.rotations import safe_norm, unit_vectors
from ...kernels import Kernels
from ...nn.gradient import with_forces
from ...nn.pooled_network import Edges, PooledNetwork
from ...nn.radial import BesselBasis
from ...tasks.spec import Spec
from ...tasks.symmetry import E3
from ..paper import Paper

Pair = tuple[Tensor, Tensor]
"""Scalars (rows, channels) and vectors (rows, 3, channels)."""


class GVPGNN(Paper):
    """A network of geometric vector perceptrons on atoms or graphs.

    Args:
        spec: the benchmark's.
        choice: which backends run its kernels.
        layers: the number of rounds of messages; published 3.
        channels: of scalars; published 100.
        vectors: how many vectors; published 16.
        radial: how many Bessel functions of the distance.
        dropout: of scalars and of whole vectors; published 0.1.
        cutoff: how far neighbours may be, in the unit of the positions.
    """

    title = "Learning from Protein Structure with Geometric Vector Perceptrons"
    arxiv = "2009.01411"
    modalities = frozenset({"atoms", "graphs"})
    outputs = frozenset({"graph:0e", "graph:class"})
    tiny = {"layers": 2, "channels": 16, "vectors": 4, "dropout": 0.0}

    def __init__(
        self,
        spec: Spec,
        choice: Kernels,
        layers: int,
        channels: int,
        vectors: int,
        radial: int,
        dropout: float,
        cutoff: float,
    ):
        super().__init__(spec)
        for name, value in {"layers": layers, "channels": channels, "vectors": vectors}.items():
            if value < 1:
                raise UserError(f"model.{name} must be 1 or more, not {value}")
        if not 0 <= dropout < 1:
            raise UserError(f"model.dropout must be at least 0 and below 1, not {dropout}")
        network = GVPNetwork(spec, choice, layers, (channels, vectors), radial, dropout, cutoff)
        self.network = with_forces(network, spec)


class GVPNetwork(PooledNetwork):
    """Embed, pass messages, read out by a last perceptron: its scalars, and its vectors where a label turns in no way."""

    symmetries = E3

    def __init__(
        self,
        spec: Spec,
        choice: Kernels,
        layers: int,
        sizes: tuple[int, int],
        radial: int,
        dropout: float,
        cutoff: float,
    ):
        channels, vectors = sizes
        super().__init__(spec, choice, channels, cutoff)
        self.vectors = vectors
        self.basis = BesselBasis(cutoff, radial)
        self.layers = nn.ModuleList(MessageLayer(choice, sizes, radial, dropout) for _ in range(layers))
        read = 0 if self.invariant else vectors
        self.last = GVP(sizes, (channels, read), activate=True)
        self.add_head(channels + 3 * read, nn.Identity())

    def nodes(self, batch: Any) -> Float[Tensor, "nodes channels"]:
        edges = self.edges(batch)
        radial = self.basis(edges.distance)
        s = self.embedding(self.inputs(batch))
        v = s.new_zeros(len(s), 3, self.vectors)
        for layer in self.layers:
            s, v = layer(s, v, radial, edges)
        s, v = self.last(s, v)
        return torch.cat([s, v.flatten(1)], 1)


class GVP(nn.Module):
    """Algorithm 1: s' = act(W_m [s, |W_h V|] + b), V' = sigmoid(|W_mu W_h V|) W_mu W_h V.

    Args:
        inputs, outputs: how many scalars and vectors; an output may have no vectors.
        activate: whether there are nonlinearities at all.
    """

    def __init__(self, inputs: tuple[int, int], outputs: tuple[int, int], activate: bool):
        super().__init__()
        self.activate = activate
        hidden = max(inputs[1], outputs[1])
        self.hidden = nn.Linear(inputs[1], hidden, bias=False)
        self.scalars = nn.Linear(inputs[0] + hidden, outputs[0])
        self.vectors = nn.Linear(hidden, outputs[1], bias=False) if outputs[1] else None

    def forward(self, s: Float[Tensor, "rows scalars"], v: Float[Tensor, "rows 3 vectors"]) -> Pair:
        hidden = self.hidden(v)
        s = self.scalars(torch.cat([s, lengths(hidden)], 1))
        v = hidden[:, :, :0] if self.vectors is None else self.vectors(hidden)
        return (silu(s), v * torch.sigmoid(lengths(v)).unsqueeze(1)) if self.activate else (s, v)


class MessageLayer(nn.Module):
    """One round of messages and a feed-forward block, each with dropout, a residual connection and a norm (section 3.2)."""

    def __init__(self, choice: Kernels, sizes: tuple[int, int], radial: int, dropout: float):
        super().__init__()
        self.segment_sum = kernels.get("segment_sum", choice)
        s, v = sizes
        edge, wide = (2 * s + radial, 2 * v + 1), (4 * s, 2 * v)
        self.message = nn.ModuleList([GVP(edge, sizes, True), GVP(sizes, sizes, True), GVP(sizes, sizes, False)])
        self.feed_forward = nn.ModuleList([GVP(sizes, wide, True), GVP(wide, sizes, False)])
        self.dropout = nn.Dropout(dropout)
        self.norms = nn.ModuleList(TupleNorm(s) for _ in range(2))

    def forward(
        self,
        s: Float[Tensor, "nodes scalars"],
        v: Float[Tensor, "nodes 3 vectors"],
        radial: Float[Tensor, "edges radial"],
        edges: Edges,
    ) -> Pair:
        s, v = self.add(0, s, v, self.received(s, v, radial, edges))
        return self.add(1, s, v, through(self.feed_forward, s, v))

    def received(self, s: Tensor, v: Tensor, radial: Tensor, edges: Edges) -> Pair:
        """The mean message; neighbours near the cutoff count for less than one, and less than one neighbour as one."""
        j, i = edges.index
        direction = unit_vectors(edges.vector).unsqueeze(2)
        scalars = torch.cat([s.index_select(0, j), s.index_select(0, i), radial], 1)
        vectors = torch.cat([v.index_select(0, j), v.index_select(0, i), direction], 2)
        sent_s, sent_v = through(self.message, scalars, vectors)
        weight = edges.envelope[:, None]
        number = self.segment_sum(weight, i, len(s)).clamp(min=1)
        received_s = self.segment_sum(sent_s * weight, i, len(s)) / number
        return received_s, self.segment_sum(sent_v * weight.unsqueeze(2), i, len(s)) / number.unsqueeze(2)

    def add(self, place: int, s: Tensor, v: Tensor, change: Pair) -> Pair:
        kept = self.dropout(torch.ones_like(v[:, :1]))  # a vector is dropped whole, or it would turn
        return self.norms[place](s + self.dropout(change[0]), v + change[1] * kept)


class TupleNorm(nn.Module):
    """Layer norm of the scalars; vectors are divided by the root mean square of their lengths."""

    def __init__(self, channels: int, eps: float = 1e-5):
        super().__init__()
        self.scalars, self.eps = nn.LayerNorm(channels, eps=eps), eps

    def forward(self, s: Float[Tensor, "nodes scalars"], v: Float[Tensor, "nodes 3 vectors"]) -> Pair:
        square = v.square().sum(1, keepdim=True).mean(2, keepdim=True)
        return self.scalars(s), v * (square + self.eps).rsqrt()


def through(layers: nn.ModuleList, s: Tensor, v: Tensor) -> Pair:
    for layer in layers:
        s, v = layer(s, v)
    return s, v


def lengths(v: Float[Tensor, "rows 3 vectors"]) -> Float[Tensor, "rows vectors"]:
    return safe_norm(v.transpose(1, 2))
