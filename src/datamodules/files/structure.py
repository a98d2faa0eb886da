"""One atomistic structure as the readers of OC20's formats give it, and what is wrong with it."""

from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float, Int

SMALLEST_CELL = 1e-3
"""Å^3; whatever is smaller has no volume."""


class Structure(NamedTuple):
    """A slab with an adsorbate, as stored: nothing is subtracted from its energy here.

    Args:
        z: atomic numbers.
        pos: Å.
        cell: Å, rows are the lattice vectors.
        tags: 0 below the surface, 1 surface, 2 adsorbate.
        fixed: atoms that were held in place; they are neither trained on nor scored.
        energy: eV; of the relaxed structure in IS2RE, NaN where the file has none.
        reference: eV, what makes a total energy an adsorption energy when subtracted; None where the file has none.
        forces: eV/Å; None in IS2RE.
        relaxed: the positions after relaxation; None in S2EF.
        sid, fid: the system's number and the frame's in its relaxation, -1 where the file has none.
    """

    z: Int[np.ndarray, " atoms"]
    pos: Float[np.ndarray, "atoms 3"]
    cell: Float[np.ndarray, "3 3"]
    tags: Int[np.ndarray, " atoms"]
    fixed: Bool[np.ndarray, " atoms"]
    energy: float
    reference: float | None = None
    forces: Float[np.ndarray, "atoms 3"] | None = None
    relaxed: Float[np.ndarray, "atoms 3"] | None = None
    sid: int = -1
    fid: int = -1


@runtime_checkable
class Store(Protocol):
    """Structures in files, read one by one: memory does not grow with their number."""

    def __len__(self) -> int: ...

    def read(self, row: int) -> Structure: ...

    def where(self, row: int) -> str:
        """The file and the key of a structure, for errors."""
        ...

    def fingerprint(self) -> str:
        """Changes with the files."""
        ...


def fault(structure: Structure, known: int) -> str:
    """What makes a structure unusable, or "" if nothing does; `known` is the largest atomic number that is known."""
    atoms = len(structure.z)
    shapes = {
        "positions": (structure.pos, (atoms, 3)),
        "cell": (structure.cell, (3, 3)),
        "tags": (structure.tags, (atoms,)),
        "fixed": (structure.fixed, (atoms,)),
        "forces": (structure.forces, (atoms, 3)),
        "relaxed positions": (structure.relaxed, (atoms, 3)),
    }
    for name, (array, shape) in shapes.items():
        if array is not None and array.shape != shape:
            return f"{name} of shape {array.shape}, should be {shape}"
    if atoms == 0:
        return "no atoms"
    outside = (structure.z < 1) | (structure.z > known)
    if outside.any():
        return f"unknown atomic number {structure.z[outside][0]} (known are 1 to {known})"
    if structure.tags.min() < 0 or structure.tags.max() > 2:
        return f"tags {sorted(set(structure.tags.tolist()))}, should be 0, 1 or 2"
    for name in ("positions", "cell", "forces", "relaxed positions"):
        array = shapes[name][0]
        if array is not None and not np.isfinite(array).all():
            return f"NaN or infinite {name}"
    if not np.isfinite(structure.energy):
        return "a NaN or infinite energy"
    volume = abs(np.linalg.det(structure.cell.astype(np.float64)))
    if not volume > SMALLEST_CELL:
        return f"a periodic cell of volume {volume:.3g} Å^3"
    return ""
