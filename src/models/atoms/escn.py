"""Reducing SO(3) Convolutions to SO(2) for Efficient Equivariant GNNs (eSCN).

Passaro, Zitnick; ICML 2023, arXiv:2302.03655. Messages are SO(2) convolutions in the frames of their edges, truncated at
order M, with a pointwise nonlinearity on a grid of the sphere; nodes combine them with what they know by a network on the
grid; energies and forces are integrals over points of the sphere. Where the authors' code differs from the paper we
follow the code, since its numbers are the published ones: each convolution has a bottleneck of `hidden_channels`, in the
middle of which the edge's invariants are multiplied, the first layer has no residual connection, energies are 0.001
times the sum over atoms, and the points of the sphere are scaled by how densely they lie. It is equivariant under
rotations only: the imaginary parts of the convolutions tell mirror images apart.
"""

from dataclasses import dataclass
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
from ...nn.edge_frames import EdgeFrames, Edges
from ...nn.gradient import with_forces
from ...nn.radial import GaussianBasis
from ...nn.so2_layers import orders_of, row_degrees
from ...nn.so3_layers import SO3Linear, component_degrees, gated
from ...nn.sphere_heads import GatedReadout, SphereIntegral
from ...tasks.spec import Spec, Target
from ..paper import Paper

Activation = Literal["s2", "gate"]


@dataclass(frozen=True)
class Sizes:
    """What all layers of the network share; see `ESCN`."""

    lmax: int
    mmax: int
    channels: int
    hidden_channels: int
    edge_channels: int
    sphere_samples: int
    basis: int
    elements: int
    activation: Activation
    resolution: int | None
    order: int


class ESCN(Paper):
    """eSCN on molecules and on periodic structures: energies, and forces directly or as a gradient.

    Args:
        spec: the benchmark's.
        choice: which backends run its kernels.
        layers: how many rounds of messages.
        channels: the width of each component of a node.
        hidden_channels: the width of the convolutions' bottleneck.
        lmax, mmax: the highest degree L; the highest order M of a message in the frame of its edge.
        edge_channels: the width of an edge's invariants.
        sphere_samples: over how many points of the sphere the heads integrate.
        radial_basis: how many Gaussians of the distance, from 0 to the cutoff and twice as wide as their spacing.
        cutoff: the longest edge, in the unit of the positions.
        max_neighbors: keep only the nearest so many edges of an atom (and all that are as near as the last).
        elements: the highest atomic number that has a place in its tables.
        activation: `s2`, on grids, as published: equivariance is approximate; or `gate`: it is exact, and the heads read
            degrees 0 and 1 rather than integrate.
        resolution: grids of so many colatitudes and as many azimuths; None for the published 2 (L + 1) x (2 M + 1) of
            messages and 2 (L + 1) x (2 L + 3) of nodes.
        energy_scale: what the sum over atoms is multiplied by.
        direct_forces: predict forces by a head of their own, as published, rather than as the energy's gradient.
    """

    title = "Reducing SO(3) Convolutions to SO(2) for Efficient Equivariant GNNs"
    arxiv = "2302.03655"
    modalities = frozenset({"atoms"})
    outputs = frozenset({"graph:0e", "node:1o"})
    periodic = True
    grid = "resolution"
    tiny = {
        "layers": 2,
        "channels": 8,
        "hidden_channels": 8,
        "lmax": 2,
        "mmax": 1,
        "edge_channels": 8,
        "radial_basis": 32,
        "activation": "gate",
        "energy_scale": 1.0,
        "direct_forces": False,
    }

    def __init__(
        self,
        spec: Spec,
        choice: Kernels,
        layers: int,
        channels: int,
        hidden_channels: int,
        lmax: int,
        mmax: int,
        edge_channels: int,
        sphere_samples: int,
        radial_basis: int,
        cutoff: float,
        max_neighbors: int,
        elements: int,
        activation: Activation,
        resolution: int | None,
        energy_scale: float,
        direct_forces: bool,
    ):
        super().__init__(spec)
        require_elements(spec, elements)
        targets = heads_of(spec, direct_forces)
        sizes = Sizes(
            lmax=lmax,
            mmax=mmax,
            channels=channels,
            hidden_channels=hidden_channels,
            edge_channels=edge_channels,
            sphere_samples=sphere_samples,
            basis=radial_basis,
            elements=elements,
            activation=activation,
            resolution=resolution,
            order=1 if len(targets) == len(spec.targets) else 2,
        )
        frames = EdgeFrames(choice, cutoff, max_neighbors, lmax, sizes.order)
        basis = GaussianBasis(0.0, cutoff, radial_basis, width_scalar=2.0)
        layer_list = [Layer(choice, sizes) for _ in range(layers)]
        network = ESCNNetwork(targets, choice, sizes, frames, basis, layer_list, energy_scale)
        self.network = network if len(targets) == len(spec.targets) else with_forces(network, spec)


