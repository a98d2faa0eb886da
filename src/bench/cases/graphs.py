"""Sums and softmaxes over the edges of a graph, and graphs themselves."""

from collections.abc import Iterable, Iterator
from importlib.util import find_spec

import numpy as np
import torch
from torch import Tensor

from ...errors import UserError
from ..case import Case, Competitor, Scale, op_case


def _graph(scale: Scale) -> dict[str, int]:
    return {"nodes": scale.pick(10, 2000, 2000), "degree": scale.pick(5, 25, 25)}


def _label(size: dict[str, int], width: str) -> str:
    return f"{size['nodes'] * size['degree']} edges, {size[width]} {width}"


def segment_sum(scale: Scale, degrees: Iterable[int]) -> Iterator[Case]:
    def scattered(values, index, size):
        return values.new_zeros(size, values.shape[1]).scatter_add(0, index.unsqueeze(1).expand_as(values), values)

    for channels in scale.pick((4,), (8, 64), (64, 128)):
        size = {**_graph(scale), "channels": channels}
        rivals = [Competitor("scatter_add", lambda: scattered)]
        yield op_case("segment_sum", scale, size, rivals, size=_label(size, "channels"))


def segment_softmax(scale: Scale, degrees: Iterable[int]) -> Iterator[Case]:
    for heads in scale.pick((2,), (1, 8), (1, 8)):
        size = {**_graph(scale), "heads": heads}
        yield op_case("segment_softmax", scale, size, [pyg_softmax()], size=_label(size, "heads"))


def segment_attention(scale: Scale, degrees: Iterable[int]) -> Iterator[Case]:
    size = {**_graph(scale), "heads": scale.pick(2, 8, 8), "channels": scale.pick(4, 16, 16)}
    yield op_case("segment_attention", scale, size, [pyg_attention()], size=_label(size, "heads"))


def pyg_softmax() -> Competitor:
    def build():
        from torch_geometric.utils import softmax

        return lambda logits, index, size: softmax(logits, index, num_nodes=size)

    return Competitor("PyG", build)


def pyg_attention() -> Competitor:
    def build():
        from torch_geometric.utils import scatter, softmax

        def attention(logits, values, index, size):
            weight = softmax(logits, index, num_nodes=size)
            return scatter(weight.unsqueeze(-1) * values, index, dim_size=size)

        return attention

    return Competitor("PyG", build)


def pyg_messages() -> Competitor:
    def build():
        from torch_geometric.utils import scatter

        def messages(x, weight, edge_index, size):
            return scatter(x[edge_index[0]] * weight, edge_index[1], dim_size=size)

        return messages

    return Competitor("PyG", build)


def gather_scale_scatter(scale: Scale, degrees: Iterable[int]) -> Iterator[Case]:
    for shared in (False, True):
        size = {**_graph(scale), "channels": scale.pick(4, 64, 128)}
        title = "one weight an edge" if shared else "a weight a channel"
        sizes = {**size, "per_channel": not shared}
        yield op_case(
            "gather_scale_scatter", scale, sizes, [pyg_messages()], size=_label(size, "channels"), title=title
        )


def neighbor_list(scale: Scale, degrees: Iterable[int]) -> Iterator[Case]:
    """Molecules, slabs and a crystal; edges are compared as sets, since they have no order within a destination."""
    if find_spec("ase") is None:
        raise UserError("neighbor_list is measured on structures that ase builds; install ase")
    for title, structures, cutoff in _structures(scale):
        yield _neighbors(scale, title, structures, cutoff)


