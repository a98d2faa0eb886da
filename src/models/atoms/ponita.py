"""Fast, Expressive SE(n) Equivariant Networks through Weight-Sharing in Position-Orientation Space. Bekkers, Vadgama,
Hesselink, van der Linden, Romero; ICLR 2024, arXiv:2310.02970.

Signals live on positions x and orientations o, sampled on one grid of the sphere at every node. Convolution kernels are
functions of the invariants that identify pairs in R^3 x S^2 up to a motion: o_i . (x_j - x_i), |(x_j - x_i) less its part
along o_i|, and o_i . o_j. As published, kernels are separable: a spatial convolution at each orientation, a convolution
over each fibre of orientations, both depthwise, and a ConvNeXt block (arXiv:2201.03545) that mixes channels.

Following the authors' code, kernels are made of polynomials of the invariants, weights are calibrated on the first batch
so that a convolution keeps the standard deviation, and training turns every sample at random; here its grid is turned
instead, which is the same. Graphs are complete, as they are published for N-body systems and molecules.
"""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from ... import kernels
from ...geometry.orientations import spread_directions
from ...geometry.rotations import quaternion_to_matrix, safe_norm
from ...kernels import Kernels
from ...kernels.neighbor_list import complete_graph
from ...nn.gradient import with_forces
from ...nn.linear import Linear
from ...tasks.spec import Spec
from ...tasks.symmetry import Symmetry, exact
from ..paper import Paper


class Ponita(Paper):
    """PONITA on atoms or on trajectories.

    Args:
        spec: the benchmark's.
        choice: which backends run its kernels.
        layers: the number of ConvNeXt blocks.
        channels: at each node and orientation.
        orientations: how many the grid has; the symmetry under rotations is as good as the grid is fine.
        basis: functions of the invariants that kernels are made of.
        degree: of the polynomials of the invariants that these functions read.
        widening: of the hidden layer of a block.
        layer_scale: where each channel's factor on a block's output starts; None has no such factor.
        multiple_readouts: whether outputs are the mean of one readout a layer, rather than the last layer's.
        random_grids: whether every sample of a training step sees a random rotation of the grid.
    """

    title = "Fast, Expressive SE(n) Equivariant Networks through Weight-Sharing in Position-Orientation Space"
    arxiv = "2310.02970"
    modalities = frozenset({"atoms", "trajectories"})
    outputs = frozenset({"graph:0e", "node:1o"})
    tiny = {"layers": 2, "channels": 16, "basis": 16}

    def __init__(
        self,
        spec: Spec,
        choice: Kernels,
        layers: int,
        channels: int,
        orientations: int,
        basis: int,
        degree: int,
        widening: int,
        layer_scale: float | None,
        multiple_readouts: bool,
        random_grids: bool,
    ):
        super().__init__(spec)
        grid = Grid(orientations, random_grids)
        blocks = [
            Block(choice, Convolution(choice, channels, basis), channels, widening, layer_scale) for _ in range(layers)
        ]
        bases = [KernelBasis(choice, invariants, channels, basis, degree) for invariants in (2, 1)]
        network = PonitaNetwork(spec, grid, *bases, blocks, channels, multiple_readouts)
        self.network = with_forces(network, spec)

    def fit_closed_form(self, train_batches: Callable[[], Iterable[Any]]) -> None:
        network = next(module for module in self.network.modules() if isinstance(module, PonitaNetwork))
        network.calibrate(next(iter(train_batches())))


