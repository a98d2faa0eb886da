"""IS2RS, and IS2RE by relaxation: what comes of relaxing OC20's initial structures with a run that was trained on S2EF."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator as ASECalculator
from ase.constraints import FixAtoms
from rich.progress import track

from .ase_calculator import Calculator
from .datamodules.files.structure import Structure
from .datamodules.oc20 import OC20
from .errors import UserError
from .relaxation import relax
from .runs.assemble import build_data
from .runs.console import console
from .runs.loading import load_run
from .tasks.oc20 import ENERGY_THRESHOLD, SPLITS
from .tasks.relaxed import adwt, mean_distance

UNITS = {"adwt": "", "unmoved_adwt": "", "energy_mae": "eV", "ewt": "", "converged": "", "steps": ""}
"""What a relaxation of OC20's initial structures is scored by; `unmoved_adwt` is the floor: structures as they were."""


def is2rs(run: str, count: int, fmax: float, steps: int, device: str) -> dict[str, Any]:
    """Relaxes initial structures of IS2RE with a run that was trained on S2EF, on the data that it was trained on.

    Args:
        run: a run's folder or a checkpoint.
        count: structures of each split, the same in every call.
        fmax, steps: when a relaxation ends, see `relax`.
        device: where the network computes.

    Returns:
        {metric: {"value", "unit"}}, for each split and their mean: `UNITS`.
    """
    paper, config = load_run(run)
    if not {"energy", "forces"} <= {target.name for target in paper.spec.targets} or "fixed" not in paper.spec.fields:
        raise UserError(f"--relax is for runs on OC20's S2EF (data=oc20), and {run} is of {paper.spec.benchmark}")
    options = {"task": "is2re", "size": "10k", "source": paper.spec.source, "train_size": None, "val_size": None}
    datamodule = build_data({**config, "data": {**config["data"], **options, "test_size": count}})
    calculator = Calculator(paper.to(device))
    rows = [
        (split, *scores(structure, energy, calculator, fmax, steps))
        for split, structure, energy in track(
            list(initial_structures(datamodule)), "relaxing", transient=True, console=console
        )
    ]
    return summary(rows)


def initial_structures(datamodule: OC20) -> Iterator[tuple[int, Structure, float]]:
    """The split's number, the structure with its relaxed positions, and the relaxed energy, of every test structure."""
    dataset = datamodule.splits["test"]
    for index in range(len(dataset)):
        part, row = dataset.find(index)
        yield part.number, dataset.structure(index), float(part.energy[row])


def scores(
    structure: Structure, energy: float, calculator: ASECalculator, fmax: float, steps: int
) -> tuple[float, float, float, float, float]:
    """Mean distance to the reference after and before, error of the energy, whether it converged, and steps."""
    cell = structure.cell.astype(np.float64)
    atoms = Atoms(structure.z, structure.pos, cell=cell, pbc=True, tags=structure.tags)
    atoms.set_constraint(FixAtoms(mask=structure.fixed))
    done = relax(atoms, calculator, fmax, steps)
    before, after = (
        mean_distance(pos.astype(np.float64), structure.relaxed.astype(np.float64), cell, ~structure.fixed)
        for pos in (structure.pos, done.atoms.positions)
    )
    return after, before, abs(done.atoms.get_potential_energy() - energy), float(done.converged), float(done.steps)


def summary(rows: list[tuple[int, float, float, float, float, float]]) -> dict[str, Any]:
    table = np.array(rows)
    by_split = {}
    for number, split in enumerate(SPLITS):
        after, before, error, converged, steps = table[table[:, 0] == number, 1:].T
        by_split[split] = {
            "adwt": adwt(after),
            "unmoved_adwt": adwt(before),
            "energy_mae": float(error.mean()),
            "ewt": float((error < ENERGY_THRESHOLD).mean()),
            "converged": float(converged.mean()),
            "steps": float(steps.mean()),
        }
    found = {name: float(np.mean([values[name] for values in by_split.values()])) for name in UNITS}
    found |= {f"{name}_{split}": values[name] for split, values in by_split.items() for name in UNITS}
    return {name: {"value": value, "unit": unit_of(name)} for name, value in found.items()}


def unit_of(name: str) -> str:
    return next((unit for metric, unit in UNITS.items() if name.startswith(metric)), "")
