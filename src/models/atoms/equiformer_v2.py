"""EquiformerV2: Improved Equivariant Transformer for Scaling to Higher-Degree Representations.

Liao, Wood, Das, Smidt; ICLR 2024, arXiv:2306.12059. Implements section 4: graph attention made of eSCN convolutions,
attention re-normalisation (4.1), separable S2 activation (4.2), separable layer normalisation (4.3) and the overall
architecture (4.4). Where the authors' code differs from the paper we follow the code, since its
numbers are the published ones: the feed-forward network has three linear layers on the sphere's grid, degrees that lose
components to mmax are rescaled, and energies are the sum over atoms / the average number of atoms. `selfmix` is the variant of
arXiv:2401.10216 (section 4, table 1), whose code is not released: we put the layer, with a norm and a residual connection as
its neighbours have them, between attention and feed-forward network.

Two things are worth knowing. The imaginary parts of the SO(2) layers make it equivariant under
rotations only: it tells mirror images apart. And in the energy head the scalar branch alone reaches the output, so that
the rest of that head's published parameters (0.13M of 31M, 0.17M of 83M and 154M) are there but learn nothing.
"""

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from math import sqrt
from typing import Any, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import silu

from ... import kernels
from ...kernels import Kernels
from ...kernels.m_layout import degrees
from ...kernels.s2_mlp import declared_bound
from ...nn.atoms import heads_of, require_elements, so3_promises
from ...nn.drop_path import DropPath
from ...nn.edge_degree import EdgeDegreeEmbedding
from ...nn.edge_frames import EdgeFrames, Edges
from ...nn.edge_radial import EdgeRadial
from ...nn.gradient import with_forces
from ...nn.radial import GaussianBasis
from ...nn.selfmix import Selfmix
from ...nn.so2_layers import SO2Linear, orders_of, row_degrees, scaled_orders, truncation_gain
from ...nn.so3_layers import SeparableLayerNorm, SO3Linear, component_degrees, gated, with_scalars
from ...tasks.normalizer import Statistics
from ...tasks.spec import Spec, Target
from ...tasks.task import Task
from ..paper import Paper

Activation = Literal["s2", "gate"]

log = logging.getLogger("erlangen")


@dataclass(frozen=True)
class Sizes:
    """What all blocks of the network share; see `EquiformerV2`."""

    lmax: int
    mmax: int
    channels: int
    hidden_channels: int
    heads: int
    alpha_channels: int
    value_channels: int
    ffn_channels: int
    edge_channels: int
    basis: int
    elements: int
    activation: Activation
    resolution: int
    selfmix: bool
    order: int


class EquiformerV2(Paper):
    """EquiformerV2 on molecules and on periodic structures: energies, and forces directly or as a gradient.

    Args:
        spec: the benchmark's.
        choice: which backends run its kernels.
        layers: the number of transformer blocks.
        channels: the width of each component of a node.
        lmax, mmax: the highest degree; the highest order of a message in the frame of its edge.
        hidden_channels, heads, alpha_channels, value_channels: of the attention: the width between its two SO(2)
            layers; heads; channels of a head's logit and of its value.
        ffn_channels: the width of the feed-forward network.
        edge_channels: the width of the radial networks and of their embeddings of elements.
        radial_basis: how many Gaussians of the distance, from 0 to the cutoff and twice as wide as their spacing.
        cutoff: the longest edge, in the unit of the positions.
        max_neighbors: keep only the nearest so many edges of an atom (and all that are as near as the last).
        elements: the highest atomic number that has a place in its tables.
        activation: `s2`, on a grid, as published: equivariance is approximate; or `gate`: it is exact.
        resolution: the grid has so many colatitudes and as many azimuths.
        alpha_drop, drop_path: dropout of attention weights; of residual branches for a whole sample.
        average_nodes, average_degree: of the benchmark: what an energy and the edge-degree embedding are divided by.
        direct_forces: predict forces by a head of their own, as published, rather than as the energy's gradient.
        selfmix: multiply the features of each block with themselves (arXiv:2401.10216).
    """

    title = "EquiformerV2: Improved Equivariant Transformer for Scaling to Higher-Degree Representations"
    arxiv = "2306.12059"
    modalities = frozenset({"atoms"})
    outputs = frozenset({"graph:0e", "node:1o"})
    periodic = True
    grid = "resolution"
    tiny = {
        "layers": 2,
        "channels": 8,
        "lmax": 2,
        "mmax": 1,
        "hidden_channels": 8,
        "heads": 2,
        "alpha_channels": 4,
        "value_channels": 4,
        "ffn_channels": 8,
        "edge_channels": 8,
        "radial_basis": 32,
        "activation": "gate",
        "average_nodes": 6.0,
        "alpha_drop": 0.0,
        "drop_path": 0.0,
        "direct_forces": False,
    }

    def __init__(
        self,
        spec: Spec,
        choice: Kernels,
        layers: int,
        channels: int,
        lmax: int,
        mmax: int,
        hidden_channels: int,
        heads: int,
        alpha_channels: int,
        value_channels: int,
        ffn_channels: int,
        edge_channels: int,
        radial_basis: int,
        cutoff: float,
        max_neighbors: int,
        elements: int,
        activation: Activation,
        resolution: int,
        alpha_drop: float,
        drop_path: float,
        average_nodes: float,
        average_degree: float,
        direct_forces: bool,
        selfmix: bool = False,  # checkpoints may be older than it
    ):
        super().__init__(spec)
        require_elements(spec, elements)
        targets = heads_of(spec, direct_forces)
        sizes = Sizes(
            lmax=lmax,
            mmax=mmax,
            channels=channels,
            hidden_channels=hidden_channels,
            heads=heads,
            alpha_channels=alpha_channels,
            value_channels=value_channels,
            ffn_channels=ffn_channels,
            edge_channels=edge_channels,
            basis=radial_basis,
            elements=elements,
            activation=activation,
            resolution=resolution,
            selfmix=selfmix,
            order=1 if len(targets) == len(spec.targets) else 2,
        )
        frames = EdgeFrames(choice, cutoff, max_neighbors, lmax, sizes.order)
        basis = GaussianBasis(0.0, cutoff, radial_basis, width_scalar=2.0)
        blocks = [Block(choice, sizes, alpha_drop, drop_path) for _ in range(layers)]
        network = EquiformerV2Network(targets, choice, sizes, frames, basis, blocks, average_nodes, average_degree)
        self.network = network if len(targets) == len(spec.targets) else with_forces(network, spec)


