"""erlangen predict RUN --input FILE: a trained paper on structures of one's own."""

import argparse
from pathlib import Path
from typing import Any

import ase.io
import ase.units
import numpy as np
import pandas as pd
import torch
from ase import Atoms
from ase.calculators.calculator import Calculator as ASECalculator
from ase.calculators.calculator import all_changes
from torch_geometric.data import Batch

from .datamodules.ragged import RaggedDataset
from .errors import UserError
from .models.paper import Paper
from .runs.console import console
from .runs.loading import load_run
from .tasks.spec import Spec

BATCH_SIZE = 256
ENERGIES = ("energy", "U0")
"""Targets that are a total energy at rest, which a calculator may serve."""
IN_EV = {"eV": 1.0, "meV": 1e-3, "kcal/mol": ase.units.kcal / ase.units.mol, "Ha": ase.units.Hartree}


def read_structures(path: Path, spec: Spec) -> list[Atoms]:
    """Every frame of any file that ASE reads, refused where a network of this spec could not take it."""
    if not path.exists():
        raise UserError(f"--input: there is no file {path}")
    try:
        frames = ase.io.read(path, index=":")
    except Exception as error:  # ASE's readers raise whatever they stumble on
        raise UserError(f"{path} cannot be read: {type(error).__name__}: {error}{where_unreadable(path)}") from error
    for number, atoms in enumerate(frames, start=1):
        check_structure(atoms, spec, f"{path}, structure {number}")
    return frames


def where_unreadable(path: Path) -> str:
    """For an .xyz file, the first line that is no atom where one is due."""
    if path.suffix != ".xyz":
        return ""
    lines = path.read_text(errors="replace").splitlines()
    at = 0
    while at < len(lines):
        if not lines[at].strip().isdigit():
            return f" (line {at + 1}: {lines[at]!r} is no number of atoms)"
        for row in range(at + 2, at + 2 + int(lines[at])):
            parts = lines[row].split() if row < len(lines) else []
            try:
                [float(part) for part in parts[1:4]]
            except ValueError:
                parts = []
            if len(parts) < 4:
                found = repr(lines[row]) if row < len(lines) else "the end of the file"
                return f" (line {row + 1}: {found} is no element and three coordinates)"
        at += 2 + int(lines[at])
    return ""


def check_structure(atoms: Atoms, spec: Spec, name: str) -> None:
    """Raises UserError for what the training data had nothing of."""
    known = spec.fields["z"].categories
    unknown = sorted(set(atoms.numbers.tolist()) - set(known))
    if unknown:
        where = int(np.flatnonzero(np.isin(atoms.numbers, unknown))[0])
        elements = ", ".join(ase.data.chemical_symbols[z] for z in known)
        raise UserError(
            f"{name}: atom {where + 1} is {atoms.symbols[where]}, which {spec.benchmark} does not have; it has {elements}"
        )
    if len(atoms) == 0 or not np.isfinite(atoms.positions).all():
        raise UserError(f"{name}: {'no atoms' if len(atoms) == 0 else 'a coordinate is not a finite number'}")
    if atoms.pbc.any() and "cell" not in spec.fields:
        raise UserError(f"{name} is periodic, and {spec.benchmark} has molecules only: remove the cell")


def to_dataset(frames: list[Atoms]) -> RaggedDataset:
    """Structures as a data set that collates like the one a paper was trained on."""
    ptr = np.concatenate([[0], np.cumsum([len(atoms) for atoms in frames])])
    nodes = {
        "z": np.concatenate([atoms.numbers for atoms in frames]).astype(np.int64),
        "pos": np.concatenate([atoms.positions for atoms in frames]).astype(np.float32),
    }
    return RaggedDataset(ptr, nodes, {"id": np.arange(len(frames))})


def predict(paper: Paper, batch: Batch) -> dict[str, torch.Tensor]:
    """Every target in its unit, in float64, energies with their free atoms."""
    gradients = any(target.gradient_of for target in paper.spec.targets)
    with torch.inference_mode(not gradients):
        return paper.normalizer.restore_atoms(paper.predict(batch), batch)


def predict_frames(paper: Paper, frames: list[Atoms]) -> pd.DataFrame:
    """One row a structure, one column a sample-level target, named "target [unit]"."""
    dataset = to_dataset(frames)
    batches = [
        predict(paper, dataset[np.arange(start, min(start + BATCH_SIZE, len(dataset)))])
        for start in range(0, len(dataset), BATCH_SIZE)
    ]
    table: dict[str, Any] = {
        "structure": range(1, len(frames) + 1),
        "formula": [a.get_chemical_formula() for a in frames],
    }
    for target in paper.spec.targets:
        if target.level == "graph":
            values = torch.cat([batch[target.name] for batch in batches])
            table[f"{target.name} [{target.unit}]" if target.unit else target.name] = values.cpu().numpy()
    return pd.DataFrame(table)


class Calculator(ASECalculator):
    """An ASE calculator with a paper that predicts an energy; forces are its negative gradient where it gives none.

    Args:
        paper: from `erlangen.load`.
        energy: the target to serve as the energy; by default the first that is a total energy at rest.
    """

    implemented_properties = ("energy", "forces")

    def __init__(self, paper: Paper, energy: str | None = None):
        super().__init__()
        names = [target.name for target in paper.spec.targets]
        chosen = energy or next((name for name in names if name in ENERGIES), None)
        if chosen not in names:
            raise UserError(
                f"a calculator needs a paper that predicts an energy ({' or '.join(ENERGIES)}), and this one predicts "
                f"{', '.join(names)}"
            )
        self.paper, self.target = paper, paper.spec.target(chosen)
        self.scale = IN_EV[self.target.unit]

    def calculate(self, atoms: Atoms, properties: list[str], system_changes: list[str] = all_changes) -> None:
        super().calculate(atoms, properties, system_changes)
        check_structure(atoms, self.paper.spec, "the structure")
        batch = to_dataset([atoms])[np.array([0])]
        with torch.enable_grad():
            batch.pos.requires_grad_()
            energy = self.paper.normalizer.restore_atoms(self.paper.predict(batch), batch)[self.target.name]
            (gradient,) = torch.autograd.grad(energy.sum(), batch.pos)
        self.results = {
            "energy": float(energy.detach()) * self.scale,
            "forces": -gradient.double().numpy() * self.scale,
        }


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(
        "erlangen predict", description="Predict for the structures in a file, with units."
    )
    parser.add_argument("run", help="a run's folder, or a checkpoint")
    parser.add_argument("--input", type=Path, required=True, help="molecules in any format that ASE reads")
    parser.add_argument("--output", type=Path, help="a .csv file to write (default: print)")
    options = parser.parse_args(arguments)
    paper, _ = load_run(options.run)
    if paper.spec.modality != "atoms":
        raise UserError(f"{options.run} was trained on {paper.spec.modality}; predict reads structures of atoms")
    table = predict_frames(paper, read_structures(options.input, paper.spec))
    if options.output:
        table.to_csv(options.output, index=False)
        console.print(f"{len(table)} structures: {options.output}")
    else:
        console.print(table.to_string(index=False), markup=False)
