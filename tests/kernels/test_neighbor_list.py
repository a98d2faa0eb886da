"""Neighbour lists, against ase, a sum over lattice vectors, and what must not change them."""

from importlib.util import find_spec

import ase.neighborlist
import numpy as np
import pytest
import torch
from machine import needs_c

from erlangen import kernels
from erlangen.errors import UserError
from erlangen.kernels import neighbor_list as module
from erlangen.kernels.neighbor_list import complete_graph, edge_vectors
from erlangen.kernels.registry import find

NVALCHEMI = pytest.mark.skipif(find_spec("nvalchemiops") is None, reason="nvalchemi-toolkit-ops is not installed")
BACKENDS = ["reference", "vesin", pytest.param("nvalchemi", marks=NVALCHEMI)]
PTR = torch.tensor([0, 5, 5, 6, 14])
CUTOFF = 4.0


def structure(seed, dtype=torch.float64):
    """Four graphs, one of them empty and one with one atom, in skewed cells that their atoms lie far out of."""
    g = torch.Generator().manual_seed(seed)
    pos = 4 * torch.randn(14, 3, generator=g, dtype=dtype)
    cell = 3 * torch.eye(3, dtype=dtype) + 0.6 * torch.randn(4, 3, 3, generator=g, dtype=dtype)
    return pos, cell


def build(backend="reference", **spec):
    return kernels.get("neighbor_list", backend, **{"cutoff": CUTOFF, **spec})


def edges(neighbors):
    """As a set of (destination, source, offset)."""
    rows = torch.cat([neighbors.edge_index.flip(0).T, neighbors.offset], 1).tolist()
    assert len(rows) == len({tuple(row) for row in rows})
    assert (neighbors.edge_index[1].diff() >= 0).all()
    return {tuple(row) for row in rows}


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("periodic", [(1, 1, 1), (1, 1, 0), (0, 1, 0), (0, 0, 0)])
def test_it_is_that_of_ase(backend, periodic):
    total = 0
    for seed in range(5):
        pos, cell = structure(seed)
        pbc = torch.tensor([periodic] * 4, dtype=torch.bool)
        expected = set()
        for graph, (begin, end) in enumerate(zip(PTR[:-1].tolist(), PTR[1:].tolist(), strict=True)):
            if begin < end:
                i, j, shift = ase.neighborlist.primitive_neighbor_list(
                    "ijS", pbc[graph].numpy(), cell[graph].numpy(), pos[begin:end].numpy(), CUTOFF
                )
                expected |= {
                    (int(a) + begin, int(b) + begin, *map(int, s)) for a, b, s in zip(i, j, shift, strict=True)
                }
        assert edges(build(backend)(pos, PTR, cell, pbc)) == expected
        total += len(expected)
    assert total > 0


@pytest.mark.parametrize("backend", BACKENDS)
def test_it_is_a_sum_over_lattice_vectors(backend):
    pos, cell = structure(0)
    neighbors = build(backend)(pos[:3], torch.tensor([0, 3]), cell[:1])
    shifts = torch.cartesian_prod(*[torch.arange(-15, 16)] * 3)
    expected = set()
    for i in range(3):
        for j in range(3):
            vector = pos[j] - pos[i] + shifts.double() @ cell[0]
            near = (vector.norm(dim=1) < CUTOFF) & ((shifts != 0).any(1) | (i != j))
            expected |= {(i, j, *shift) for shift in shifts[near].tolist()}
    assert edges(neighbors) == expected
    (j, i), n = neighbors.edge_index, neighbors.offset
    torch.testing.assert_close(neighbors.vector, pos[j] - pos[i] + n.double() @ cell[0])


@pytest.mark.parametrize("backend", BACKENDS)
def test_graphs_in_a_batch_do_not_see_each_other(backend):
    pos, cell = structure(1)
    together = edges(build(backend)(pos, PTR, cell))
    apart = set()
    for graph, (begin, end) in enumerate(zip(PTR[:-1].tolist(), PTR[1:].tolist(), strict=True)):
        alone = build(backend)(pos[begin:end], torch.tensor([0, end - begin]), cell[graph : graph + 1])
        apart |= {(i + begin, j + begin, *n) for i, j, *n in edges(alone)}
    assert together == apart


@pytest.mark.parametrize("backend", BACKENDS)
def test_each_edge_has_its_reverse_and_is_shorter_than_the_cutoff(backend):
    pos, cell = structure(2)
    neighbors = build(backend)(pos, PTR, cell)
    assert {(j, i, -a, -b, -c) for i, j, a, b, c in edges(neighbors)} == edges(neighbors)
    assert neighbors.vector.norm(dim=1).max() < CUTOFF