class PonitaNetwork(nn.Module):
    """Lift to positions and orientations, convolve, read out."""

    symmetries = (
        *exact("translation", "permutation"),
        Symmetry("rotation", "approximate", 0.25),
        Symmetry("reflection", "approximate", 0.25),
    )

    def __init__(
        self,
        spec: Spec,
        grid: "Grid",
        spatial_basis: "KernelBasis",
        fibre_basis: "KernelBasis",
        blocks: list["Block"],
        channels: int,
        multiple_readouts: bool,
    ):
        super().__init__()
        self.grid, self.lift, self.multiple_readouts = grid, Lift(spec), multiple_readouts
        self.spatial_basis, self.fibre_basis = spatial_basis, fibre_basis
        self.embedding = nn.Linear(self.lift.channels, channels, bias=False)
        self.blocks = nn.ModuleList(blocks)
        own = [target for target in spec.targets if not target.gradient_of]
        self.scalars = [target.name for target in own if target.level == "graph"]
        self.vectors = [target for target in own if target.level == "node"]
        outputs = len(self.scalars) + len(self.vectors)
        self.readouts = nn.ModuleList(
            nn.Linear(channels, outputs) for _ in (blocks if multiple_readouts else blocks[-1:])
        )

    def graph(self, batch: Any) -> dict[str, Tensor]:
        """Every node with every other of its sample; a benchmark that brings edges of its own is taken at its word."""
        return {"edge_index": complete_graph(batch.ptr)}

    def features(self, batch: Any) -> Float[Tensor, "nodes channels"]:
        return self.propagate(batch)[0][-1].mean(1)

    def forward(self, batch: Any) -> dict[str, Tensor]:
        signals, orientations = self.propagate(batch)
        signals = signals if self.multiple_readouts else signals[-1:]
        read = sum(readout(f) for readout, f in zip(self.readouts, signals, strict=True)) / len(signals)
        scalars, vectors = read.split([len(self.scalars), len(self.vectors)], -1)
        sums = scalars.new_zeros(batch.num_graphs, len(self.scalars)).index_add(0, batch.batch, scalars.mean(1))
        outputs = dict(zip(self.scalars, sums.unbind(-1), strict=True))
        for target, weight in zip(self.vectors, vectors.unbind(-1), strict=True):
            vector = (weight[..., None] * orientations).mean(1)
            outputs[target.name] = batch.pos + vector if target.translates else vector
        return outputs

    def propagate(
        self, batch: Any
    ) -> tuple[list[Float[Tensor, "nodes orientations channels"]], Float[Tensor, "nodes orientations 3"]]:
        """The signal after every block, and the orientations at every node."""
        f, kernel, orientations = self.lifted(batch)
        signals = []
        for block in self.blocks:
            f = block(f, kernel)
            signals.append(f)
        return signals, orientations

    def lifted(self, batch: Any) -> tuple[Tensor, "Kernel", Tensor]:
        orientations = self.grid(batch.num_graphs, batch.pos).index_select(0, batch.batch)
        edge_index = (batch if "edge_index" in batch else self.graph(batch))["edge_index"]
        along, across = spatial_invariants(batch.pos, orientations, edge_index)
        origin = batch.pos.new_zeros(1, 2)
        kernel = Kernel(
            edge_index,
            self.spatial_basis(torch.stack([along, across], -1)),
            self.spatial_basis(origin),
            self.fibre_basis(self.grid.cosines(batch.pos)[..., None]),
        )
        return self.embedding(self.lift(batch, orientations)), kernel, orientations

    @torch.no_grad()
    def calibrate(self, batch: Any) -> None:
        """Scales every convolution so that its output on this batch varies as much as its input."""
        f, kernel, _ = self.lifted(batch)
        for block in self.blocks:
            block.convolution.calibrate(f, kernel)
            f = block(f, kernel)


class Kernel:
    """What all layers' kernels are made of: the basis at every edge and orientation, at a node itself, and in a fibre."""

    def __init__(
        self,
        edge_index: Int[Tensor, "2 edges"],
        edges: Float[Tensor, "edges orientations basis"],
        itself: Float[Tensor, "1 basis"],
        fibre: Float[Tensor, "orientations orientations basis"],
    ):
        self.edge_index, self.edges, self.itself, self.fibre = edge_index, edges, itself, fibre


def spatial_invariants(
    pos: Float[Tensor, "nodes 3"],
    orientations: Float[Tensor, "nodes orientations 3"],
    edge_index: Int[Tensor, "2 edges"],
) -> tuple[Float[Tensor, "edges orientations"], Float[Tensor, "edges orientations"]]:
    """The parts of x_j - x_i along o_i and across it."""
    j, i = edge_index
    offset, o = (pos.index_select(0, j) - pos.index_select(0, i))[:, None], orientations.index_select(0, i)
    along = (offset * o).sum(-1)
    return along, safe_norm(offset - along[..., None] * o)


