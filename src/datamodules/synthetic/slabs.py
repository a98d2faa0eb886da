"""OC20's miniature: adsorbates on fcc metals and alloys, relaxed and labelled by the EMT potential, in OC20's own files.

EMT (Jacobsen, Stoltze, Nørskov 1996, doi:10.1016/0039-6028(96)00816-3, in ASE) is a real many-body potential for Al, Cu,
Ag, Au, Ni, Pd and Pt; its H, C, N and O are toys. It is right for learning curves, symmetries and speed, not for chemistry.

As in OC20, the four validation splits differ from training in what they are made of: the same adsorbates and catalysts in new
systems (id), new adsorbates, new catalysts, or both; every element occurs in training. Energies are adsorption energies,
referenced to the bare relaxed slab and to H2, H2O, CO and N2; the layers below the surface are held in place.
"""

import itertools
import logging
import pickle
import shutil
import sys
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import lmdb
import numpy as np
import torch
from ase import Atoms
from ase.build import fcc100, fcc110, fcc111
from ase.calculators.emt import EMT
from ase.constraints import FixAtoms
from ase.data import atomic_numbers, covalent_radii, reference_states
from ase.optimize import BFGS
from filelock import FileLock
from rich.progress import track
from torch_geometric.data import Data

from ..files.oc20_official import IS2RE, S2EF, SIZES, VALIDATION
from ..files.oc20_raw import wrapped, write_pair
from ..files.structure import Structure

log = logging.getLogger("erlangen")

VERSION = 2
"""To be raised with every change of the systems, so that old ones are not taken for new ones."""
SYSTEMS = {"train": 300, **dict.fromkeys(VALIDATION, 40)}
FRAMES_PER_SYSTEM = 10
FRAMES_PER_FILE = 500
STEPS, FORCE = 60, 0.05
"""When a relaxation ends: after so many steps, or when no force is larger (eV/Å)."""
LARGEST_ENERGY, LARGEST_FORCE = 10.0, 50.0
"""eV and eV/Å; structures beyond them are left out, as in OC20."""

METALS = ("Al", "Ni", "Cu", "Pd", "Ag", "Pt", "Au")
CATALYSTS = (*((metal,) for metal in METALS), *itertools.combinations(METALS, 2))
NEW_CATALYSTS = tuple(catalyst for catalyst in CATALYSTS if len(catalyst) == 2 and {"Al", "Au"} & {*catalyst})
"""All alloys of aluminium or gold, which occur in training as pure metals only."""
SURFACES = ((fcc111, (2, 2, 4)), (fcc111, (3, 3, 3)), (fcc100, (3, 2, 3)), (fcc110, (2, 2, 4)))
VACUUM = 10.0
"""Å on either side of a slab."""

ADSORBATES = {
    "H": (("H",), ((0, 0, 0),)),
    "C": (("C",), ((0, 0, 0),)),
    "N": (("N",), ((0, 0, 0),)),
    "O": (("O",), ((0, 0, 0),)),
    "CH": (("C", "H"), ((0, 0, 0), (0, 0, 1.09))),
    "NH": (("N", "H"), ((0, 0, 0), (0, 0, 1.02))),
    "OH": (("O", "H"), ((0, 0, 0), (0.75, 0, 0.61))),
    "CO": (("C", "O"), ((0, 0, 0), (0, 0, 1.15))),
    "NO": (("N", "O"), ((0, 0, 0), (0, 0, 1.16))),
    "N2": (("N", "N"), ((0, 0, 0), (0, 0, 1.10))),
    "CH2": (("C", "H", "H"), ((0, 0, 0), (0.91, 0, 0.61), (-0.91, 0, 0.61))),
    "NH2": (("N", "H", "H"), ((0, 0, 0), (0.81, 0, 0.63), (-0.81, 0, 0.63))),
    "OH2": (("O", "H", "H"), ((0, 0, 0), (0.76, 0, 0.59), (-0.76, 0, 0.59))),
    "COH": (("C", "O", "H"), ((0, 0, 0), (0, 0, 1.33), (0.91, 0, 1.64))),
    "CHO": (("C", "H", "O"), ((0, 0, 0), (-0.95, 0, 0.55), (1.03, 0, 0.62))),
    "NOH": (("N", "O", "H"), ((0, 0, 0), (0, 0, 1.38), (0.93, 0, 1.66))),
    "CH3": (("C", "H", "H", "H"), ((0, 0, 0), (1.03, 0, 0.36), (-0.515, 0.892, 0.36), (-0.515, -0.892, 0.36))),
    "NH3": (("N", "H", "H", "H"), ((0, 0, 0), (0.94, 0, 0.38), (-0.47, 0.814, 0.38), (-0.47, -0.814, 0.38))),
}
"""Elements and positions in Å, the first atom next to the surface."""
NEW_ADSORBATES = ("OH", "NO", "OH2", "COH", "CHO", "NOH")
"""All with oxygen beside hydrogen or nitrogen; in training it is alone or bound to carbon."""


