"""erlangen predict RUN --input FILE: a trained paper on structures of one's own, as they are or relaxed first."""

import argparse
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
import pandas as pd
import torch
from ase import Atoms
from rich.progress import track

from .ase_calculator import Calculator, check_structure, predict, to_dataset
from .errors import UserError
from .models.paper import Paper
from .relaxation import Relaxation, add_limits, hold_fixed, relax
from .runs.console import console
from .runs.loading import load_run
from .tasks.spec import Spec

ATOMS = 4096
"""Of a batch, at most."""


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


def predict_frames(paper: Paper, frames: list[Atoms]) -> pd.DataFrame:
    """One row a structure, one column a sample-level target, named "target [unit]"."""
    dataset = to_dataset(frames, paper.spec)
    size = max(1, ATOMS // max(len(atoms) for atoms in frames))
    rows = np.split(np.arange(len(frames)), range(size, len(frames), size))
    batches = [predict(paper, dataset[some].to(paper.device)) for some in rows]
    table: dict[str, Any] = {
        "structure": range(1, len(frames) + 1),
        "formula": [a.get_chemical_formula() for a in frames],
    }
    for target in paper.spec.targets:
        if target.level == "graph":
            values = torch.cat([batch[target.name] for batch in batches])
            table[f"{target.name} [{target.unit}]" if target.unit else target.name] = values.cpu().numpy()
    return pd.DataFrame(table)


def relax_frames(paper: Paper, frames: list[Atoms], folder: Path, fmax: float, steps: int) -> list[Relaxation]:
    """Relaxes every structure; trajectories 1.traj, … and all that came of them, relaxed.extxyz, go to a new folder."""
    calculator = Calculator(paper)
    try:
        folder.mkdir(parents=True)
    except OSError as error:
        raise UserError(f"--relax: cannot make the folder {folder}: {error.strerror}; name another one") from None
    if "fixed" in paper.spec.fields:
        frames = [hold_fixed(atoms) for atoms in frames]
        if loose := [str(number) for number, atoms in enumerate(frames, start=1) if not atoms.constraints]:
            console.print(f"all atoms will move, none is fixed by a constraint or a tag: structure {', '.join(loose)}")
    done = []
    for number, atoms in enumerate(track(frames, "relaxing", transient=True, console=console), start=1):
        done.append(relax(atoms, calculator, fmax, steps, folder / f"{number}.traj"))
        ase.io.write(folder / "relaxed.extxyz", done[-1].atoms, format="extxyz", append=True)
    return done


def with_relaxations(table: pd.DataFrame, done: list[Relaxation]) -> pd.DataFrame:
    """What came of each relaxation, beside what is predicted for where it ended."""
    table = table.assign(steps=[one.steps for one in done])
    table["largest force [eV/Å]"] = [one.fmax for one in done]
    return table.assign(converged=["yes" if one.converged else "NO" for one in done])


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(
        "erlangen predict", description="Predict for the structures in a file, with units."
    )
    parser.add_argument("run", help="a run's folder, or a checkpoint")
    parser.add_argument("--input", type=Path, required=True, help="structures in any format that ASE reads")
    parser.add_argument("--output", type=Path, help="a .csv file to write (default: print)")
    parser.add_argument(
        "--relax", type=Path, metavar="FOLDER", help="relax them first, and write the trajectories there"
    )
    add_limits(parser)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options = parser.parse_args(arguments)
    paper, _ = load_run(options.run)
    if paper.spec.modality != "atoms":
        raise UserError(f"{options.run} was trained on {paper.spec.modality}; predict reads structures of atoms")
    paper.to(options.device)
    frames, done = read_structures(options.input, paper.spec), []
    if options.relax:
        done = relax_frames(paper, frames, options.relax, options.fmax, options.steps)
        frames = [one.atoms for one in done]
    table = predict_frames(paper, frames)
    if done:
        table = with_relaxations(table, done)
    if options.output:
        table.to_csv(options.output, index=False)
        console.print(f"{len(table)} structures: {options.output}")
    else:
        console.print(table.to_string(index=False), markup=False)
    if done:
        console.print(f"relaxed structures: {options.relax}/relaxed.extxyz")
        if left := [str(number) for number, one in enumerate(done, start=1) if not one.converged]:
            console.print(
                f"NOT CONVERGED in {options.steps} steps, forces above {options.fmax:g} eV/Å: structure {', '.join(left)}"
            )