class ESCNNetwork(nn.Module):
    """Embed elements in degree 0, L layers, integrate over the sphere."""

    def __init__(
        self,
        targets: list[Target],
        choice: Kernels,
        sizes: Sizes,
        frames: EdgeFrames,
        basis: GaussianBasis,
        layers: list["Layer"],
        energy_scale: float,
    ):
        super().__init__()
        self.symmetries = so3_promises(rotation_bound(sizes))
        self.segment_sum = kernels.get("segment_sum", choice)
        self.frames, self.basis, self.energy_scale = frames, basis, energy_scale
        self.components = (sizes.lmax + 1) ** 2
        self.embedding = nn.Embedding(sizes.elements, sizes.channels)
        self.layers = nn.ModuleList(layers)
        self.scalars = [target.name for target in targets if target.level == "graph"]
        self.vectors = [target.name for target in targets if target.level == "node"]
        if self.scalars:
            self.energy = head(sizes, len(self.scalars), degree=0)
        if self.vectors:
            self.force = head(sizes, len(self.vectors), degree=1)

    def features(self, batch: Any) -> Float[Tensor, "nodes channels"]:
        return self.propagate(batch)[:, 0]

    def forward(self, batch: Any) -> dict[str, Tensor]:
        x = self.propagate(batch)
        outputs = {}
        if self.scalars:
            of_atoms = self.energy(x)[:, 0].to(batch.pos.dtype)  # summed in full precision under autocast too
            sums = self.segment_sum(of_atoms, batch.batch, batch.num_graphs) * self.energy_scale
            outputs |= dict(zip(self.scalars, sums.unbind(-1), strict=True))
        if self.vectors:
            outputs |= dict(zip(self.vectors, self.force(x).unbind(-1), strict=True))
        return outputs

    def propagate(self, batch: Any) -> Float[Tensor, "nodes components channels"]:
        edges = self.frames(batch)
        basis = self.basis(edges.distance)
        z = batch.z - 1  # tables begin with hydrogen
        scalars = self.embedding(z)[:, None]
        x = torch.cat([scalars, scalars.new_zeros(len(scalars), self.components - 1, scalars.shape[2])], 1)
        first, *others = self.layers
        x = first(x, basis, z, edges)
        for layer in others:
            x = x + layer(x, basis, z, edges)
        return x


class Layer(nn.Module):
    """Messages, and the nodes' update by what arrives."""

    def __init__(self, choice: Kernels, sizes: Sizes):
        super().__init__()
        self.messages, self.update = Messages(choice, sizes), Update(choice, sizes)

    def forward(
        self,
        x: Float[Tensor, "nodes components channels"],
        basis: Float[Tensor, "edges basis"],
        z: Int[Tensor, " nodes"],
        edges: Edges,
    ) -> Float[Tensor, "nodes components channels"]:
        return self.update(torch.cat([x, self.messages(x, basis, z, edges)], 2))


class Messages(nn.Module):
    """The sum over edges of D^T s(conv_s(D x_source) + conv_t(D x_destination)), s acting on a grid, or a gate."""

    def __init__(self, choice: Kernels, sizes: Sizes):
        super().__init__()
        self.lmax, self.mmax, self.on_grid = sizes.lmax, sizes.mmax, sizes.activation == "s2"
        frame = {"order": sizes.order, "lmax": sizes.lmax, "mmax": sizes.mmax}
        self.rotate_gather = kernels.get("rotate_gather", choice, **frame)
        self.rotate_scatter = kernels.get("rotate_scatter", choice, **frame)
        self.edge_invariants = EdgeInvariants(sizes)
        self.source, self.destination = SO2Convolution(sizes), SO2Convolution(sizes)
        if self.on_grid:
            grid = {"resolution": grid_of(sizes, sizes.mmax), "normalization": "integral", "m_major": True}
            self.s2_mlp = kernels.get("s2_mlp", choice, **frame, **grid)
        else:
            self.gates = nn.Linear(sizes.channels, sizes.lmax * sizes.channels)

    def forward(
        self,
        x: Float[Tensor, "nodes components channels"],
        basis: Float[Tensor, "edges basis"],
        z: Int[Tensor, " nodes"],
        edges: Edges,
    ) -> Float[Tensor, "nodes components channels"]:
        source, destination = edges.index
        invariants = self.edge_invariants(basis, z, edges.index)
        message = self.source(self.rotate_gather(x, source, edges.D), invariants)
        message = message + self.destination(self.rotate_gather(x, destination, edges.D), invariants)
        if self.on_grid:
            message = self.s2_mlp(message)
        else:
            degree = row_degrees(self.lmax, self.mmax, dtype=torch.int64, device=x.device)
            message = gated(message, self.gates(message[:, 0]), degree)
        return self.rotate_scatter(message, destination, edges.D, len(x))


