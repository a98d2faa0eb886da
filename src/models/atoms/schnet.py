"""SchNet. Schütt, Kindermans, Sauceda, Chmiela, Tkatchenko, Müller; NeurIPS 2017, arXiv:1706.08566.

Implements the continuous-filter convolution (eq. 2) with filters generated from Gaussians of the distance (section 3.2),
the interaction block and the readout (figure 2), and the shifted softplus. Two things differ: where the paper joins all
pairs of atoms, pairs end smoothly at a cutoff; and the readout's last bias counts once a molecule, not once an atom.
"""

import math
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ... import kernels
from ...errors import UserError
from ...kernels import Kernels
from ...nn.gradient import with_forces
from ...nn.pooled_network import Edges, PooledNetwork
from ...nn.radial import GaussianBasis
from ...tasks.spec import Spec
from ...tasks.symmetry import E3
from ..paper import Paper


class SchNet(Paper):
    """SchNet on atoms or graphs: of the positions it sees distances only.

    Args:
        spec: the benchmark's.
        choice: which backends run its kernels.
        layers: the number of interaction blocks; published 3.
        channels: the width of the atoms' features and of the filters; published 64.
        radial: how many Gaussians of the distance the filter network reads, from 0 to the cutoff; published 300.
        width: the standard deviation of a Gaussian, in distances between their centres.
        cutoff: how far neighbours may be, in the unit of the positions; published 30 Å for the last Gaussian.
    """

    title = "SchNet: A continuous-filter convolutional neural network for modeling quantum interactions"
    arxiv = "1706.08566"
    modalities = frozenset({"atoms", "graphs"})
    outputs = frozenset({"graph:0e", "graph:class"})
    tiny = {"layers": 2, "channels": 16, "radial": 16, "width": 1.0, "cutoff": 10.0}

    def __init__(
        self, spec: Spec, choice: Kernels, layers: int, channels: int, radial: int, width: float, cutoff: float
    ):
        super().__init__(spec)
        for name, value, least in (("layers", layers, 1), ("channels", channels, 2)):
            if value < least:
                raise UserError(f"model.{name} must be {least} or more, not {value}")
        self.network = with_forces(SchNetNetwork(spec, choice, layers, channels, radial, width, cutoff), spec)


class SchNetNetwork(PooledNetwork):
    """Embed, interact, read out each atom, sum."""

    symmetries = E3

    def __init__(
        self, spec: Spec, choice: Kernels, layers: int, channels: int, radial: int, width: float, cutoff: float
    ):
        super().__init__(spec, choice, channels, cutoff)
        self.basis = GaussianBasis(0.0, cutoff, radial, width)
        self.layers = nn.ModuleList(InteractionBlock(choice, channels, radial) for _ in range(layers))
        self.add_head(channels // 2, nn.Sequential(nn.Linear(channels, channels // 2), ShiftedSoftplus()))

    def nodes(self, batch: Any) -> Float[Tensor, "nodes channels"]:
        edges = self.edges(batch)
        radial = self.basis(edges.distance)
        h = self.embedding(self.inputs(batch))
        for layer in self.layers:
            h = h + layer(h, radial, edges)
        return h


class InteractionBlock(nn.Module):
    """Atom-wise, continuous-filter convolution, atom-wise, shifted softplus, atom-wise: figure 2, middle."""

    def __init__(self, choice: Kernels, channels: int, radial: int):
        super().__init__()
        self.segment_sum = kernels.get("segment_sum", choice)
        self.first = nn.Linear(channels, channels, bias=False)
        self.filter = nn.Sequential(
            nn.Linear(radial, channels), ShiftedSoftplus(), nn.Linear(channels, channels), ShiftedSoftplus()
        )
        self.last = nn.Sequential(nn.Linear(channels, channels), ShiftedSoftplus(), nn.Linear(channels, channels))

    def forward(
        self, h: Float[Tensor, "nodes channels"], radial: Float[Tensor, "edges radial"], edges: Edges
    ) -> Float[Tensor, "nodes channels"]:
        source, destination = edges.index
        weight = self.filter(radial) * edges.envelope[:, None]
        message = self.first(h).index_select(0, source) * weight
        return self.last(self.segment_sum(message, destination, len(h)))


class ShiftedSoftplus(nn.Module):
    """ln(e^x / 2 + 1 / 2): 0 at 0, and smooth."""

    def forward(self, x: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
        return torch.nn.functional.softplus(x) - math.log(2)
