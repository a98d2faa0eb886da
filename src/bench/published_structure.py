"""EGNN and PONITA evaluated in the order of operations of their published code, to compare with.

Written for the benchmark from what those programs do, not from their text. Both compute the same functions as the papers'
own files, from the same weights: an edge sees the concatenation of all its inputs, messages are tensors, sums scatter.
"""

from collections.abc import Iterable
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import linear

from ..errors import UserError
from ..models.atoms.egnn import EGNNNetwork, EquivariantLayer
from ..models.atoms.ponita import Convolution, PonitaNetwork, spatial_invariants


def as_published(network: nn.Module) -> nn.Module:
    """The same function from the same parameters; UserError for a network that has no such form here."""
    form = {EGNNNetwork: PublishedEGNN, PonitaNetwork: PublishedPonita}.get(type(network))
    if form is None:
        raise UserError(
            f"bench train published: {type(network).__name__} has no form as published; choose egnn or ponita"
        )
    if network.scalars or not getattr(network, "multiple_readouts", True):
        raise UserError("bench train published: choose trajectories, as experiment=egnn_nbody or ponita_nbody do")
    return form(network)


def scatter_sum(values: Float[Tensor, "edges *channels"], index: Int[Tensor, " edges"], size: int) -> Tensor:
    places = index.view(-1, *[1] * (values.ndim - 1)).expand_as(values)
    return values.new_zeros(size, *values.shape[1:]).scatter_add(0, places, values)


class PublishedEGNN(nn.Module):
    """arXiv:2102.09844 on trajectories: both nodes' features are gathered before the first layer of every edge."""

    def __init__(self, network: EGNNNetwork):
        super().__init__()
        self.network = network

    def forward(self, batch: Any) -> dict[str, Tensor]:
        network, x, edge_index = self.network, batch.pos, self.network.graph(batch)["edge_index"]
        h = network.embedding(network.inputs.nodes(batch))
        edges = network.inputs.edges(batch, edge_index)
        for layer in network.layers:
            h, x = self.layer(layer, h, x, edges, edge_index, batch.vel)
        return {target.name: x if target.translates else x - batch.pos for target in network.vectors}

    def layer(
        self, layer: EquivariantLayer, h: Tensor, x: Tensor, edges: Tensor, edge_index: Tensor, velocity: Tensor
    ) -> tuple[Tensor, Tensor]:
        j, i = edge_index
        offset = x[i] - x[j]
        squared_distance = offset.square().sum(1, keepdim=True)
        message = layer.phi_e(layer.first.linear(torch.cat([h[i], h[j], squared_distance, edges], 1)))
        moved = offset * layer.phi_x(message)
        neighbors = scatter_sum(torch.ones_like(moved), i, len(x)).clamp(min=1)
        x = x + scatter_sum(moved, i, len(x)) / neighbors + layer.phi_v(h) * velocity
        return h + layer.phi_h(torch.cat([h, scatter_sum(message, i, len(h))], 1)), x


class PublishedPonita(nn.Module):
    """arXiv:2310.02970 on trajectories: a node is an edge of its own, and products of matrices are torch's."""

    def __init__(self, network: PonitaNetwork):
        super().__init__()
        self.network = network

    def forward(self, batch: Any) -> dict[str, Tensor]:
        network = self.network
        orientations = network.grid(batch.num_graphs, batch.pos)[batch.batch]
        nodes = torch.arange(len(batch.pos), device=batch.pos.device).expand(2, -1)
        edge_index = torch.cat([network.graph(batch)["edge_index"], nodes], 1)
        edges = basis(network.spatial_basis, torch.stack(spatial_invariants(batch.pos, orientations, edge_index), -1))
        fibre = basis(network.fibre_basis, network.grid.cosines(batch.pos)[..., None])
        f = network.embedding(network.lift(batch, orientations))
        read = []
        for block, readout in zip(network.blocks, network.readouts, strict=True):
            change = perceptron(
                [*block.hidden, block.change], convolved(block.convolution, f, edges, fibre, edge_index)
            )
            f = f + (change if block.scale is None else block.scale * change)
            read.append(readout(f))
        (vector,) = (torch.stack(read).mean(0)[..., None] * orientations[:, :, None]).mean(1).unbind(1)
        (target,) = network.vectors
        return {target.name: batch.pos + vector if target.translates else vector}


def convolved(layer: Convolution, f: Tensor, edges: Tensor, fibre: Tensor, edge_index: Tensor) -> Tensor:
    j, i = edge_index
    received = scatter_sum(linear(edges, layer.spatial.weight) * f[j], i, len(f))
    kernel = linear(fibre, layer.fibre.weight)
    return torch.einsum("noc,opc->npc", received, kernel) / f.shape[1] + layer.bias


def basis(layers: nn.Module, invariants: Tensor) -> Tensor:
    return perceptron(layers.perceptron, layers.products(invariants))


def perceptron(layers: Iterable[nn.Module], x: Tensor) -> Tensor:
    for layer in layers:
        x = linear(x, layer.weight, layer.bias) if isinstance(layer, nn.Linear) else layer(x)
    return x
