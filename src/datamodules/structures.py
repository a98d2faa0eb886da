"""Atomistic structures that stay in their files: read when a batch asks for them, checked, and collated."""

import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from rich.progress import track
from torch.utils.data import Dataset
from torch_geometric.data import Batch, Data

from ..errors import UserError
from .files.aselmdb import AseStructures
from .files.cache import cached_arrays
from .files.structure import Store, Structure, fault

RAW = 10.0
"""eV; OC20 holds no adsorption energy above it, and the total energies of DFT are hundreds."""


class Part(NamedTuple):
    """Some structures of a store.

    Args:
        store: where they are.
        natoms: of every structure of the store.
        energy: eV, of every structure of the store, referenced or total as the benchmark wants it.
        rows: which ones belong to the part; None for all.
        number: what their batches have in the field `split`.
    """

    store: Store
    natoms: np.ndarray
    energy: np.ndarray
    rows: np.ndarray | None
    number: int

    @property
    def size(self) -> int:
        return len(self.store) if self.rows is None else len(self.rows)

    def row(self, place: int) -> int:
        return place if self.rows is None else int(self.rows[place])

    def chosen(self, values: np.ndarray) -> np.ndarray:
        return values if self.rows is None else values[self.rows]


class StructureDataset(Dataset):
    """Parts of stores, one after the other. `dataset[indices]` is a PyG `Batch`.

    Its fields: z, pos, tags, fixed of the atoms; cell, pbc, energy, split and id of the structures; and forces, if asked for.

    Args:
        parts: at least one.
        forces: whether the structures have them, and are of no use without.
        known: the largest atomic number to be accepted.
    """

    def __init__(self, parts: list[Part], forces: bool, known: int):
        self.parts, self.forces, self.known = parts, forces, known
        self.ends = np.cumsum([part.size for part in parts])

    def __len__(self) -> int:
        return int(self.ends[-1])

    @property
    def natoms(self) -> np.ndarray:
        return np.concatenate([part.chosen(part.natoms) for part in self.parts])

    @property
    def energies(self) -> np.ndarray:
        return np.concatenate([part.chosen(part.energy) for part in self.parts])

    def find(self, index: int) -> tuple[Part, int]:
        """The part and the row in its store of a sample."""
        number = int(np.searchsorted(self.ends, index, side="right"))
        part = self.parts[number]
        return part, part.row(index - (int(self.ends[number - 1]) if number else 0))

    def structure(self, index: int) -> Structure:
        """A sample as it is stored; UserError where it is damaged, naming file and key."""
        part, row = self.find(index)
        structure = part.store.read(row)
        reason = fault(structure, self.known)
        if not reason and self.forces and structure.forces is None:
            reason = "no forces"
        if reason:
            raise UserError(f"{part.store.where(row)}: {reason}")
        return structure

    def __getitem__(self, indices: np.ndarray | list[int]) -> Batch:
        indices = np.asarray(indices).tolist()
        structures = [self.structure(index) for index in indices]
        found = [self.find(index) for index in indices]
        sizes = torch.tensor([len(structure.z) for structure in structures])
        batch = Batch(
            _base_cls=Data,
            batch=torch.repeat_interleave(sizes),
            ptr=torch.cat([sizes.new_zeros(1), sizes.cumsum(0)]),
            z=joined([structure.z for structure in structures], np.int64),
            pos=joined([structure.pos for structure in structures], np.float32),
            tags=joined([structure.tags for structure in structures], np.int64),
            fixed=joined([structure.fixed for structure in structures], np.bool_),
            cell=torch.from_numpy(np.stack([structure.cell for structure in structures]).astype(np.float32)),
            pbc=torch.ones(len(structures), 3, dtype=torch.bool),
            energy=torch.tensor([part.energy[row] for part, row in found], dtype=torch.float32),
            split=torch.tensor([part.number for part, _ in found]),
            id=torch.tensor([identity(one, index) for one, index in zip(structures, indices, strict=True)]),
        )
        if self.forces:
            batch.forces = joined([structure.forces for structure in structures], np.float32)
        batch._num_graphs = len(structures)
        return batch


def joined(arrays: list[np.ndarray], dtype: type[np.generic]) -> torch.Tensor:
    return torch.from_numpy(np.concatenate(arrays).astype(dtype, copy=False))


def identity(structure: Structure, index: int) -> int:
    """System and frame as one number; minus the place (from 1) of a structure whose file tells neither."""
    return structure.sid << 20 | structure.fid + 1 if structure.sid >= 0 else -1 - index


def index_of(store: Store, cache: Path) -> dict[str, np.ndarray]:
    """`natoms`, `energy` and `reference` (NaN where there is none) of all structures, kept beside `cache`.

    A file that does not tell is read through once.
    """

    def build() -> dict[str, np.ndarray]:
        summary = store.summary() if isinstance(store, AseStructures) else None
        return summary or scan(store)

    return cached_arrays(cache.with_name(f"{cache.name}-{store.fingerprint()}"), build)


def scan(store: Store) -> dict[str, np.ndarray]:
    natoms, energy = np.empty(len(store), np.int32), np.empty(len(store))
    reference = np.full(len(store), np.nan)
    rows = range(len(store))
    for row in track(rows, "counting atoms", transient=True, disable=not sys.stdout.isatty()):
        structure = store.read(row)
        natoms[row], energy[row] = len(structure.z), structure.energy
        reference[row] = np.nan if structure.reference is None else structure.reference
    return {"natoms": natoms, "energy": energy, "reference": reference}


def wanted_energies(index: dict[str, np.ndarray], reference: bool, path: Path) -> np.ndarray:
    """The energies of a store as adsorption energies (`reference`) or as total ones; the only place that subtracts.

    Raises UserError where the files hold the other kind and nothing to change it with.
    """
    energy, known = index["energy"], np.isfinite(index["reference"])
    if known.all():
        return energy - index["reference"] if reference else energy
    typical = float(np.median(np.abs(energy)))
    if known.any():
        raise UserError(
            f"{path}: {(~known).sum()} of {len(known)} structures have no reference energy: convert it again"
        )
    if reference and typical > RAW:
        raise UserError(
            f"{path} holds total energies (|E| is {typical:.0f} eV in the median) without references, which cannot be made the "
            "adsorption energies that OC20's normaliser is for: convert the raw files, or use data.reference=false"
        )
    if not reference and typical <= RAW:
        raise UserError(
            f"{path} holds energies that are referenced already (|E| is {typical:.2g} eV in the median): use "
            "data.reference=true"
        )
    return energy
