"""Directional Message Passing (DimeNet). Gasteiger (Klicpera), Groß, Günnemann; ICLR 2020, arXiv:2003.03123.

Implements messages between pairs of atoms that are updated by eq. (4) from the messages arriving at their source, with the
Bessel bases of section 5 for distances (eq. 7) and for distances and angles (eq. 6), and the blocks of figure 4: embedding,
interaction with a bilinear layer, residual layers, and an output block after each. The angle is the paper's, between k -> j
and j -> i at the atom j (the authors' first code took the one at i). As in their code the bases measure lengths in cutoffs, so
that they are of order one, and weights start with Glorot's variance.
"""

from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import silu

from ... import kernels
from ...errors import UserError
from ...geometry.rotations import unit_vectors
from ...kernels import Kernels
from ...nn.angular import AngularBasis
from ...nn.edge_linear import EdgeLinear
from ...nn.gradient import with_forces
from ...nn.pooled_network import Edges, PooledNetwork
from ...nn.radial import BesselBasis
from ...tasks.spec import Spec
from ...tasks.symmetry import E3
from ..paper import Paper


class DimeNet(Paper):
    """DimeNet on atoms or graphs: of the positions it sees distances, and angles between edges that meet.

    Args:
        spec: the benchmark's.
        choice: which backends run its kernels.
        layers: the number of interaction blocks; published 6.
        channels: the width of messages; published 128.
        bilinear: into how many numbers the angular basis is mapped for the bilinear layer; published 8.
        degrees, angular_radial: of the angular basis; published 7 and 6.
        radial: how many Bessel functions of the distance; published 6.
        cutoff: how far neighbours may be, in the unit of the positions; published 5 Å.
    """

    title = "Directional Message Passing for Molecular Graphs"
    arxiv = "2003.03123"
    modalities = frozenset({"atoms", "graphs"})
    outputs = frozenset({"graph:0e", "graph:class"})
    tiny = {"layers": 1, "channels": 16, "bilinear": 2, "degrees": 3, "angular_radial": 2, "radial": 2, "cutoff": 10.0}

    def __init__(
        self,
        spec: Spec,
        choice: Kernels,
        layers: int,
        channels: int,
        bilinear: int,
        degrees: int,
        angular_radial: int,
        radial: int,
        cutoff: float,
    ):
        super().__init__(spec)
        for name, value in {"layers": layers, "channels": channels, "bilinear": bilinear}.items():
            if value < 1:
                raise UserError(f"model.{name} must be 1 or more, not {value}")
        bases = AngularBasis(1.0, degrees, angular_radial), BesselBasis(1.0, radial)
        self.network = with_forces(DimeNetNetwork(spec, choice, layers, channels, bilinear, *bases, cutoff), spec)


class Triplets(NamedTuple):
    """Pairs of edges k -> j -> i with k not i: the two edges' places, each (triplets,)."""

    arriving: Tensor
    leaving: Tensor


def triplets(edge_index: Int[Tensor, "2 edges"], nodes: int) -> Triplets:
    """All pairs of edges of which the first ends where the second starts, and does not start where that one ends."""
    source, destination = edge_index
    by_destination = destination.argsort(stable=True)
    degree = torch.bincount(destination, minlength=nodes)
    first = degree.cumsum(0) - degree
    count = degree[source]
    leaving = torch.repeat_interleave(count)
    rank = torch.arange(len(leaving), device=source.device) - torch.repeat_interleave(count.cumsum(0) - count, count)
    arriving = by_destination[first[source][leaving] + rank]
    other = source[arriving] != destination[leaving]
    return Triplets(arriving[other], leaving[other])