class Equiformer(EquiformerV2):
    """What `model=equiformer` is: EquiformerV2, which it says before it is trained."""

    def prepare(
        self, task: Task, statistics: Mapping[str, Statistics], train_batches: Callable[[], Iterable[Any]]
    ) -> None:
        log.warning(
            "model=equiformer is EquiformerV2 (arXiv:%s), not the first Equiformer (arXiv:2206.11990)", self.arxiv
        )
        super().prepare(task, statistics, train_batches)


class EquiformerV2Network(nn.Module):
    """The overall architecture (section 4.4): embed, transformer blocks, norm, heads."""

    def __init__(
        self,
        targets: list[Target],
        choice: Kernels,
        sizes: Sizes,
        frames: EdgeFrames,
        basis: GaussianBasis,
        blocks: list["Block"],
        average_nodes: float,
        average_degree: float,
    ):
        super().__init__()
        self.symmetries = so3_promises(rotation_bound(sizes))
        self.segment_sum = kernels.get("segment_sum", choice)
        self.frames, self.basis, self.average_nodes = frames, basis, average_nodes
        self.embedding = nn.Embedding(sizes.elements, sizes.channels)
        self.edge_degree = EdgeDegreeEmbedding(
            choice,
            EdgeRadial(sizes.elements, sizes.basis, sizes.edge_channels, (sizes.lmax + 1) * sizes.channels),
            sizes.lmax,
            sizes.mmax,
            average_degree,
            sizes.order,
        )
        self.blocks = nn.ModuleList(blocks)
        self.norm = SeparableLayerNorm(sizes.lmax, sizes.channels)
        self.scalars = [target.name for target in targets if target.level == "graph"]
        self.vectors = [target.name for target in targets if target.level == "node"]
        if self.scalars:
            self.energy = FeedForward(choice, sizes, len(self.scalars))
        if self.vectors:
            self.force = GraphAttention(choice, sizes, len(self.vectors), alpha_drop=0.0)
        self.apply(zero_biases)

    def features(self, batch: Any) -> Float[Tensor, "nodes channels"]:
        return self.propagate(batch)[0][:, 0]

    def forward(self, batch: Any) -> dict[str, Tensor]:
        x, z, basis, edges = self.propagate(batch)
        outputs = {}
        if self.scalars:
            of_atoms = self.energy(x)[:, 0].to(batch.pos.dtype)  # summed in full precision under autocast too
            sums = self.segment_sum(of_atoms, batch.batch, batch.num_graphs) / self.average_nodes
            outputs |= dict(zip(self.scalars, sums.unbind(-1), strict=True))
        if self.vectors:
            vectors = self.force(x, basis, z, edges)[:, 1:4]  # degree 1 in the order x, y, z
            outputs |= dict(zip(self.vectors, vectors.unbind(-1), strict=True))
        return outputs

    def propagate(
        self, batch: Any
    ) -> tuple[Float[Tensor, "nodes components channels"], Int[Tensor, " nodes"], Float[Tensor, "edges basis"], Edges]:
        """The normalised features of the last block; and what blocks know of the atoms and the edges."""
        z = batch.z - 1  # tables begin with hydrogen
        edges = self.frames(batch)
        basis = self.basis(edges.distance)
        x = self.edge_degree(basis, z, edges)
        x = torch.cat([x[:, :1] + self.embedding(z)[:, None], x[:, 1:]], 1)
        for block in self.blocks:
            x = block(x, basis, z, edges, batch.batch, batch.num_graphs)
        return self.norm(x), z, basis, edges


