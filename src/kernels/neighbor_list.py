"""Graphs over atoms: complete, or within a cutoff, in molecules and in periodic cells."""

from collections.abc import Callable
from functools import cache
from itertools import pairwise
from math import isfinite
from threading import local
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ..errors import UserError
from . import nvalchemi
from .native import call, no_compiler
from .registry import FLOATS, Backend, Cost, Op, plain, traffic
from .segment import rowptr_of

SHELL = 0.01  # width of a shell of neighbours, in the unit of the positions (Angstrom)
FEW = 25  # atoms of a molecule up to which looking at all pairs is faster than a call of vesin (measured)
CHUNK = 1 << 22  # candidate pairs that the reference looks at in one go
EYE = np.eye(3)
_OF_THREAD = local()  # searches of vesin, by cutoff and number of threads


class Neighbors(NamedTuple):
    """A graph over atoms.

    edge_index (2, edges): row 0 the source j, row 1 the destination i, sorted by destination.
    offset (edges, 3): how many cells the source's image lies away from the source; int32.
    vector (edges, 3): from i to that image of j, x_j - x_i + offset cell; differentiable in positions and cell.
    """

    edge_index: Tensor
    offset: Tensor
    vector: Tensor


def neighbor_list(
    pos: Float[Tensor, "atoms 3"],
    ptr: Int[Tensor, " graphs_plus_one"],
    cell: Float[Tensor, "graphs 3 3"] | None = None,
    pbc: Bool[Tensor, "graphs 3"] | None = None,
    *,
    cutoff: float | None,
    max_neighbors: int | None = None,
    strict: bool = False,
) -> Neighbors:
    """Edges between atoms of a graph that are closer than `cutoff`; between all of them if `cutoff` is None.

    `ptr` says where each graph's atoms begin (PyG's `batch.ptr`; `rowptr_of(batch, graphs)` makes it from `batch`).
    Rows of `cell` are lattice vectors; `pbc` says along which of them the graph repeats (along all by default). Atoms
    need not be wrapped into the cell. Atoms are neighbours of their own images, never of themselves.

    `max_neighbors` = k truncates to the nearest, but keeps whole shells: every neighbour within 0.01 of the k-th
    nearest, so that a node may keep more than k, and equal distances are not told apart. `strict` keeps exactly k and
    breaks ties by the order of the atoms: NOT equivariant, since a rotation or permutation picks other neighbours.

    The graph is found from the positions in float64 and is the same in every dtype; it carries no gradient.
    """
    return _with(_all_pairs, pos, ptr, cell, pbc, cutoff, max_neighbors, strict)


def complete_graph(ptr: Int[Tensor, " graphs_plus_one"]) -> Int[Tensor, "2 edges"]:
    """Join every node to every other node of its graph: edge_index (2, edges), row 0 the source, row 1 the destination.

    `ptr` holds where each graph's nodes begin, and the number of nodes (PyG's `batch.ptr`). There are no self loops,
    and edges are sorted by destination, then source. A graph of one node has no edges.
    """
    sizes = ptr.diff()
    graph = torch.repeat_interleave(sizes)
    degree = (sizes - 1)[graph]
    first = degree.cumsum(0) - degree
    destination = torch.repeat_interleave(degree)
    source = ptr[:-1][graph[destination]] + torch.arange(len(destination), device=ptr.device) - first[destination]
    return torch.stack([source + (source >= destination), destination])


def edge_vectors(
    pos: Float[Tensor, "atoms 3"],
    edge_index: Int[Tensor, "2 edges"],
    offset: Int[Tensor, "edges 3"] | None = None,
    cell: Float[Tensor, "graphs 3 3"] | None = None,
    ptr: Int[Tensor, " graphs_plus_one"] | None = None,
) -> Float[Tensor, "edges 3"]:
    """x_j - x_i + offset cell for edges j -> i: what a neighbour list's `vector` is, for a graph that is at hand."""
    source, destination = edge_index
    vector = pos.index_select(0, source) - pos.index_select(0, destination)
    if cell is None:
        return vector
    offset = offset.to(pos.dtype)
    if len(cell) == 1:
        return vector + offset @ cell[0]
    if pos.device.type == "cpu" and not torch.compiler.is_compiling():  # a product for each graph: half the time
        counts = torch.searchsorted(destination, ptr).diff().tolist()
        return vector + torch.cat([n @ vectors for n, vectors in zip(offset.split(counts), cell, strict=True)])
    cells = cell.index_select(0, torch.repeat_interleave(ptr.diff()).index_select(0, destination))
    return vector + torch.bmm(offset.unsqueeze(1), cells).squeeze(1)


