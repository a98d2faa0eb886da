"""MACE and TFN as potentials, with each of their products: promises, images, supercells, forces."""

import pytest
import torch
from models.atoms.so3_networks import S2EF, batch, crystal
from synthetic import randomize, synthetic_batch

from erlangen.runs.assemble import build_paper
from erlangen.runs.config import compose_config, resolved
from erlangen.runs.pairing import default_data, mismatch, model_class
from erlangen.tasks.symmetry import cast, symmetry_error

NETWORKS = [(model, product) for model in ("mace", "tfn") for product in ("cg", "gaunt")]


def network(model: str, product: str, spec=S2EF, **overrides):
    settings = {**model_class(model).tiny, "cutoff": 4.0, "product": product, **overrides}
    words = [f"model={model}", "kernels=reference", *(f"model.{key}={value}" for key, value in settings.items())]
    built = build_paper(resolved(*compose_config(words)), spec).double().eval()
    randomize(built)
    return built


@pytest.mark.parametrize(("model", "product"), NETWORKS)
def test_periodic_images_are_the_same_structure(model: str, product: str) -> None:
    """Atoms moved by lattice vectors change nothing; twice the cell has twice the energy (but for a bias), the same forces."""
    potential = network(model, product)
    one, moved, twice = (potential(c) for c in (crystal(), crystal(shift=True), crystal(copies=2)))
    for name, value in one.items():
        torch.testing.assert_close(moved[name], value, rtol=1e-9, atol=1e-11)
    bias = potential.network.network.head.bias
    torch.testing.assert_close(twice["energy"] - bias, 2 * (one["energy"] - bias), rtol=1e-9, atol=1e-11)
    torch.testing.assert_close(twice["forces"], one["forces"].repeat(2, 1), rtol=1e-9, atol=1e-11)
    assert one["forces"].abs().max() > 1e-6


@pytest.mark.parametrize(("model", "product"), NETWORKS)
def test_forces_are_the_energys_slope(model: str, product: str) -> None:
    potential, step = network(model, product), 1e-5
    forces = potential(crystal())["forces"]
    for atom in range(2):
        for axis in range(3):
            energies = []
            for sign in (1, -1):
                moved = crystal()
                moved.pos[atom, axis] += sign * step
                energies.append(potential(moved)["energy"].item())
            slope = (energies[0] - energies[1]) / (2 * step)
            assert abs(slope + forces[atom, axis].item()) < 1e-6 * forces.abs().max().item()


@pytest.mark.parametrize(("model", "product"), NETWORKS)
def test_every_product_keeps_its_promises(model: str, product: str, generator: torch.Generator) -> None:
    """Of energies and forces of molecules; with Gaunt products mirror images too."""
    potential = network(model, product)
    exact = [symmetry.element for symmetry in potential.symmetries if symmetry.kind == "exact"]
    assert ("reflection" in exact) == (model == "mace" or product == "gaunt")
    for element in exact:
        assert max(symmetry_error(potential, batch(), S2EF, element, generator).values()) < 1e-9, element


@pytest.mark.parametrize(("model", "product"), NETWORKS)
def test_they_take_oc20(model: str, product: str) -> None:
    oc20 = default_data("oc20")
    assert not mismatch(model_class(model), oc20)
    potential = network(model, product, oc20.spec).train()
    outputs = potential(cast(synthetic_batch(oc20.spec), oc20.spec, torch.float64))
    (outputs["energy"].sum() + outputs["forces"].square().sum()).backward()
    assert all(p.grad.isfinite().all() for p in potential.parameters() if p.grad is not None)
    assert any(p.grad.abs().max() > 0 for p in potential.parameters() if p.grad is not None)