def _structures(scale: Scale) -> Iterator[tuple[str, list, float]]:
    from ase import Atoms
    from ase.build import bulk, fcc111

    rng = np.random.default_rng(0)
    many = scale.pick(2, 1, 1)
    sizes = rng.integers(9, 29, 64 // many**4)
    yield "molecules", [Atoms("C" * n, positions=2 * rng.normal(size=(n, 3))) for n in sizes], 5.0
    slab = fcc111("Cu", (4, 5, 4) if many == 1 else (2, 2, 2), vacuum=10)
    slab.pbc = (True, True, False)
    slab.rattle(0.1, seed=1)
    yield "slabs", [slab] * 8, 6.0
    crystal = bulk("Cu", cubic=True) * ((6,) * 3 if many == 1 else (2,) * 3)
    crystal.rattle(0.1, seed=1)
    yield "a crystal", [crystal], 6.0


def _neighbors(scale: Scale, title: str, structures: list, cutoff: float) -> Case:
    ptr = torch.tensor(np.cumsum([0, *map(len, structures)]))
    pos = torch.tensor(np.concatenate([atoms.positions for atoms in structures]), dtype=torch.float32)
    args: tuple = (pos, ptr)
    if structures[0].pbc.any():
        cell = torch.tensor(np.array([atoms.cell.array for atoms in structures]), dtype=torch.float32)
        args += (cell, torch.tensor(np.array([atoms.pbc for atoms in structures])))
    args = tuple(a.to(scale.device) for a in args)
    return op_case(
        "neighbor_list",
        scale,
        {},
        [by_ase(structures, cutoff), *by_vesin(structures, cutoff)],
        given=(args, {"cutoff": cutoff}),
        size=f"{len(structures)} of {len(pos) // len(structures)} atoms, {cutoff:g} A",
        title=title,
        orders=0,
        compare=edges_differ,
    )


def by_ase(structures: list, cutoff: float) -> Competitor:
    def build():
        from ase.neighborlist import neighbor_list

        return lambda *args: [neighbor_list("ijSD", atoms, cutoff) for atoms in structures]

    return Competitor("ase", build, orders=0, restore=joined(structures))


def by_vesin(structures: list, cutoff: float) -> list[Competitor]:
    """vesin itself, for the indices, offsets and vectors that a neighbour list has."""
    if find_spec("vesin") is None:
        return []

    def build():
        from vesin import NeighborList

        search = NeighborList(cutoff=cutoff, full_list=True, sorted=True, n_threads=torch.get_num_threads())
        inputs = [(a.positions, a.cell.array, a.pbc) for a in structures]
        return lambda *args: [search.compute(*graph, quantities="ijSD") for graph in inputs]

    return [Competitor("raw vesin", build, orders=0, restore=joined(structures))]


def joined(structures: list):
    """Lists of (i, j, S, D), one a structure, as the edges of a batch."""
    first = np.cumsum([0, *map(len, structures)])

    def restore(lists):
        i, j = (
            np.concatenate([np.asarray(of[k], dtype=np.int64) + n for of, n in zip(lists, first, strict=False)])
            for k in (0, 1)
        )
        shift, vector = (np.concatenate([of[k] for of in lists]) for k in (2, 3))
        return torch.tensor(np.stack([j, i])), torch.tensor(shift), torch.tensor(vector)

    return restore


def edges_differ(found: tuple[Tensor, Tensor, Tensor], true: tuple[Tensor, Tensor, Tensor]) -> float:
    """Infinity if the edges are others, else the largest error of the vectors by the longest of them."""
    (rows, vectors), (true_rows, true_vectors) = sorted_edges(*found), sorted_edges(*true)
    if rows.shape != true_rows.shape or not torch.equal(rows, true_rows):
        return torch.inf
    return ((vectors - true_vectors).abs().max() / true_vectors.abs().max()).item()


def sorted_edges(edge_index: Tensor, offset: Tensor, vector: Tensor) -> tuple[Tensor, Tensor]:
    rows = torch.cat([edge_index.T, offset.long()], 1)
    order = np.lexsort(rows.numpy(force=True).T)
    return rows[order].cpu(), vector[order].double().cpu()


def fibre_convolution(scale: Scale, degrees: Iterable[int]) -> Iterator[Case]:
    """A batch of PONITA's on N-body systems."""
    size = {
        "nodes": scale.pick(5, 500, 5000),
        "orientations": scale.pick(3, 16, 16),
        "channels": scale.pick(4, 128, 128),
    }
    label = f"{size['nodes']} nodes, {size['orientations']} orientations, {size['channels']} channels"
    yield op_case("fibre_convolution", scale, size, size=label)


def linear(scale: Scale, degrees: Iterable[int]) -> Iterator[Case]:
    """The same batch's kernels, and its hidden layer."""
    for rows, channels_in, channels_out in ((32_000, 256, 128), (8_000, 128, 512)):
        size = {
            "rows": scale.pick(7, rows, 10 * rows),
            "channels_in": scale.pick(4, channels_in, channels_in),
            "channels_out": scale.pick(3, channels_out, channels_out),
        }
        yield op_case("linear", scale, size, size=f"{size['rows']} rows, {channels_in} to {channels_out} channels")