class Block(nn.Module):
    """Attention, perhaps Selfmix, and the feed-forward network, each after a norm and beside a residual connection."""

    def __init__(self, choice: Kernels, sizes: Sizes, alpha_drop: float, drop_path: float):
        super().__init__()
        self.attention_norm = SeparableLayerNorm(sizes.lmax, sizes.channels)
        self.attention = GraphAttention(choice, sizes, sizes.channels, alpha_drop)
        self.selfmix = None
        if sizes.selfmix:
            norm = SeparableLayerNorm(sizes.lmax, sizes.channels)
            self.selfmix = nn.Sequential(norm, Selfmix(choice, sizes.lmax, sizes.channels, sizes.order))
        self.ffn_norm = SeparableLayerNorm(sizes.lmax, sizes.channels)
        self.ffn = FeedForward(choice, sizes, sizes.channels)
        self.drop_path = DropPath(drop_path)

    def forward(
        self,
        x: Float[Tensor, "nodes components channels"],
        basis: Float[Tensor, "edges basis"],
        z: Int[Tensor, " nodes"],
        edges: Edges,
        graph: Int[Tensor, " nodes"],
        graphs: int,
    ) -> Float[Tensor, "nodes components channels"]:
        x = x + self.drop_path(self.attention(self.attention_norm(x), basis, z, edges), graph, graphs)
        if self.selfmix is not None:
            x = x + self.drop_path(self.selfmix(x), graph, graphs)
        return x + self.drop_path(self.ffn(self.ffn_norm(x)), graph, graphs)


class GraphAttention(nn.Module):
    """Equivariant graph attention: both ends of an edge in its frame, SO(2) linear, activation, SO(2) linear.

    The first SO(2) layer also gives the scalars from which the weights come: with re-normalisation (section 4.1),
    a = softmax(a_dot . smooth leaky ReLU(layer norm(f_0))).
    """

    def __init__(self, choice: Kernels, sizes: Sizes, out_channels: int, alpha_drop: float):
        super().__init__()
        lmax, mmax, hidden, heads = sizes.lmax, sizes.mmax, sizes.hidden_channels, sizes.heads
        self.lmax, self.mmax, self.heads = lmax, mmax, heads
        frame = {"order": sizes.order, "lmax": lmax, "mmax": mmax}
        self.rotate_gather = kernels.get("rotate_gather", choice, **frame)
        self.rotate_scatter = kernels.get("rotate_scatter", choice, **frame)
        self.segment_softmax = kernels.get("segment_softmax", choice, order=sizes.order)
        weights = sum(degrees(lmax, mmax)) * 2 * sizes.channels
        self.radial = EdgeRadial(sizes.elements, sizes.basis, sizes.edge_channels, weights)
        self.activation = EdgeActivation(choice, sizes)
        self.invariants = [heads * sizes.alpha_channels, self.activation.gates]
        self.first = SO2Linear(choice, lmax, mmax, 2 * sizes.channels, hidden, sum(self.invariants), sizes.order)
        self.second = SO2Linear(choice, lmax, mmax, hidden, heads * sizes.value_channels, order=sizes.order)
        self.alpha_norm = nn.LayerNorm(sizes.alpha_channels)
        self.alpha_dot = nn.Parameter(torch.empty(heads, sizes.alpha_channels))
        nn.init.uniform_(self.alpha_dot, -1 / sqrt(sizes.alpha_channels), 1 / sqrt(sizes.alpha_channels))
        self.alpha_drop = nn.Dropout(alpha_drop)
        self.out = SO3Linear(lmax, heads * sizes.value_channels, out_channels)

    def forward(
        self,
        x: Float[Tensor, "nodes components channels"],
        basis: Float[Tensor, "edges basis"],
        z: Int[Tensor, " nodes"],
        edges: Edges,
    ) -> Float[Tensor, "nodes components out_channels"]:
        source, destination = edges.index
        both = [self.rotate_gather(x, end, edges.D) for end in (source, destination)]
        radial = self.radial(basis, z, edges.index)
        orders = scaled_orders(orders_of(torch.cat(both, 2), self.lmax, self.mmax), radial)
        invariants, message = self.first(orders)
        alpha, gates = invariants.split(self.invariants, 1)
        _, value = self.second(orders_of(self.activation(message, gates), self.lmax, self.mmax))

        alpha = smooth_leaky_relu(self.alpha_norm(alpha.unflatten(1, (self.heads, -1))))
        weight = self.segment_softmax((alpha * self.alpha_dot).sum(-1), destination, len(x))
        weight = self.alpha_drop(weight)[:, None, :, None]
        value = (value.unflatten(2, (self.heads, -1)) * weight).flatten(2)
        gain = truncation_gain(self.lmax, self.mmax, dtype=x.dtype, device=x.device)
        return self.out(self.rotate_scatter(value, destination, edges.D, len(x)) * gain)


