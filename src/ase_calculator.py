"""Structures of ASE as a trained paper takes them, and a trained paper as ASE takes it: a calculator."""

import ase.data
import ase.units
import numpy as np
import torch
from ase import Atoms
from ase.calculators.calculator import Calculator as ASECalculator
from ase.calculators.calculator import all_changes
from ase.constraints import FixAtoms
from torch_geometric.data import Batch

from .datamodules.files.structure import SMALLEST_CELL
from .datamodules.ragged import RaggedDataset
from .errors import UserError
from .models.paper import Paper
from .tasks.spec import Spec

ENERGIES = ("energy", "U0")
"""Targets that are a total energy at rest, which a calculator may serve."""
IN_EV = {"eV": 1.0, "meV": 1e-3, "kcal/mol": ase.units.kcal / ase.units.mol, "Ha": ase.units.Hartree}


class Calculator(ASECalculator):
    """An ASE calculator with a paper that predicts an energy; forces are its negative gradient where it predicts none.

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
        self.forces = next((target.name for target in paper.spec.targets if target.gradient_of == chosen), None)

    def calculate(self, atoms: Atoms, properties: list[str], system_changes: list[str] = all_changes) -> None:
        super().calculate(atoms, properties, system_changes)
        check_structure(atoms, self.paper.spec, "the structure")
        batch = to_dataset([atoms], self.paper.spec)[np.array([0])].to(self.paper.device)
        values = predict(self.paper, batch) if self.forces else self.with_gradient(batch)
        self.results = {
            "energy": float(values[self.target.name]) * self.scale,
            "forces": values[self.forces or "forces"].numpy(force=True) * self.scale,
        }

    def with_gradient(self, batch: Batch) -> dict[str, torch.Tensor]:
        """The energy, and its negative gradient as forces."""
        with torch.enable_grad():
            batch.pos.requires_grad_()
            energy = self.paper.normalizer.restore_atoms(self.paper.predict(batch), batch)[self.target.name]
            (gradient,) = torch.autograd.grad(energy.sum(), batch.pos)
        return {self.target.name: energy.detach(), "forces": -gradient.double()}


def predict(paper: Paper, batch: Batch) -> dict[str, torch.Tensor]:
    """Every target in its unit, in float64, energies with their free atoms."""
    gradients = any(target.gradient_of for target in paper.spec.targets)
    with torch.inference_mode(not gradients):
        values = paper.normalizer.restore_atoms(paper.predict(batch), batch)
    return {name: value.detach() for name, value in values.items()}


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
    vectors = atoms.cell.array[atoms.pbc]
    volume = np.sqrt(max(np.linalg.det(vectors @ vectors.T), 0.0))  # an area or a length where fewer are periodic
    if not volume > SMALLEST_CELL:
        raise UserError(f"{name}: its cell has no volume along the directions in which it is periodic")


def to_dataset(frames: list[Atoms], spec: Spec) -> RaggedDataset:
    """Structures as a data set that collates like the one a paper was trained on, with those of its fields."""
    ptr = np.concatenate([[0], np.cumsum([len(atoms) for atoms in frames])])
    nodes = {
        "z": np.concatenate([atoms.numbers for atoms in frames]).astype(np.int64),
        "pos": np.concatenate([atoms.positions for atoms in frames]).astype(np.float32),
    }
    nodes["tags"] = np.concatenate([atoms.get_tags() for atoms in frames]).astype(np.int64)
    nodes["fixed"] = np.concatenate([held(atoms) for atoms in frames])
    graphs = {
        "cell": np.stack([atoms.cell.array for atoms in frames]).astype(np.float32),
        "pbc": np.stack([atoms.pbc for atoms in frames]),
    }
    nodes, graphs = ({name: known[name] for name in known if name in spec.fields} for known in (nodes, graphs))
    return RaggedDataset(ptr, nodes, {"id": np.arange(len(frames)), **graphs})


def held(atoms: Atoms) -> np.ndarray:
    """Which atoms a structure's constraints hold in place."""
    mask = np.zeros(len(atoms), bool)
    for constraint in atoms.constraints:
        if isinstance(constraint, FixAtoms):
            mask[constraint.index] = True
    return mask