@pytest.mark.parametrize("backend", BACKENDS)
def test_moving_atoms_by_lattice_vectors_changes_offsets_and_no_vector(backend, generator):
    pos, cell = structure(3)
    graph = torch.repeat_interleave(PTR.diff())
    moved = pos + torch.einsum("ni,nij->nj", torch.randint(-3, 4, pos.shape, generator=generator).double(), cell[graph])

    def sorted_vectors(neighbors):
        rows = torch.cat([neighbors.edge_index.T.double(), neighbors.vector.round(decimals=8)], 1)
        return np.array(sorted(rows.tolist()))

    first, second = build(backend)(pos, PTR, cell), build(backend)(moved, PTR, cell)
    np.testing.assert_allclose(sorted_vectors(first), sorted_vectors(second), atol=1e-7)
    assert edges(first) != edges(second)


def test_rotations_permute_nothing_and_rotate_the_vectors(generator):
    pos, cell = structure(4)
    rotation = torch.linalg.qr(torch.randn(3, 3, generator=generator, dtype=torch.float64)).Q
    first, second = (build()(pos @ r.T, PTR, cell @ r.T) for r in (torch.eye(3).double(), rotation))
    assert edges(first) == edges(second)
    torch.testing.assert_close(second.vector, first.vector @ rotation.T)


def test_the_graph_is_the_same_in_every_dtype():
    pos, cell = structure(5, torch.float32)
    assert edges(build()(pos, PTR, cell)) == edges(build()(pos.double(), PTR, cell.double()))
    assert build()(pos, PTR, cell).vector.dtype == torch.float32


def test_chunks_of_the_search_change_nothing(monkeypatch):
    pos, cell = structure(6)
    whole = build()(pos, PTR, cell)
    monkeypatch.setattr(module, "CHUNK", 100)
    for found, true in zip(build()(pos, PTR, cell), whole, strict=True):
        assert torch.equal(found, true)


def test_complete_graphs_join_all_pairs_of_a_graph():
    pairs = complete_graph(PTR).T.tolist()
    graph = torch.repeat_interleave(PTR.diff()).tolist()
    assert pairs == [[j, i] for i in range(14) for j in range(14) if i != j and graph[i] == graph[j]]
    pos, _ = structure(0)
    neighbors = build(cutoff=None)(pos, PTR)
    assert neighbors.edge_index.T.tolist() == pairs
    torch.testing.assert_close(neighbors.vector, edge_vectors(pos, neighbors.edge_index))
    wide = build(cutoff=1e3)(pos, PTR)
    assert edges(wide) == edges(neighbors)


@pytest.mark.parametrize("backend", BACKENDS)
def test_one_atom_and_none(backend):
    for ptr in ([0, 1], [0, 1, 1], [0, 0], [0]):
        ptr = torch.tensor(ptr)
        neighbors = build(backend)(torch.zeros(int(ptr[-1]), 3), ptr)
        assert [t.shape for t in neighbors] == [(2, 0), (0, 3), (0, 3)]
        assert build(backend, max_neighbors=2)(torch.zeros(int(ptr[-1]), 3), ptr).edge_index.shape == (2, 0)
        assert build(backend, cutoff=None)(torch.zeros(int(ptr[-1]), 3), ptr).edge_index.shape == (2, 0)
    images = build(backend)(torch.zeros(1, 3), torch.tensor([0, 1]), 3 * torch.eye(3).unsqueeze(0))
    assert images.edge_index.shape == (2, 6)


@pytest.mark.parametrize("backend", BACKENDS)
def test_atoms_in_one_place_are_neighbours_with_a_finite_gradient(backend):
    pos = torch.zeros(2, 3, requires_grad=True)
    neighbors = build(backend)(pos, torch.tensor([0, 2]))
    assert edges(neighbors) == {(0, 1, 0, 0, 0), (1, 0, 0, 0, 0)}
    neighbors.vector.square().sum().backward()
    assert pos.grad.abs().max() == 0


@pytest.mark.parametrize("backend", BACKENDS)
def test_truncation_keeps_whole_shells(backend):
    """Simple cubic: 6 neighbours at 1, 12 at sqrt(2), 8 at sqrt(3)."""
    ptr, pos, cell = torch.tensor([0, 1]), torch.zeros(1, 3), torch.eye(3).unsqueeze(0)
    counts = {
        k: build(backend, cutoff=1.9, max_neighbors=k)(pos, ptr, cell).edge_index.shape[1]
        for k in (1, 6, 7, 18, 19, 99)
    }
    assert counts == {1: 6, 6: 6, 7: 18, 18: 18, 19: 26, 99: 26}
    strict = {
        k: build(backend, cutoff=1.9, max_neighbors=k, strict=True)(pos, ptr, cell).edge_index.shape[1] for k in counts
    }
    assert strict == {1: 1, 6: 6, 7: 7, 18: 18, 19: 19, 99: 26}


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_shell_is_a_hundredth_wide(backend):
    pos = torch.tensor([[0.0, 0, 0], [1.0, 0, 0], [0, 1.009, 0], [0, 0, -1.011]])
    kept = edges(build(backend, cutoff=1.2, max_neighbors=1)(pos, torch.tensor([0, 4])))
    assert {j for i, j, *_ in kept if i == 0} == {1, 2}


