"""What makes EGNN (arXiv:2102.09844) that paper."""

import pytest
import torch
from synthetic import synthetic_batch

from erlangen.kernels import Kernels
from erlangen.models.atoms.egnn import EGNN, EquivariantLayer
from erlangen.nn.edge_linear import EdgeLinear
from erlangen.runs.pairing import default_data

SPEC = default_data("qm9").spec


def test_published_size() -> None:
    """7 layers of 128 channels on QM9: the parameters of the authors' network, counted layer by layer."""
    width = 128
    layer = (2 * width + 1) * width + width + width * width + width  # phi_e
    layer += width + 1  # attention
    layer += 2 * width * width + width + width * width + width  # phi_h
    readout = 3 * (width * width + width) + width + 1
    expected = 15 * width + width + 7 * layer + readout
    paper = EGNN(SPEC, Kernels(), layers=7, channels=128, attention=True, update_coordinates=False, cutoff=6.0)
    assert sum(p.numel() for p in paper.parameters()) == expected == 745_224


@pytest.mark.parametrize("velocity", [False, True])
def test_layer_is_the_papers_equations_edge_by_edge(velocity: bool, generator: torch.Generator) -> None:
    """Eqs. (3)-(8) as double loops over pairs, with the very modules of the layer."""
    nodes, channels = 5, 8
    layer = EquivariantLayer(
        Kernels(), channels, 2, attention=True, update_coordinates=True, has_velocity=velocity
    ).double()
    torch.nn.init.normal_(layer.phi_x[-1].weight, generator=generator)
    h = torch.randn(nodes, channels, generator=generator, dtype=torch.float64)
    x = torch.randn(nodes, 3, generator=generator, dtype=torch.float64)
    v = torch.randn(nodes, 3, generator=generator, dtype=torch.float64) if velocity else None
    pairs = [(j, i) for i in range(nodes) for j in range(nodes) if i != j]
    a = torch.randn(len(pairs), 2, generator=generator, dtype=torch.float64)
    neighbors = torch.full((nodes, 1), nodes - 1.0, dtype=torch.float64)
    new_h, new_x = layer(h, x, a, torch.tensor(pairs).T, neighbors, v)

    for i in range(nodes):
        m_i, shift = torch.zeros(channels, dtype=torch.float64), torch.zeros(3, dtype=torch.float64)
        for edge, (j, to) in enumerate(pairs):
            if to != i:
                continue
            inputs = torch.cat([h[i], h[j], (x[i] - x[j]).square().sum()[None], a[edge]])
            m_ij = layer.phi_e(layer.first.linear(inputs))
            m_ij = layer.phi_inf(m_ij) * m_ij
            m_i += m_ij
            shift += (x[i] - x[j]) * layer.phi_x(m_ij) / (nodes - 1)
        expected_x = x[i] + shift + (layer.phi_v(h[i]) * v[i] if velocity else 0)
        torch.testing.assert_close(new_x[i], expected_x)
        torch.testing.assert_close(new_h[i], h[i] + layer.phi_h(torch.cat([h[i], m_i])))


def test_edge_linear_is_the_linear_layer_on_the_concatenation(generator: torch.Generator) -> None:
    layer = EdgeLinear(6, 3, 5).double()
    h = torch.randn(4, 6, generator=generator, dtype=torch.float64)
    edge_index = torch.tensor([[0, 1, 2, 3, 0], [1, 0, 3, 2, 2]])
    a = torch.randn(5, 3, generator=generator, dtype=torch.float64)
    source, destination = edge_index
    expected = layer.linear(torch.cat([h[destination], h[source], a], -1))
    torch.testing.assert_close(layer(h, a, edge_index), expected)


def test_single_atom_and_coincident_atoms_are_defined() -> None:
    paper = EGNN(SPEC, Kernels(), layers=2, channels=8, attention=True, update_coordinates=True, cutoff=6.0)
    batch = synthetic_batch(SPEC, 1)
    batch.pos[:] = 0.0  # every atom in one place
    batch.pos.requires_grad_()
    energy = paper(batch)["gap"]
    (gradient,) = torch.autograd.grad(energy.sum(), batch.pos)
    assert energy.isfinite().all()
    assert gradient.isfinite().all()
    alone = synthetic_batch(SPEC, 1)
    alone.z, alone.pos, alone.batch, alone.ptr = alone.z[:1], alone.pos[:1], alone.batch[:1], torch.tensor([0, 1])
    assert paper(alone)["gap"].isfinite().all()


@pytest.mark.parametrize("moves", [False, True])
def test_all_that_is_trained_gets_a_gradient_and_only_the_rest_is_frozen(moves: bool) -> None:
    paper = EGNN(SPEC, Kernels(), layers=2, channels=8, attention=False, update_coordinates=moves, cutoff=6.0)
    paper(synthetic_batch(SPEC))["gap"].sum().backward()
    assert all((p.grad is not None) == p.requires_grad for p in paper.parameters())
    frozen = {name for name, p in paper.named_parameters() if not p.requires_grad}
    assert {name.split(".")[3] for name in frozen} == ({"phi_x"} if moves else set())