class EdgeActivation(nn.Module):
    """The separable S2 activation in the frame of an edge (section 4.2), or a gate; `gates` scalars a message it takes."""

    def __init__(self, choice: Kernels, sizes: Sizes):
        super().__init__()
        self.lmax, self.mmax = sizes.lmax, sizes.mmax
        self.on_grid = sizes.activation == "s2"
        self.gates = sizes.hidden_channels * (1 if self.on_grid else sizes.lmax)
        if self.on_grid:
            grid = (sizes.resolution, sizes.resolution)
            spec = {"lmax": sizes.lmax, "mmax": sizes.mmax, "resolution": grid, "m_major": True}
            self.s2_mlp = kernels.get("s2_mlp", choice, order=sizes.order, **spec)

    def forward(
        self, x: Float[Tensor, "edges rows channels"], gates: Float[Tensor, "edges gates"]
    ) -> Float[Tensor, "edges rows channels"]:
        if self.on_grid:
            return with_scalars(self.s2_mlp(x), silu(gates))
        return gated(x, gates, row_degrees(self.lmax, self.mmax, dtype=torch.int64, device=x.device))


class FeedForward(nn.Module):
    """Feed-forward network: linear, three layers on the grid with SiLU between, linear; degree 0 by a branch of its own.

    The first and the last layer on the grid have no bias and act there as on the coefficients, of which there are
    fewer. With `activation: gate` one gate stands in the place of the grid, as in the first Equiformer.
    """

    def __init__(self, choice: Kernels, sizes: Sizes, out_channels: int):
        super().__init__()
        width, lmax = sizes.ffn_channels, sizes.lmax
        self.lmax, self.on_grid = lmax, sizes.activation == "s2"
        self.linear_in = SO3Linear(lmax, sizes.channels, width)
        self.scalars = nn.Linear(sizes.channels, width if self.on_grid else lmax * width)
        if self.on_grid:
            self.grid = nn.ModuleList(nn.Linear(width, width, bias=False) for _ in range(3))
            spec = {"lmax": lmax, "mmax": lmax, "resolution": (sizes.resolution, sizes.resolution)}
            self.s2_mlp = kernels.get("s2_mlp", choice, order=sizes.order, **spec)
        self.linear_out = SO3Linear(lmax, width, out_channels)

    def forward(self, x: Float[Tensor, "nodes components channels"]) -> Float[Tensor, "nodes components out_channels"]:
        scalars, hidden = self.scalars(x[:, 0]), self.linear_in(x)
        if self.on_grid:
            first, second, third = self.grid
            hidden = third(self.s2_mlp(first(hidden), second.weight.T))
            return self.linear_out(with_scalars(hidden, silu(scalars)))
        degree = component_degrees(self.lmax, dtype=torch.int64, device=x.device)
        return self.linear_out(gated(hidden, scalars, degree))


def smooth_leaky_relu(x: Float[Tensor, "*shape"], slope: float = 0.2) -> Float[Tensor, "*shape"]:
    """(1 + a) / 2 x + (1 - a) / 2 x (2 sigmoid(x) - 1), which goes from slope a to slope 1."""
    return x * (slope + (1 - slope) * torch.sigmoid(x))


def rotation_bound(sizes: Sizes) -> float | None:
    """The largest error of an output under rotations, in units of its spread: that of the nodes' grid."""
    if sizes.activation == "gate":
        return None
    return declared_bound(sizes.lmax, sizes.lmax, (sizes.resolution, sizes.resolution))


def zero_biases(module: nn.Module) -> None:
    if isinstance(module, nn.Linear) and module.bias is not None:
        nn.init.zeros_(module.bias)