def test_truncated_lists_hold_the_nearest(generator):
    pos = torch.rand(40, 3, generator=generator, dtype=torch.float64) * 4
    ptr = torch.tensor([0, 25, 40])
    strict = build(max_neighbors=5, strict=True)(pos, ptr)
    knn = kernels.get("knn", "reference", k=5)(pos, ptr)
    assert {tuple(e) for e in strict.edge_index.T.tolist()} == {tuple(e) for e in knn.T.tolist()}
    assert edges(strict) <= edges(build(max_neighbors=5)(pos, ptr))


def test_whole_shells_are_equivariant_and_strict_counts_are_not(generator):
    """In a perfect crystal, a renumbering of the atoms moves a strict list to other neighbours."""
    pos = torch.cartesian_prod(*[torch.arange(3.0)] * 3).double()
    cell, ptr = 3 * torch.eye(3).double().unsqueeze(0), torch.tensor([0, 27])
    order = torch.randperm(27, generator=generator)

    def renamed(strict):
        found = edges(build(cutoff=1.9, max_neighbors=8, strict=strict)(pos[order], ptr, cell))
        return {(int(order[i]), int(order[j]), *n) for i, j, *n in found}

    def plain(strict):
        return edges(build(cutoff=1.9, max_neighbors=8, strict=strict)(pos, ptr, cell))

    assert renamed(False) == plain(False)
    assert renamed(True) != plain(True)


def test_forces_and_stress_flow_through_the_vectors():
    """A pair energy sum(|r|^-2): forces are minus the gradient, and scaling cell and atoms gives the virial."""
    pos, cell = structure(7)
    strain = torch.zeros(3, 3, dtype=torch.float64, requires_grad=True)
    deform = torch.eye(3, dtype=torch.float64) + strain
    neighbors = build()(pos @ deform, PTR, cell @ deform)
    energy = neighbors.vector.square().sum(1).reciprocal().sum()
    (virial,) = torch.autograd.grad(energy, strain)
    r = neighbors.vector.detach()
    expected = torch.einsum("e,ei,ej->ij", -2 * r.square().sum(1) ** -2, r, r)
    torch.testing.assert_close(virial, expected)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"pos": torch.full((14, 3), torch.nan)}, "not finite"),
        ({"pos": torch.zeros(14, 2)}, r"give \(atoms, 3\)"),
        ({"pos": torch.zeros(13, 3)}, "number of atoms, 13"),
        ({"pos": torch.zeros(14, 3, device="meta"), "ptr": PTR.to("meta"), "cell": None}, "meta device"),
        ({"ptr": torch.tensor([0, 6, 5, 14])}, "ptr must rise"),
        ({"cell": torch.zeros(4, 3, 3)}, "no volume"),
        ({"cell": torch.ones(4, 3, 3)}, "no volume"),
        ({"cell": torch.full((4, 3, 3), torch.nan)}, "no volume"),
        ({"cell": torch.eye(3).expand(3, 3, 3)}, r"cell must be \(4, 3, 3\)"),
        ({"cell": None, "pbc": torch.ones(4, 3, dtype=torch.bool)}, "pbc without a cell"),
        ({"cell": torch.eye(3, dtype=torch.float64).expand(4, 3, 3)}, "float32 and float64"),
        ({"cutoff": 0.0}, "cutoff=0.0"),
        ({"cutoff": torch.nan}, "cutoff=nan"),
        ({"cutoff": None}, "infinite"),
        ({"max_neighbors": 0}, "max_neighbors=0"),
    ],
)
def test_mistakes_are_named(backend, change, why):
    pos, cell = structure(0, torch.float32)
    args = {"pos": pos, "ptr": PTR, "cell": cell, "pbc": None, **change}
    spec = {key: args.pop(key) for key in ("cutoff", "max_neighbors") if key in args}
    with pytest.raises(UserError, match=why):
        build(backend, **spec)(**args)


@pytest.mark.parametrize("backend", BACKENDS)
def test_directions_that_do_not_repeat_need_no_lattice_vector(backend):
    cell = torch.diag(torch.tensor([3.0, 3.0, 0.0])).unsqueeze(0)
    pbc = torch.tensor([[True, True, False]])
    pos = torch.tensor([[0.0, 0, 0], [0, 0, 50], [0, 0, 1]])
    found = edges(build(backend, cutoff=3.5)(pos, torch.tensor([0, 3]), cell, pbc))
    full = edges(
        build(backend, cutoff=3.5)(pos, torch.tensor([0, 3]), cell + torch.diag(torch.tensor([0, 0, 200.0])), pbc)
    )
    assert found == full
    assert {n for *_, n in found} == {0}
    assert len(found) == 22


@needs_c
def test_edges_have_one_order_with_and_without_a_compiler(monkeypatch) -> None:
    args, spec = find("neighbor_list").example(torch.float64, "cpu", 3, atoms=60)
    in_c = kernels.get("neighbor_list", "vesin", **spec)(*args)
    monkeypatch.setattr(module, "_in_c", lambda: False)
    in_numpy = kernels.get("neighbor_list", "vesin", **spec)(*args)
    assert all(map(torch.equal, in_c, in_numpy))
    assert (in_c.edge_index.flip(0).T.diff(dim=0).sign() @ torch.tensor([2, 1]) >= 0).all()
