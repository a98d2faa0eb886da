"""The two forms in which QM9 is to be had: the `qm9pack` wheel and the authors' archive. Both give the same arrays.

z (nodes,) uint8; pos (nodes, 3) float32 in Å; ptr (molecules + 1,) int64; id (molecules,) the GDB index; y (molecules, 12)
float64, energies in eV as total energies.
"""

import importlib.metadata
import re
import tarfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd

from ...errors import UserError
from .download import fetch

COUNT = 130_831
HARTREE = 27.211386246  # eV
TARGETS = ("mu", "alpha", "homo", "lumo", "gap", "r2", "zpve", "U0", "U", "H", "G", "Cv")
IN_HARTREE = ("homo", "lumo", "gap", "zpve", "U0", "U", "H", "G")
COLUMNS = (
    "Dipole_debye",
    "Polarizability_bohr3",
    "HOMO_au",
    "LUMO_au",
    "HOMO_LUMO_gap_au",
    "R2_bohr2",
    "ZPVE_au",
    "InternalEnergy_0K_au",
    "InternalEnergy_298K_au",
    "Enthalphy_298K_au",
    "GibbsFreeEnergy_298K_au",
    "Heatcapacity_Cv_cal_mol_K",
)
ATOMIC_NUMBERS = {"H": 1, "C": 6, "N": 7, "O": 8, "F": 9}
FIGSHARE = "https://ndownloader.figshare.com/files/"
ARCHIVE = ("dsgdb9nsd.xyz.tar.bz2", "3195389", "ad1ebd51ee7f5b3a6e32e974e5d54012")
EXCLUDED = ("uncharacterized.txt", "3195404", "a361887bacb427b8a0ce7903d92a53b4")
# mean over all molecules, in the units of `y`: what a correct reading must give
GOLDEN_MEANS = dict(
    zip(
        TARGETS,
        (2.67295, 75.28119, -6.53645, 0.32204, 6.85849, 1189.41064, 4.05694)
        + (-11178.96668, -11178.73617, -11178.71048, -11179.87565, 31.62036),
        strict=True,
    )
)


def read_qm9pack() -> dict[str, np.ndarray]:
    """Reads the wheel's files. The package itself is never imported: it needs `pkg_resources`, which is gone."""
    try:
        files = importlib.metadata.files("qm9pack") or []
    except importlib.metadata.PackageNotFoundError:
        raise UserError(
            "data.reader=qm9pack needs the package qm9pack: `pip install 'erlangen[data]'`, or use data.reader=archive"
        ) from None
    parts = sorted(file.locate() for file in files if re.fullmatch(r"qm9_part\d\.csv", file.name))
    columns = ["Index", "Elements", "XYZ_Ang", *COLUMNS]
    table = pd.concat(pd.read_csv(part, usecols=columns) for part in parts)
    # lists are written like Python's, coordinates as "0.": neither is JSON
    elements = [re.findall("[A-Z]", text) for text in table["Elements"]]
    positions = [
        np.array(text.replace("[", "").replace("]", "").split(","), dtype=np.float64) for text in table["XYZ_Ang"]
    ]
    return to_arrays(table["Index"].to_numpy(), elements, positions, table[list(COLUMNS)].to_numpy(np.float64))


def read_archive(folder: Path) -> dict[str, np.ndarray]:
    """Reads the authors' archive, leaving out the 3,054 molecules that they could not characterise."""
    archive, listing = (
        fetch(folder / name, FIGSHARE + number, md5=digest) for name, number, digest in (ARCHIVE, EXCLUDED)
    )
    excluded = set(map(int, re.findall(r"^\s*(\d+)\s", listing.read_text(), flags=re.MULTILINE)))
    molecules = []
    with tarfile.open(archive, "r:bz2") as tar:
        for member in tar:
            file = tar.extractfile(member)
            if file is None:
                continue
            number = int(re.search(r"(\d{6})\.xyz$", member.name).group(1))
            if number not in excluded:
                molecules.append((number, *read_xyz(file.read().decode(), member.name)))
    numbers, elements, positions, values = zip(*sorted(molecules, key=lambda molecule: molecule[0]), strict=True)
    return to_arrays(np.array(numbers), elements, positions, np.array(values))


def read_xyz(text: str, name: str) -> tuple[list[str], np.ndarray, np.ndarray]:
    """One file of the archive: elements, flat positions in Å, and the twelve values in atomic units."""
    lines = text.replace("*^", "e").splitlines()  # exponents are Mathematica's
    try:
        count = int(lines[0])
        rows = [line.split() for line in lines[2 : 2 + count]]
        positions = np.array([[float(x) for x in row[1:4]] for row in rows])
        values = np.array([float(x) for x in lines[1].split()[5:17]])
        if positions.shape != (count, 3) or len(values) != len(TARGETS):
            raise ValueError("wrong number of atoms or values")
    except (ValueError, IndexError) as error:
        raise UserError(f"{name} is no molecule of QM9 ({error}): remove the archive and get it again") from None
    return [row[0] for row in rows], positions.ravel(), values


def to_arrays(
    index: np.ndarray, elements: Iterable[list[str]], positions: Iterable[np.ndarray], values: np.ndarray
) -> dict[str, np.ndarray]:
    """Flat arrays in eV and Å, checked against the published statistics."""
    elements, positions = list(elements), list(positions)
    sizes = np.array([len(symbols) for symbols in elements])
    values = values.copy()
    values[:, [TARGETS.index(name) for name in IN_HARTREE]] *= HARTREE
    arrays = {
        "z": np.array([ATOMIC_NUMBERS[symbol] for symbols in elements for symbol in symbols], dtype=np.uint8),
        "pos": np.concatenate(positions).reshape(-1, 3).astype(np.float32),
        "ptr": np.concatenate([[0], np.cumsum(sizes)]),
        "id": index.astype(np.int64),
        "y": values,
    }
    check_golden(arrays)
    return arrays


def check_golden(arrays: dict[str, np.ndarray]) -> None:
    """Refuses data that are not QM9 as published: other molecules, another order, other units."""
    if len(arrays["id"]) != COUNT or not (np.diff(arrays["id"]) > 0).all() or len(arrays["pos"]) != arrays["ptr"][-1]:
        raise UserError(
            f"these files hold {len(arrays['id'])} molecules; QM9 has {COUNT}, in the order of the GDB index"
        )
    for name, mean in zip(TARGETS, arrays["y"].mean(0), strict=True):
        if not np.isclose(mean, GOLDEN_MEANS[name], rtol=1e-6, atol=1e-5):
            raise UserError(f"the mean of {name} is {mean}, that of QM9 {GOLDEN_MEANS[name]}: these files are damaged")
