"""Periodic structures: who takes them, and that those see images for what they are."""

import pytest
import torch
from synthetic import randomize, synthetic_batch, unit_statistics

from erlangen.kernels import Kernels
from erlangen.models.atoms.egnn import EGNN
from erlangen.models.atoms.floors import CompositionLeastSquares
from erlangen.models.paper import Paper
from erlangen.runs.pairing import default_data, mismatch
from erlangen.tasks.symmetry import cast

OC20 = default_data("oc20")


class Molecular(Paper):
    title = "A network that knows nothing of cells"
    modalities = frozenset({"atoms"})


def egnn() -> EGNN:
    paper = EGNN(
        OC20.spec, Kernels("reference"), layers=2, channels=8, attention=True, update_coordinates=True, cutoff=6.0
    )
    randomize(paper)
    return paper.double().eval()


def test_a_paper_for_molecules_is_refused_before_any_data_are_read() -> None:
    assert "knows molecules only, and the data are periodic" in mismatch(Molecular, OC20)
    assert not mismatch(Molecular, default_data("qm9"))
    assert not mismatch(EGNN, OC20)
    assert not mismatch(CompositionLeastSquares, OC20)


def test_egnn_does_not_see_by_which_cell_an_atom_is_given() -> None:
    paper, batch = egnn(), cast(synthetic_batch(OC20.spec), OC20.spec, torch.float64)
    before = paper(batch)
    moved = batch.clone()
    cells = torch.randint(-2, 3, batch.pos.shape).double()
    moved.pos = batch.pos + torch.einsum("ni,nij->nj", cells, batch.cell[batch.batch])
    after = paper(moved)
    for name, value in before.items():
        torch.testing.assert_close(after[name], value, rtol=1e-9, atol=1e-9)


def test_egnn_sees_the_neighbours_across_a_cells_faces() -> None:
    paper, batch = egnn(), cast(synthetic_batch(OC20.spec), OC20.spec, torch.float64)
    apart = batch.clone()
    apart.cell = 10 * batch.cell
    assert not torch.allclose(paper(batch)["energy"], paper(apart)["energy"])


def test_an_atom_without_neighbours_has_an_energy_and_no_force() -> None:
    paper, batch = egnn(), cast(synthetic_batch(OC20.spec), OC20.spec, torch.float64)
    batch.cell = 100 * batch.cell
    batch.pos = 40.0 * torch.arange(len(batch.pos))[:, None] * torch.ones(3, dtype=torch.float64) / 3
    outputs = paper(batch)
    assert outputs["energy"].isfinite().all()
    assert torch.equal(outputs["forces"], torch.zeros_like(batch.pos))


def test_composition_gives_energies_and_no_forces() -> None:
    batch = synthetic_batch(OC20.spec, 60)
    weight = torch.randn(91)
    batch.energy = torch.zeros(60).index_add(0, batch.batch, weight[batch.z])
    paper = CompositionLeastSquares(OC20.spec)
    paper.prepare(OC20.task, unit_statistics(OC20.spec), lambda: [batch])
    predictions = paper.predict(batch)
    torch.testing.assert_close(predictions["energy"], batch.energy, rtol=1e-3, atol=1e-3)
    assert torch.equal(predictions["forces"], torch.zeros_like(batch.pos))


@pytest.mark.parametrize("name", ["oc20", "oc20_is2re"])
def test_the_cell_is_a_field_of_three_vectors(name: str) -> None:
    fields = default_data(name).spec.fields
    assert (fields["cell"].irreps, fields["cell"].shape, fields["cell"].level) == ("1o", (3, 3), "graph")