class EdgeInvariants(nn.Module):
    """SiLU(W SiLU(a_source + a_destination + basis(d))), from the elements at both ends and the distance."""

    def __init__(self, sizes: Sizes):
        super().__init__()
        channels = sizes.edge_channels
        self.distance = nn.Linear(sizes.basis, channels)
        self.source = nn.Embedding(sizes.elements, channels)
        self.destination = nn.Embedding(sizes.elements, channels)
        for table in (self.source, self.destination):
            nn.init.uniform_(table.weight, -0.001, 0.001)
        self.out = nn.Linear(channels, channels)

    def forward(
        self, basis: Float[Tensor, "edges basis"], z: Int[Tensor, " nodes"], edge_index: Int[Tensor, "2 edges"]
    ) -> Float[Tensor, "edges channels"]:
        source, destination = z[edge_index]
        return silu(self.out(silu(self.distance(basis) + self.source(source) + self.destination(destination))))


class SO2Convolution(nn.Module):
    """For each order m: y_m + i y_-m = U (a . V (x_m + i x_-m)) with complex U, V and the edge's a."""

    def __init__(self, sizes: Sizes):
        super().__init__()
        hidden = sizes.hidden_channels
        self.lmax, self.mmax = sizes.lmax, sizes.mmax
        self.edge, self.down, self.up = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        for m, n in enumerate(degrees(sizes.lmax, sizes.mmax)):
            parts = 2 if m else 1  # real and imaginary, each with weights of the edge
            self.edge.append(nn.Linear(sizes.edge_channels, parts * hidden))
            self.down.append(nn.Linear(n * sizes.channels, parts * hidden, bias=False))
            up = [nn.Linear(hidden, n * sizes.channels, bias=False) for _ in range(parts)]
            self.up.append(nn.ModuleList(up))

    def forward(
        self, x: Float[Tensor, "edges rows channels"], invariants: Float[Tensor, "edges edge_channels"]
    ) -> Float[Tensor, "edges rows channels"]:
        out = []
        orders = orders_of(x, self.lmax, self.mmax)
        for part, edge, down, up in zip(orders, self.edge, self.down, self.up, strict=True):
            weight = silu(edge(invariants))[:, None]
            hidden = (down(part) * weight).chunk(len(up), 2)
            parts = [matrix(half) for matrix, half in zip(up, hidden, strict=True)]
            if len(up) == 2:
                real, imaginary = parts  # each applied to x_m and to x_-m
                parts = [torch.stack([real[:, 0] - imaginary[:, 1], real[:, 1] + imaginary[:, 0]], 1)]
            out.append(parts[0].flatten(1))
        return torch.cat(out, 1).unflatten(1, (-1, x.shape[2]))


class Update(nn.Module):
    """Three layers at each point of the sphere on what a node knows and what it is told; or with gates.

    The first and the last layer have no bias, and act on the coefficients as on the grid.
    """

    def __init__(self, choice: Kernels, sizes: Sizes):
        super().__init__()
        lmax, channels = sizes.lmax, sizes.channels
        self.lmax, self.on_grid = lmax, sizes.activation == "s2"
        widths = (2 * channels, channels, channels)
        if self.on_grid:
            self.linear = nn.ModuleList(nn.Linear(width, channels, bias=False) for width in widths)
            grid = {"resolution": grid_of(sizes, lmax), "normalization": "integral"}
            self.s2_mlp = kernels.get("s2_mlp", choice, order=sizes.order, lmax=lmax, mmax=lmax, **grid)
        else:
            self.linear = nn.ModuleList(SO3Linear(lmax, width, channels) for width in widths)
            self.gates = nn.ModuleList(nn.Linear(channels, lmax * channels) for _ in range(2))

    def forward(self, x: Float[Tensor, "nodes components two_channels"]) -> Float[Tensor, "nodes components channels"]:
        first, second, third = self.linear
        if self.on_grid:
            return third(self.s2_mlp(first(x), second.weight.T))
        degree = component_degrees(self.lmax, dtype=torch.int64, device=x.device)
        for linear, gates in zip((first, second), self.gates, strict=True):
            x = linear(x)
            x = gated(x, gates(x[:, 0]), degree)
        return third(x)


def grid_of(sizes: Sizes, mmax: int) -> tuple[int, int]:
    """The authors' grid for orders up to mmax, or the one that is asked for."""
    if sizes.resolution is not None:
        return sizes.resolution, sizes.resolution
    return 2 * (sizes.lmax + 1), 2 * mmax + (3 if mmax == sizes.lmax else 1)


def head(sizes: Sizes, outputs: int, degree: int) -> nn.Module:
    """The integral over the sphere, or with gates a network of the invariants."""
    if sizes.activation == "gate":
        return GatedReadout(sizes.channels, outputs, degree)
    return SphereIntegral(sizes.lmax, sizes.channels, outputs, degree, sizes.sphere_samples)


def rotation_bound(sizes: Sizes) -> float | None:
    """The largest error of an output under rotations, in units of its spread: of either grid, or of the heads' points.

    The points are not evenly enough spread for a constant to integrate to no force at all, which is most of the error.
    """
    if sizes.activation == "gate":
        return None
    grids = [declared_bound(sizes.lmax, mmax, grid_of(sizes, mmax)) for mmax in (sizes.mmax, sizes.lmax)]
    return max(*grids, 128 / sizes.sphere_samples)