def _with(search, pos, ptr, cell, pbc, cutoff, max_neighbors, strict) -> Neighbors:
    """The neighbour list whose edges within the cutoff, and their vectors, come from `search`."""
    edge_index, offset, vector = _edges(search, pos.detach(), ptr, cell, pbc, cutoff, max_neighbors, strict)
    if torch.is_grad_enabled() and (pos.requires_grad or (cell is not None and cell.requires_grad)):
        return Neighbors(edge_index, offset, edge_vectors(pos, edge_index, offset, cell, ptr))
    return Neighbors(edge_index, offset, vector.to(pos.dtype))


@torch.no_grad()
def _edges(search, pos, ptr, cell, pbc, cutoff, max_neighbors, strict) -> tuple[Tensor, Tensor, Tensor]:
    if cutoff is None:
        edge_index = complete_graph(ptr)
        offset, vector = (
            edge_index.new_zeros(edge_index.shape[1], 3, dtype=torch.int32),
            edge_vectors(pos.double(), edge_index),
        )
    else:
        if cell is not None and pbc is None:
            pbc = cell.new_ones(len(cell), 3, dtype=torch.bool)
        dtype = pos.dtype if max_neighbors is None else torch.float64  # of vectors, which choose the nearest
        edge_index, offset, vector = search(pos, ptr, cell, pbc, cutoff, dtype)
    if max_neighbors is None:
        return edge_index, offset, vector
    keep = nearest(vector.norm(dim=1), edge_index[1], len(pos), max_neighbors, None if strict else SHELL)
    return edge_index[:, keep], offset[keep], vector[keep]


def nearest(
    distance: Float[Tensor, " edges"], index: Int[Tensor, " edges"], size: int, count: int, shell: float | None
) -> Bool[Tensor, " edges"]:
    """Which edges belong to the `count` shortest of their destination `index`, sorted.

    With a `shell`, all within `shell` of the last of those, so that ties stay together; without, exactly `count`.
    """
    by_distance = distance.argsort(stable=True)
    order = by_distance[index[by_distance].argsort(stable=True)]
    rank = torch.empty_like(index)
    rank[order] = torch.arange(len(index), device=index.device) - rowptr_of(index, size)[index]
    if shell is None:
        return rank < count
    last = distance.new_full((size,), torch.inf)
    last[index[rank == count - 1]] = distance[rank == count - 1]
    return distance <= last[index] + shell


def _all_pairs(pos, ptr, cell, pbc, cutoff, dtype) -> tuple[Tensor, Tensor, Tensor]:
    """Look at each pair of atoms, and each image of the source that may be near enough; in chunks of destinations."""
    pos, sizes = pos.double(), ptr.diff()
    graph = torch.repeat_interleave(sizes)
    if cell is None:
        cell = pos.new_zeros(len(sizes), 3, 3)
        pbc = cell.new_zeros(len(sizes), 3, dtype=torch.bool)
    cell = cell.double() * pbc.unsqueeze(-1)
    dual = torch.linalg.pinv(cell) * pbc.unsqueeze(1)  # columns dual to the periodic lattice vectors, else exactly 0
    wraps = torch.einsum("ni,nij->nj", pos, dual[graph]).floor()
    wrapped = pos - torch.einsum("ni,nij->nj", wraps, cell[graph])
    reach = (
        (cutoff * dual.norm(dim=1)).ceil().long()
    )  # between wrapped atoms, images further away are beyond the cutoff
    images = (2 * reach + 1).prod(1)
    image, shift = _images(reach, images, cell)
    first_image = images.cumsum(0) - images
    degree = (sizes * images)[graph]

    edges, offsets, vectors = [], [], []
    for atoms in torch.arange(len(pos), device=pos.device).split(_chunks(degree)):
        of_graph, count = graph[atoms], degree[atoms]
        rank = torch.arange(int(count.sum()), device=pos.device)
        rank -= torch.repeat_interleave(count.cumsum(0) - count, count)
        destination, many = torch.repeat_interleave(atoms, count), torch.repeat_interleave(images[of_graph], count)
        source = rank // many + torch.repeat_interleave(ptr[of_graph], count)
        which = rank % many + torch.repeat_interleave(first_image[of_graph], count)
        vector = wrapped.index_select(0, source) - wrapped.index_select(0, destination) + shift.index_select(0, which)
        near = (vector.square().sum(1) < cutoff**2).nonzero().squeeze(1)
        source, destination, n, vector = source[near], destination[near], image[which[near]], vector[near]
        other = (source != destination) | (n != 0).any(1)
        source, destination, n = source[other], destination[other], n[other]
        edges.append(torch.stack([source, destination]))
        offsets.append(n + (wraps[destination] - wraps[source]).long())
        vectors.append(vector[other].to(dtype))
    return torch.cat(edges, 1), torch.cat(offsets).int(), torch.cat(vectors)


