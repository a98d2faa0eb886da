"""Relaxing structures with a trained paper's forces, through ASE."""

from argparse import ArgumentParser
from pathlib import Path
from typing import NamedTuple

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator as ASECalculator
from ase.constraints import FixAtoms
from ase.optimize import LBFGS

from .errors import UserError


class Relaxation(NamedTuple):
    """A relaxed structure: steps taken, the largest force on an atom in the end (eV/Å), whether it is below what was asked."""

    atoms: Atoms
    steps: int
    fmax: float
    converged: bool


def relax(
    atoms: Atoms, calculator: ASECalculator, fmax: float, steps: int, trajectory: Path | None = None
) -> Relaxation:
    """Moves atoms by L-BFGS until all forces are below `fmax` (eV/Å), in at most so many steps; constraints are kept.

    The atoms given stay as they are. UserError where forces are not finite.

    Args:
        trajectory: an ASE trajectory to write, with every step.
    """
    if not fmax > 0 or steps < 1:
        raise UserError(f"a relaxation needs --fmax above 0 and --steps of 1 or more, not {fmax:g} and {steps}")
    atoms = atoms.copy()
    atoms.calc = calculator
    with LBFGS(atoms, logfile=None, trajectory=None if trajectory is None else str(trajectory)) as optimizer:
        for _ in optimizer.irun(fmax=fmax, steps=steps):
            largest = float(np.linalg.norm(atoms.get_forces(), axis=1).max())
            if not np.isfinite(largest):
                raise UserError(f"a force became NaN or infinite in step {optimizer.nsteps} of the relaxation")
        return Relaxation(atoms, optimizer.nsteps, largest, largest < fmax)


def hold_fixed(atoms: Atoms) -> Atoms:
    """With those atoms held that OC20 holds, of tag 0, where a structure has tags and no constraint of its own."""
    tags = atoms.get_tags()
    if atoms.constraints or not tags.any():
        return atoms
    atoms = atoms.copy()
    atoms.set_constraint(FixAtoms(mask=tags == 0))
    return atoms


def add_limits(parser: ArgumentParser) -> None:
    """The options that say when a relaxation ends."""
    parser.add_argument(
        "--fmax", type=float, default=0.05, help="relaxed when all forces are below this, in eV/Å (0.05)"
    )
    parser.add_argument("--steps", type=int, default=300, help="the most steps of a relaxation (300)")