class Frame(NamedTuple):
    """One step of a relaxation: positions in Å, total energy in eV, forces in eV/Å on all atoms, held ones included."""

    pos: np.ndarray
    energy: float
    forces: np.ndarray


def relax(atoms: Atoms) -> list[Frame]:
    """Relaxes atoms in place; all frames, the first and the last included."""
    atoms.calc = EMT()
    return [
        Frame(atoms.get_positions(), float(atoms.get_potential_energy()), atoms.get_forces(apply_constraint=False))
        for _ in BFGS(atoms, logfile=None).irun(fmax=FORCE, steps=STEPS)
    ]


class Laboratory:
    """Makes systems one by one, each the same whenever it is made; bare slabs and molecules are relaxed once."""

    def __init__(self) -> None:
        self.slabs: dict[tuple[tuple[str, ...], int], tuple[Atoms, float]] = {}

    @cached_property
    def chemical_potentials(self) -> dict[str, float]:
        """eV for each element of an adsorbate, from H2, H2O, CO and N2 as in OC20."""
        molecules = {
            "H2": Atoms("H2", [(0, 0, 0), (0, 0, 0.74)]),
            "H2O": Atoms("OH2", [(0, 0, 0), (0.76, 0, 0.59), (-0.76, 0, 0.59)]),
            "CO": Atoms("CO", [(0, 0, 0), (0, 0, 1.13)]),
            "N2": Atoms("N2", [(0, 0, 0), (0, 0, 1.10)]),
        }
        energy = {name: relax(atoms)[-1].energy for name, atoms in molecules.items()}
        oxygen = energy["H2O"] - energy["H2"]
        return {"H": energy["H2"] / 2, "N": energy["N2"] / 2, "O": oxygen, "C": energy["CO"] - oxygen}

    def slab(self, catalyst: tuple[str, ...], surface: int) -> tuple[Atoms, float]:
        """A relaxed bare slab and its energy; the sites of an alloy are taken at random."""
        key = (catalyst, surface)
        if key not in self.slabs:
            build, size = SURFACES[surface]
            lattice = np.mean([reference_states[atomic_numbers[metal]]["a"] for metal in catalyst])
            atoms = build(catalyst[0], size, a=float(lattice), vacuum=VACUUM)
            rng = np.random.default_rng([VERSION, CATALYSTS.index(catalyst), surface])
            atoms.symbols = rng.permutation(np.resize(catalyst, len(atoms)))
            atoms.pbc = True
            top = atoms.get_tags() == 1
            atoms.set_tags(top.astype(int))
            atoms.set_constraint(FixAtoms(mask=~top))
            self.slabs[key] = atoms, relax(atoms)[-1].energy
        return self.slabs[key]

    def relaxation(self, split: str, number: int) -> list[Structure]:
        """The frames of a system's relaxation; [] where it ends in a structure that OC20 would leave out."""
        rng = np.random.default_rng([VERSION, list(SYSTEMS).index(split), number])
        catalyst, adsorbate = draw(split, rng)
        slab, bare = self.slab(catalyst, int(rng.integers(len(SURFACES))))
        symbols, shape = ADSORBATES[adsorbate]
        reference = bare + sum(self.chemical_potentials[symbol] for symbol in symbols)
        atoms = slab + Atoms(symbols, place(slab, symbols, np.array(shape, float), rng), tags=[2] * len(symbols))
        fixed = np.zeros(len(atoms), bool)
        fixed[: len(slab)] = slab.get_tags() == 0
        frames = [
            Structure(
                z=atoms.numbers.astype(np.int64),
                pos=frame.pos,
                cell=atoms.cell.array,
                tags=atoms.get_tags().astype(np.int64),
                fixed=fixed,
                energy=frame.energy,
                reference=reference,
                forces=frame.forces,
                sid=10_000 * list(SYSTEMS).index(split) + number,
                fid=fid,
            )
            for fid, frame in enumerate(relax(atoms))
        ]
        return frames if acceptable(frames[-1]) else []


def draw(split: str, rng: np.random.Generator) -> tuple[tuple[str, ...], str]:
    """The catalyst and the adsorbate of a system."""
    new_catalyst, new_adsorbate = split in ("val_ood_cat", "val_ood_both"), split in ("val_ood_ads", "val_ood_both")
    catalysts = [catalyst for catalyst in CATALYSTS if (catalyst in NEW_CATALYSTS) == new_catalyst]
    adsorbates = [name for name in ADSORBATES if (name in NEW_ADSORBATES) == new_adsorbate]
    return catalysts[rng.integers(len(catalysts))], adsorbates[rng.integers(len(adsorbates))]