class Convolution(nn.Module):
    """The separable, depthwise convolution over positions and then over orientations, with a bias."""

    def __init__(self, choice: Kernels, channels: int, basis: int):
        super().__init__()
        self.gather_scale_scatter = kernels.get("gather_scale_scatter", choice)
        self.fibre_convolution = kernels.get("fibre_convolution", choice)
        self.spatial = Linear(choice, basis, channels, bias=False)
        self.fibre = Linear(choice, basis, channels, bias=False)
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(
        self, f: Float[Tensor, "nodes orientations channels"], kernel: Kernel
    ) -> Float[Tensor, "nodes orientations channels"]:
        return self.over_orientations(self.over_positions(f, kernel), kernel) + self.bias

    def over_positions(self, f: Tensor, kernel: Kernel) -> Tensor:
        weight = self.spatial(kernel.edges).flatten(1)
        received = self.gather_scale_scatter(f.flatten(1), weight, kernel.edge_index, len(f)).view_as(f)
        return received + self.spatial(kernel.itself) * f

    def over_orientations(self, f: Tensor, kernel: Kernel) -> Tensor:
        return self.fibre_convolution(f, self.fibre(kernel.fibre) / f.shape[1])

    def calibrate(self, f: Tensor, kernel: Kernel) -> None:
        """Leaves a layer alone through which nothing comes."""
        for layer, convolve in ((self.spatial, self.over_positions), (self.fibre, self.over_orientations)):
            before, after = f.std(), convolve(f, kernel).std()
            if before > 0 and after > 0:
                layer.weight.mul_(before / after)
            f = convolve(f, kernel)


class Block(nn.Module):
    """ConvNeXt: convolve, normalise, and a perceptron at every node and orientation, added to the input."""

    def __init__(
        self, choice: Kernels, convolution: Convolution, channels: int, widening: int, layer_scale: float | None
    ):
        super().__init__()
        self.convolution = convolution
        self.hidden = nn.Sequential(nn.LayerNorm(channels), Linear(choice, channels, widening * channels), nn.GELU())
        self.change = Linear(choice, widening * channels, channels)
        self.scale = None if layer_scale is None else nn.Parameter(torch.full((channels,), layer_scale))

    def forward(
        self, f: Float[Tensor, "nodes orientations channels"], kernel: Kernel
    ) -> Float[Tensor, "nodes orientations channels"]:
        return f + self.change(self.hidden(self.convolution(f, kernel)), self.scale)


class KernelBasis(nn.Module):
    """A perceptron on all products of up to `degree` invariants."""

    def __init__(self, choice: Kernels, invariants: int, channels: int, basis: int, degree: int):
        super().__init__()
        self.degree = degree
        products = sum(invariants**power for power in range(1, degree + 1))
        self.perceptron = nn.Sequential(
            Linear(choice, products, channels), nn.GELU(), Linear(choice, channels, basis), nn.GELU()
        )

    def forward(self, invariants: Float[Tensor, "*batch invariants"]) -> Float[Tensor, "*batch basis"]:
        return self.perceptron(self.products(invariants))

    def products(self, invariants: Float[Tensor, "*batch invariants"]) -> Float[Tensor, "*batch products"]:
        products = [invariants]
        for _ in range(self.degree - 1):
            products.append((products[-1][..., None] * invariants[..., None, :]).flatten(-2))
        return torch.cat(products, -1)


class Grid(nn.Module):
    """The orientations of every sample: the grid itself, or in training a random rotation of it."""

    def __init__(self, count: int, random: bool):
        super().__init__()
        self.count, self.random = count, random

    def forward(self, samples: int, like: Tensor) -> Float[Tensor, "samples orientations 3"]:
        grid = spread_directions(self.count, like.dtype, like.device).expand(samples, -1, -1)
        if not (self.training and self.random):
            return grid
        turns = quaternion_to_matrix(torch.randn(samples, 4, device=like.device, dtype=like.dtype))
        return (grid[:, :, None] * turns[:, None]).sum(-1)

    def cosines(self, like: Tensor) -> Float[Tensor, "orientations orientations"]:
        grid = spread_directions(self.count, like.dtype, like.device)
        return (grid[:, None] * grid).sum(-1)


class Lift(nn.Module):
    """A benchmark's fields as signals on orientations: numbers are constant, vectors v become v . o."""

    def __init__(self, spec: Spec):
        super().__init__()
        self.categories = spec.fields["z"].categories if "z" in spec.fields else ()
        self.register_buffer("elements", torch.tensor(self.categories, dtype=torch.long), persistent=False)
        self.numbers, self.vectors = spec.node_numbers, spec.node_vectors
        self.channels = len(self.categories) + len(self.numbers) + len(self.vectors)

    def forward(
        self, batch: Any, orientations: Float[Tensor, "nodes orientations 3"]
    ) -> Float[Tensor, "nodes orientations channels"]:
        signals = [(batch[name][:, None] * orientations).sum(-1, keepdim=True) for name in self.vectors]
        numbers = [batch[name] for name in self.numbers]
        if self.categories:
            numbers.append((batch.z[:, None] == self.elements).to(batch.pos.dtype))
        if numbers:
            signals.insert(0, torch.cat(numbers, -1)[:, None].expand(-1, orientations.shape[1], -1))
        return torch.cat(signals, -1)