def _images(reach: Tensor, images: Tensor, cell: Tensor) -> tuple[Tensor, Tensor]:
    """All (n1, n2, n3) with |n_k| <= reach_k, graph after graph, and the shifts n cell: twice (sum of images, 3)."""
    graph = torch.repeat_interleave(images)
    number = torch.arange(len(graph), device=cell.device) - (images.cumsum(0) - images)[graph]
    count = 2 * reach[graph] + 1
    n = torch.stack(
        [number // (count[:, 1] * count[:, 2]), number // count[:, 2] % count[:, 1], number % count[:, 2]], 1
    )
    n -= reach[graph]
    return n, torch.einsum("ei,eij->ej", n.double(), cell[graph])


def _chunks(degree: Tensor) -> list[int]:
    """How many consecutive atoms to take at a time, to have about CHUNK candidates."""
    if len(degree) == 0:
        return [0]
    return torch.unique_consecutive((degree.cumsum(0) - 1) // CHUNK, return_counts=True)[1].tolist()


def _vesin(pos, ptr, cell, pbc, cutoff, dtype) -> tuple[Tensor, Tensor, Tensor]:
    """One call of vesin for each graph; its first atom is the centre, our destination. Small molecules need no search."""
    if cell is None and int((ptr.diff() ** 2).sum()) <= FEW * len(pos):
        return _near_pairs(pos, ptr, cutoff, dtype)
    points, bounds = pos.double().numpy(), ptr.tolist()
    boxes = np.zeros((len(bounds) - 1, 3, 3)) if cell is None else cell.double().numpy()
    periodic = np.zeros((len(bounds) - 1, 3), bool) if cell is None else pbc.numpy()
    found = [
        search.compute(points[begin:end], box, repeats, quantities="PSD", copy=False)
        for search, (begin, end), box, repeats in zip(
            _searches(cutoff, len(boxes)), pairwise(bounds), boxes, periodic, strict=True
        )
    ]
    ends = np.cumsum([0, *(len(vectors) for _, _, vectors in found)])
    edge_index = torch.empty(2, ends[-1], dtype=torch.int64)
    offset, vector = torch.empty(ends[-1], 3, dtype=torch.int32), torch.empty(ends[-1], 3, dtype=dtype)
    order = _order_in_c if _in_c() else _order_in_numpy
    for atoms, edges, place in zip(pairwise(bounds), found, ends[:-1].tolist(), strict=True):
        order(*atoms, *map(torch.from_numpy, edges), edge_index, offset, vector, place)
    return edge_index, offset, vector


_in_c = cache(lambda: no_compiler() is None)


def _order_in_c(first, end, pairs, shifts, vectors, edge_index, offset, vector, place) -> None:
    """Edges of the atoms `first` to `end` by destination, then by source, into arrays of all graphs from `place` on."""
    sizes = place, len(vector), len(pairs), end - first, first
    call("order_edges", vector, vectors, pairs, shifts, edge_index, offset, *sizes)


def _order_in_numpy(first, end, pairs, shifts, vectors, edge_index, offset, vector, place) -> None:
    pairs, rows = pairs.long(), slice(place, place + len(pairs))
    order = torch.from_numpy(np.lexsort(pairs.T.flip(0).numpy()))
    edge_index[:, rows] = pairs[order].T.flip(0) + first
    offset[rows], vector[rows] = shifts[order], vectors[order]


def _searches(cutoff: float, graphs: int) -> list:
    """A search of vesin for each graph, in whose memory the result stays until it is used again; in each thread others."""
    from vesin import NeighborList

    threads = torch.get_num_threads()
    kept = _OF_THREAD.__dict__.setdefault((cutoff, threads), [])
    while len(kept) < graphs:
        kept.append(NeighborList(cutoff=cutoff, full_list=True, sorted=False, n_threads=threads))
    return kept[:graphs]


def _near_pairs(pos, ptr, cutoff, dtype) -> tuple[Tensor, Tensor, Tensor]:
    """Of all pairs of atoms of a graph, those within the cutoff."""
    edge_index = complete_graph(ptr)
    vector = edge_vectors(pos.double(), edge_index)
    near = vector.square().sum(1) < cutoff**2
    edge_index = edge_index[:, near]
    offset = edge_index.new_zeros(edge_index.shape[1], 3, dtype=torch.int32)
    return edge_index, offset, vector[near].to(dtype)


def _nvalchemi(pos, ptr, cell, pbc, cutoff, dtype) -> tuple[Tensor, Tensor, Tensor]:
    pos, cell = pos.double(), None if cell is None else cell.double()
    edge_index, offset = nvalchemi.pairs(pos, ptr, cell, pbc, cutoff)
    return edge_index, offset, edge_vectors(pos, edge_index, offset, cell, ptr).to(dtype)


def by(search: Callable) -> Callable[..., Callable[..., Neighbors]]:
    """The `build` of a backend with a search of its own."""

    def build(*, cutoff: float | None, max_neighbors: int | None = None, strict: bool = False):
        return lambda pos, ptr, cell=None, pbc=None: _with(search, pos, ptr, cell, pbc, cutoff, max_neighbors, strict)

    return build


def check(pos, ptr, cell=None, pbc=None, *, cutoff, max_neighbors=None, strict=False) -> None:
    graphs = len(ptr) - 1
    if pos.ndim != 2 or pos.shape[1] != 3:
        raise UserError(f"neighbor_list: positions {tuple(pos.shape)}; give (atoms, 3)")
    if pos.device.type == "meta":
        raise UserError("neighbor_list: edges depend on positions, of which the meta device has none; give the edges")
    bounds = ptr.numpy(force=True)  # with so few numbers quicker than torch
    if ptr.ndim != 1 or graphs < 0 or bounds[0] != 0 or bounds[-1] != len(pos) or (bounds[1:] < bounds[:-1]).any():
        raise UserError(f"neighbor_list: ptr must rise from 0 to the number of atoms, {len(pos)}; give batch.ptr")
    if not isfinite(
        pos.detach().sum(dtype=torch.float64).item()
    ):  # one operation; what is not finite stays so in a sum
        raise UserError("neighbor_list: a position is not finite; look at the data, or at a diverging model")
    if cutoff is not None and not 0 < cutoff < float("inf"):
        raise UserError(f"neighbor_list: cutoff={cutoff}; give a positive distance, or None for complete graphs")
    if max_neighbors is not None and max_neighbors < 1:
        raise UserError(f"neighbor_list: max_neighbors={max_neighbors}; give at least 1, or None for all")
    _check_cell(graphs, cell, pbc, cutoff)


def _check_cell(graphs: int, cell: Tensor | None, pbc: Tensor | None, cutoff: float | None) -> None:
    if cell is None:
        if pbc is not None and bool(pbc.any()):
            raise UserError("neighbor_list: pbc without a cell; give cell (graphs, 3, 3), its rows the lattice vectors")
        return
    if cell.shape != (graphs, 3, 3) or (pbc is not None and pbc.shape != (graphs, 3)):
        raise UserError(f"neighbor_list: cell must be ({graphs}, 3, 3) and pbc ({graphs}, 3), one for each graph")
    if cutoff is None:
        raise UserError("neighbor_list: complete graphs of periodic structures are infinite; give a cutoff")
    apart = np.zeros((graphs, 3), bool) if pbc is None else ~pbc.numpy(force=True)
    vectors = np.where(apart[..., None], 0, cell.double().numpy(force=True))
    with np.errstate(all="ignore"):  # a comparison with NaN is False
        products = vectors @ vectors.swapaxes(1, 2) + EYE * apart[:, None]
        # the squared volume that the periodic vectors span, and that of as long ones at right angles
        volume2, most = np.linalg.det(products), products.diagonal(axis1=1, axis2=2).prod(1)
    if not (volume2 > 1e-12 * most).all():
        raise UserError(
            "neighbor_list: a cell has no volume along its periodic directions; give lattice vectors or pbc"
        )


def cost(out: Neighbors, pos, ptr, cell=None, pbc=None, **spec) -> Cost:
    """A difference, a shift and a squared length for each edge that is found."""
    return Cost(11 * out.edge_index.shape[1], traffic(out, pos, ptr, cell, pbc))


def example(dtype, device, seed, *, graphs=3, atoms=12, side=6.0, cutoff=4.0, periodic=True):
    g = torch.Generator().manual_seed(seed)
    ptr = torch.arange(graphs + 1) * atoms
    pos = side * torch.rand(graphs * atoms, 3, generator=g, dtype=torch.float64)
    if not periodic:
        return (pos.to(device, dtype), ptr.to(device)), {"cutoff": cutoff}
    cell = side * (torch.eye(3, dtype=torch.float64) + 0.2 * torch.rand(graphs, 3, 3, generator=g, dtype=torch.float64))
    return (pos.to(device, dtype), ptr.to(device), cell.to(device, dtype)), {"cutoff": cutoff}


OP = Op(
    reference=neighbor_list,
    backends={
        "vesin": Backend(by(_vesin), device=("cpu",), dtypes=FLOATS[:2], requires=("vesin",)),
        "reference": Backend(plain(neighbor_list), device=None),
        # last, since it was never timed on a GPU
        "nvalchemi": Backend(by(_nvalchemi), dtypes=FLOATS[:2], requires=("nvalchemiops",)),
    },
    check=check,
    cost=cost,
    example=example,
    traceable=False,
)
