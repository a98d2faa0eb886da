"""What eSCN and EquiformerV2 promise: rotations exactly with gates and within a bound with grids, cells, direct forces."""

from dataclasses import replace

import pytest
import torch
from models.atoms.so3_networks import S2EF, batch, crystal, paper

from erlangen.errors import UserError
from erlangen.kernels import Kernels, kernel
from erlangen.models.paper import Paper
from erlangen.tasks.symmetry import act, cast, random_motion, symmetry_error

MODELS = ("equiformer_v2", "equiformer_v2_selfmix", "escn")


def rotation_error(network: Paper, generator: torch.Generator, element: str = "rotation") -> float:
    draws = [symmetry_error(network, batch(), S2EF, element, generator) for _ in range(3)]
    return max(error for draw in draws for error in draw.values())


@pytest.mark.parametrize("model", MODELS)
def test_with_gates_rotations_are_exact(model: str, generator: torch.Generator) -> None:
    network = paper(model, activation="gate")
    assert network.symmetries[0].kind == "exact"
    assert rotation_error(network, generator) < 1e-10
    errors = symmetry_error(network.float(), cast(batch(), S2EF, torch.float32), S2EF, "rotation", generator)
    assert max(errors.values()) < 1e-4


@pytest.mark.parametrize("model", MODELS)
def test_on_grids_rotations_are_as_good_as_the_grid(model: str, generator: torch.Generator) -> None:
    """The curve of error against resolution: each within the declared bound, and down by orders of magnitude."""
    curve = {}
    for resolution in (8, 16, 32):
        network = paper(model, activation="s2", resolution=resolution)
        (rotation,) = (s for s in network.symmetries if s.element == "rotation")
        assert rotation.kind == "approximate"
        assert rotation_error(network, generator) <= rotation.bound
        curve[resolution] = invariants_error(network)
    assert curve[8] > 30 * curve[16] > 900 * curve[32], curve


@torch.no_grad()
def invariants_error(network: Paper) -> float:
    """By how much a rotation changes the scalars that heads read, in units of their spread."""
    graph, generator = batch(), torch.Generator().manual_seed(1)
    motion = random_motion("rotation", graph, generator)
    before, after = (network.network.features(b) for b in (graph, act(graph, motion, S2EF)))
    return float((after - before).abs().max() / (before - before.mean(0)).abs().max())


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("activation", ["gate", "s2"])
def test_translations_and_permutations_are_exact(model: str, activation: str, generator: torch.Generator) -> None:
    network = paper(model, activation=activation)
    for element in ("translation", "permutation"):
        assert rotation_error(network, generator, element) < 1e-10


@pytest.mark.parametrize("model", MODELS)
def test_mirror_images_are_told_apart(model: str, generator: torch.Generator) -> None:
    """Reflections are promised by nothing: with full weights the imaginary parts see handedness."""
    network = paper(model)
    assert {s.element: s.kind for s in network.symmetries}["reflection"] == "learned"
    assert rotation_error(network, generator, "reflection") > 1e-3


def turned_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on every edge's frame is turned about the edge by an angle of its own."""
    from erlangen.nn import edge_frames

    conv_frames = edge_frames.conv_frames

    def frames(r: torch.Tensor) -> torch.Tensor:
        angle = torch.arange(len(r), dtype=r.dtype) * 0.7
        zero, one = torch.zeros_like(angle), torch.ones_like(angle)
        rows = (angle.cos(), zero, angle.sin(), zero, one, zero, -angle.sin(), zero, angle.cos())
        return torch.stack(rows, -1).unflatten(-1, (3, 3)) @ conv_frames(r)

    monkeypatch.setattr(edge_frames, "conv_frames", frames)


@pytest.mark.parametrize("model", MODELS)
def test_the_turn_of_a_frame_about_its_edge_does_not_matter(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    network = paper(model, activation="gate")
    before = network(batch())
    turned_frames(monkeypatch)
    after = network(batch())
    for name, value in before.items():
        torch.testing.assert_close(after[name], value, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("activation", ["gate", "s2"])
def test_periodic_images_are_the_same_structure(model: str, activation: str) -> None:
    """Atoms moved by lattice vectors change nothing; twice the cell has twice the energy and the same forces."""
    network = paper(model, activation=activation, cutoff=4.0)
    one = network.network(crystal())
    moved, twice = network.network(crystal(shift=True)), network.network(crystal(copies=2))
    for name, value in one.items():
        torch.testing.assert_close(moved[name], value, rtol=1e-9, atol=1e-11)
    torch.testing.assert_close(twice["energy"], 2 * one["energy"], rtol=1e-9, atol=1e-11)
    torch.testing.assert_close(twice["forces"], one["forces"].repeat(2, 1), rtol=1e-9, atol=1e-11)
    assert one["forces"].abs().max() > 1e-6


@pytest.mark.parametrize("model", MODELS)
def test_a_single_atom_and_coincident_atoms_are_defined(model: str) -> None:
    for together in (True, False):
        network = paper(model, activation="s2", direct_forces=False).train()
        graph = batch(1)
        if together:
            graph.pos[:] = 0.0
        else:
            graph.z, graph.pos, graph.batch, graph.ptr = (
                graph.z[:1],
                graph.pos[:1],
                graph.batch[:1],
                torch.tensor([0, 1]),
            )
        outputs = network(graph)
        (outputs["energy"].sum() + outputs["forces"].square().sum()).backward()
        assert all(value.isfinite().all() for value in outputs.values())
        assert all(p.grad.isfinite().all() for p in network.parameters() if p.grad is not None)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("direct", [True, False])
def test_the_blocked_kernel_trains_as_the_reference_does(model: str, direct: bool) -> None:
    """Loss and gradients by `kernels.s2_mlp=blocked`, also through forces that are a gradient themselves."""
    results = []
    for backend in ("reference", "blocked"):
        network = paper(model, activation="s2", direct_forces=direct)
        for module in network.modules():
            for value in vars(module).values():
                if isinstance(value, kernel.Kernel) and value.op == "s2_mlp":
                    value.choice = Kernels("reference", s2_mlp=backend)
        outputs = network.train()(batch(2))
        (outputs["energy"].square().sum() + outputs["forces"].square().sum()).backward()
        results.append([p.grad for p in network.parameters() if p.grad is not None])
    for want, found in zip(*results, strict=True):
        torch.testing.assert_close(found, want, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("targets", [1, 2])
@pytest.mark.parametrize("activation", ["gate", "s2"])
def test_every_parameter_has_a_gradient(model: str, targets: int, activation: str) -> None:
    """Also of an energy alone: a parameter that is left out would stop training on several devices."""
    network = paper(model, replace(S2EF, targets=S2EF.targets[:targets]), activation=activation).train()
    sum(value.square().sum() for value in network(batch(2)).values()).backward()
    assert [name for name, p in network.named_parameters() if p.grad is None] == []


@pytest.mark.parametrize("model", MODELS)
def test_it_runs_in_mixed_precision(model: str) -> None:
    network = paper(model, activation="s2").float()
    graph = cast(batch(2), S2EF, torch.float32)
    plain = network(graph)
    with torch.autocast("cpu", torch.bfloat16):
        mixed = network(graph)
    for name, value in plain.items():
        assert (mixed[name] - value).abs().max() < 0.1 * value.abs().max()


@pytest.mark.parametrize("model", MODELS)
def test_an_element_beyond_the_tables_is_named(model: str) -> None:
    with pytest.raises(UserError, match="atomic number 8; give more"):
        paper(model, elements=7)
