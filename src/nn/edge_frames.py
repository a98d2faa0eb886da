"""The edges of atoms within a cutoff, each with the frame in which it points along the polar axis."""

from typing import Any, NamedTuple

from torch import Tensor, nn

from .. import kernels
from ..geometry.rotations import safe_norm
from ..kernels import Kernels
from ..kernels.neighbor_list import edge_vectors
from ..kernels.wigner import conv_frames


class Edges(NamedTuple):
    """A graph and what is known of its edges.

    index (2, edges): sources, destinations; sorted by destination where the neighbour list made them.
    distance (edges,): their lengths.
    D (edges, packed): Wigner matrices of their frames, see `erlangen.kernels.wigner`.
    """

    index: Tensor
    distance: Tensor
    D: Tensor


class EdgeFrames(nn.Module):
    """From a batch of atoms, periodic where it has a `cell`, to its `Edges`; on the device where the batch is.

    The turn about an edge, which its direction leaves open, is arbitrary. An edge without length lets scalars pass
    and nothing else. A benchmark of molecules that brings an edge_index is taken at its word.

    Args:
        choice: which backends run its kernels.
        cutoff: in the unit of the positions.
        max_neighbors: keep only the nearest so many, and all that are as near as the last of them.
        lmax: the highest degree of D.
        order: the highest derivative with respect to the positions.
    """

    def __init__(self, choice: Kernels, cutoff: float, max_neighbors: int, lmax: int, order: int):
        super().__init__()
        self.neighbors = kernels.get("neighbor_list", choice, cutoff=cutoff, max_neighbors=max_neighbors)
        self.wigner = kernels.get("wigner", choice, order=order, lmax=lmax)

    def forward(self, batch: Any) -> Edges:
        if "cell" in batch:
            index, _, vector = self.neighbors(batch.pos, batch.ptr, batch.cell, batch.pbc)
        elif "edge_index" in batch:
            index, vector = batch.edge_index, edge_vectors(batch.pos, batch.edge_index)
        else:
            index, _, vector = self.neighbors(batch.pos, batch.ptr)
        return Edges(index, safe_norm(vector), self.wigner(conv_frames(vector)))