def place(slab: Atoms, symbols: tuple[str, ...], shape: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """An adsorbate's positions: turned about the normal, anywhere over the slab, up to 0.6 Å above where atoms would touch."""
    angle = rng.uniform(0, 2 * np.pi)
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    positions = shape @ turn.T + rng.uniform(0, 1, 2) @ slab.cell[:2]
    images = np.concatenate([slab.positions + np.array([i, j]) @ slab.cell[:2] for i in (-1, 0, 1) for j in (-1, 0, 1)])
    radii = covalent_radii[[atomic_numbers[symbol] for symbol in symbols]]
    touching = 0.9 * (radii[:, None] + np.tile(covalent_radii[slab.numbers], 9))
    offset = positions[:, None] - images
    across = np.square(offset[..., :2]).sum(-1)
    above = np.sqrt(np.clip(np.square(touching) - across, 0, None))
    lift = np.where(across < np.square(touching), above - offset[..., 2], -np.inf).max()
    return positions + [0, 0, lift + rng.uniform(0, 0.6)]


def acceptable(structure: Structure) -> bool:
    """Whether OC20 would keep it."""
    largest = np.abs(structure.forces[~structure.fixed]).max()
    return bool(abs(structure.energy - structure.reference) <= LARGEST_ENERGY and largest <= LARGEST_FORCE)


def write_miniature(root: Path) -> Path:
    """The folder with all splits of S2EF and IS2RE, made in `root` unless it is there (a minute or two)."""
    folder = root / f"miniature-{VERSION}"
    root.mkdir(parents=True, exist_ok=True)
    with FileLock(root / ".miniature.lock"):
        if not folder.exists():
            log.warning(
                "relaxing %d slabs with EMT, once (a minute or two); they are kept in %s", sum(SYSTEMS.values()), root
            )
            temporary = root / ".miniature.partial"
            shutil.rmtree(temporary, ignore_errors=True)  # left by a process that was killed
            try:
                write_splits(temporary)
                temporary.rename(folder)
            finally:
                shutil.rmtree(temporary, ignore_errors=True)
    return folder


def write_splits(folder: Path) -> None:
    laboratory = Laboratory()
    systems = [(split, number) for split, count in SYSTEMS.items() for number in range(count)]
    relaxations: dict[str, list[list[Structure]]] = {split: [] for split in SYSTEMS}
    for split, number in track(systems, "relaxing slabs", transient=True, disable=not sys.stdout.isatty()):
        frames = laboratory.relaxation(split, number)
        if frames:
            relaxations[split].append(frames)
    for split, of_split in relaxations.items():
        name = SIZES["s2ef"][0] if split == "train" else split
        write_s2ef(folder / S2EF[name].folder, of_split)
        size = SIZES["is2re"][0] if split == "train" else "all"
        write_is2re(folder / IS2RE.folder / "data" / "is2re" / size / split, of_split)


def write_s2ef(folder: Path, relaxations: list[list[Structure]]) -> None:
    """Raw files with some frames of every relaxation, in random order."""
    rng = np.random.default_rng([VERSION, len(relaxations)])
    chosen: list[Structure] = []
    for frames in relaxations:
        kept = [frame for frame in frames if acceptable(frame)]
        chosen += [kept[index] for index in rng.permutation(len(kept))[:FRAMES_PER_SYSTEM]]
    chosen = [chosen[index] for index in rng.permutation(len(chosen))]
    folder.mkdir(parents=True)
    for number, first in enumerate(range(0, len(chosen), FRAMES_PER_FILE)):
        write_pair(folder, str(number), chosen[first : first + FRAMES_PER_FILE])


def write_is2re(folder: Path, relaxations: list[list[Structure]]) -> None:
    """`data.lmdb` with the initial structure and the relaxed energy of every system, referenced as the official ones are."""
    folder.mkdir(parents=True)
    path = str(folder / "data.lmdb")
    with (
        lmdb.open(path, subdir=False, map_size=1 << 30, lock=False) as environment,
        environment.begin(write=True) as transaction,
    ):
        for key, frames in enumerate(relaxations):
            transaction.put(str(key).encode(), pickle.dumps(to_pyg(frames[0], frames[-1]), protocol=4))
        transaction.put(b"length", pickle.dumps(len(relaxations), protocol=4))


def to_pyg(first: Structure, last: Structure) -> Data:
    """A PyG object with the fields of the official IS2RE files."""
    return Data(
        pos=torch.from_numpy(wrapped(first.pos, first.cell)).float(),
        pos_relaxed=torch.from_numpy(wrapped(last.pos, last.cell)).float(),
        cell=torch.from_numpy(first.cell).float()[None],
        atomic_numbers=torch.from_numpy(first.z).float(),
        natoms=len(first.z),
        tags=torch.from_numpy(first.tags),
        fixed=torch.from_numpy(first.fixed).float(),
        y_init=first.energy - first.reference,
        y_relaxed=last.energy - last.reference,
        sid=first.sid,
    )
