"""Pairs of neighbouring atoms by NVIDIA's nvalchemi-toolkit-ops: cell lists on a GPU, and on a CPU for tests."""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

ROOM = 64  # neighbours of an atom that there is room for at first


def pairs(
    pos: Float[Tensor, "atoms 3"],
    ptr: Int[Tensor, " graphs_plus_one"],
    cell: Float[Tensor, "graphs 3 3"] | None,
    pbc: Bool[Tensor, "graphs 3"] | None,
    cutoff: float,
) -> tuple[Int[Tensor, "2 edges"], Int[Tensor, "edges 3"]]:
    """`edge_index` and `offset` of a neighbour list, sorted by destination, then source, then offset."""
    from nvalchemiops.torch.neighbors import neighbor_list
    from nvalchemiops.torch.neighbors.neighbor_utils import NeighborOverflowError

    if len(ptr) == 1:
        return ptr.new_empty(2, 0), ptr.new_empty(0, 3, dtype=torch.int32)
    more = {} if cell is None else {"cell": with_volume(cell, pbc), "pbc": pbc}
    room = ROOM
    while True:
        try:
            found, _, offset = neighbor_list(
                pos,
                cutoff,
                batch_ptr=ptr.int(),
                method="batch_cell_list",
                return_neighbor_list=True,
                max_neighbors=room,
                **more,
            )
            break
        except NeighborOverflowError:
            room *= 4
    order = lexicographic([*found, *offset.T])
    return found.long().flip(0)[:, order], offset[order]


def lexicographic(keys: Sequence[Int[Tensor, " rows"]]) -> Int[Tensor, " rows"]:
    """The order of rows by the first key, those that are equal there by the second, and so on."""
    order = torch.argsort(keys[-1], stable=True)
    for key in reversed(keys[:-1]):
        order = order[torch.argsort(key[order], stable=True)]
    return order


def with_volume(cell: Float[Tensor, "graphs 3 3"], pbc: Bool[Tensor, "graphs 3"]) -> Float[Tensor, "graphs 3 3"]:
    """The cell with unit vectors, orthogonal to its periodic ones, in the place of those that do not count."""
    across = torch.linalg.svd(cell * pbc.unsqueeze(2)).Vh  # the last rows span what no periodic vector reaches
    place = (pbc.sum(1, keepdim=True) + (~pbc).cumsum(1) - 1).clamp(max=2)
    filler = across.gather(1, place.unsqueeze(2).expand(-1, -1, 3))
    return torch.where(pbc.unsqueeze(2), cell, filler)