class DimeNetNetwork(PooledNetwork):
    """Messages, interactions, and the sum of what each block says of the atoms: figure 4."""

    symmetries = E3

    def __init__(
        self,
        spec: Spec,
        choice: Kernels,
        layers: int,
        channels: int,
        bilinear: int,
        angular: AngularBasis,
        radial: BesselBasis,
        cutoff: float,
    ):
        super().__init__(spec, choice, channels, cutoff)
        self.cutoff = cutoff
        self.angular_basis, self.radial_basis = angular, radial
        self.radial_embedding = nn.Linear(radial.count, channels)
        self.message = EdgeLinear(channels, channels, channels)
        self.layers = nn.ModuleList(
            InteractionBlock(choice, channels, bilinear, angular, radial) for _ in range(layers)
        )
        self.outputs = nn.ModuleList(OutputBlock(choice, channels, radial.count) for _ in range(layers + 1))
        # a linear layer on all outputs side by side is the sum of a linear layer on each
        self.add_head(channels * (layers + 1), nn.Identity())
        self.apply(glorot)
        for layer in self.layers:
            nn.init.normal_(layer.bilinear.weight, std=2 / channels)

    def nodes(self, batch: Any) -> Float[Tensor, "nodes channels"]:
        edges, size = self.edges(batch), len(batch.pos)
        radial = self.radial_basis(edges.distance / self.cutoff) * edges.envelope[:, None]
        meeting = triplets(edges.index, size)
        angular = self.angles(edges, meeting)
        h = self.embedding(self.inputs(batch))
        m = silu(self.message(h, silu(self.radial_embedding(radial)), edges.index))
        found = [self.outputs[0](m, radial, edges, size)]
        for layer, output in zip(self.layers, self.outputs[1:], strict=True):
            m = layer(m, radial, angular, meeting)
            found.append(output(m, radial, edges, size))
        return torch.cat(found, 1)

    def angles(self, edges: Edges, meeting: Triplets) -> Float[Tensor, "triplets basis"]:
        """The angular basis of the arriving edge's length and the angle between the two edges at j."""
        direction = unit_vectors(edges.vector)
        to_source, to_destination = direction[meeting.arriving], -direction[meeting.leaving]
        harmonics = self.angular_basis.angular((to_source * to_destination).sum(1))
        radial = self.angular_basis.radial(edges.distance / self.cutoff) * edges.envelope[:, None, None]
        return (radial.index_select(0, meeting.arriving) * harmonics.unsqueeze(2)).flatten(1)


class InteractionBlock(nn.Module):
    """Eq. (4): m_ji from itself and, by a bilinear layer with the angular basis, from every m_kj."""

    def __init__(self, choice: Kernels, channels: int, bilinear: int, angular: AngularBasis, radial: BesselBasis):
        super().__init__()
        self.segment_sum = kernels.get("segment_sum", choice)
        self.own, self.others = nn.Linear(channels, channels), nn.Linear(channels, channels)
        self.radial = nn.Linear(radial.count, channels, bias=False)
        self.angular = nn.Linear(angular.degrees * angular.count, bilinear, bias=False)
        self.bilinear = nn.Linear(bilinear * channels, channels, bias=False)
        self.before, self.after = Residual(channels), nn.Sequential(Residual(channels), Residual(channels))
        self.mix = nn.Linear(channels, channels)

    def forward(
        self,
        m: Float[Tensor, "edges channels"],
        radial: Float[Tensor, "edges radial"],
        angular: Float[Tensor, "triplets angular"],
        meeting: Triplets,
    ) -> Float[Tensor, "edges channels"]:
        arriving = (silu(self.others(m)) * self.radial(radial)).index_select(0, meeting.arriving)
        pairs = (self.angular(angular).unsqueeze(2) * arriving.unsqueeze(1)).flatten(1)
        # the bilinear layer is linear in the pairs: it is applied to their sum, once an edge rather than once a triplet
        received = self.bilinear(self.segment_sum(pairs, meeting.leaving, len(m)))
        return self.after(m + silu(self.mix(self.before(silu(self.own(m)) + received))))


class OutputBlock(nn.Module):
    """The messages that arrive at an atom, gated by their distance, summed and transformed."""

    def __init__(self, choice: Kernels, channels: int, radial: int):
        super().__init__()
        self.segment_sum = kernels.get("segment_sum", choice)
        self.radial = nn.Linear(radial, channels, bias=False)
        self.layers = nn.Sequential(*(part for _ in range(3) for part in (nn.Linear(channels, channels), nn.SiLU())))

    def forward(
        self, m: Float[Tensor, "edges channels"], radial: Float[Tensor, "edges radial"], edges: Edges, size: int
    ) -> Float[Tensor, "nodes channels"]:
        return self.layers(self.segment_sum(m * self.radial(radial), edges.index[1], size))


class Residual(nn.Module):
    """x + two layers of x."""

    def __init__(self, channels: int):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(channels, channels), nn.SiLU(), nn.Linear(channels, channels), nn.SiLU())

    def forward(self, x: Float[Tensor, "edges channels"]) -> Float[Tensor, "edges channels"]:
        return x + self.layers(x)


def glorot(module: nn.Module) -> None:
    """Draws the weights of a linear layer with the variance 2 / (inputs + outputs); its bias is zero."""
    if isinstance(module, nn.Linear):
        nn.init.xavier_normal_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
