"""EGNN the usual way, to compare with: molecules padded to the largest, every pair an edge, masks for the rest.

Written for the benchmark in the manner of published implementations: the edge network sees the concatenation
[h_i, h_j, d_ij^2] of all B * N * N pairs. It computes the same function as models.atoms.egnn, from the same weights.
"""

from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from ..models.atoms.egnn import EGNNNetwork


class DenseEGNN(nn.Module):
    """An EGNNNetwork without moving coordinates, evaluated on padded molecules and all of their pairs."""

    def __init__(self, network: EGNNNetwork):
        super().__init__()
        self.network = network

    def forward(self, batch: Any) -> dict[str, Tensor]:
        network, mask = self.network, node_mask(batch)
        molecules, size = mask.shape
        nodes = pad(network.inputs.nodes(batch), mask)
        x = pad(batch.pos, mask).flatten(0, 1)
        first = torch.arange(molecules, device=x.device).repeat_interleave(size * size) * size
        i = first + torch.arange(size, device=x.device).repeat_interleave(size).repeat(molecules)
        j = first + torch.arange(size, device=x.device).repeat(size * molecules)
        pair_mask = (mask[:, :, None] & mask[:, None, :] & ~torch.eye(size, dtype=torch.bool, device=x.device)).reshape(
            -1, 1
        )
        h = network.embedding(nodes.flatten(0, 1))
        squared_distance = (x[i] - x[j]).square().sum(-1, keepdim=True)
        for layer in network.layers:
            message = layer.phi_e(layer.first.linear(torch.cat([h[i], h[j], squared_distance], 1)))
            if layer.phi_inf is not None:
                message = message * layer.phi_inf(message)
            message = message * pair_mask
            received = torch.zeros_like(h).scatter_add(0, i[:, None].expand_as(message), message)
            h = h + layer.phi_h(torch.cat([h, received], 1))
        atoms = network.node_readout(h) * mask.reshape(-1, 1)
        values = network.graph_readout(atoms.reshape(molecules, size, -1).sum(1))
        return dict(zip(network.scalars, values.unbind(-1), strict=True))


def node_mask(batch: Any) -> Bool[Tensor, "molecules largest"]:
    sizes = batch.ptr.diff()
    return torch.arange(int(sizes.max()), device=sizes.device) < sizes[:, None]


def pad(values: Float[Tensor, "nodes channels"], mask: Bool[Tensor, "molecules largest"]) -> Tensor:
    """(nodes, channels) to (molecules, largest, channels), with zeros where there is no atom."""
    padded = values.new_zeros(*mask.shape, values.shape[-1])
    padded[mask] = values
    return padded
