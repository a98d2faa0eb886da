"""OC20's S2EF as published: frames in `N.extxyz.xz`, with a line `random<sid>,frame<fid>,<energy>` each in `N.txt.xz`.

The energy in a frame is the total energy of DFT; less the one in its line it is the adsorption energy that OC20 is about.
"""

import lzma
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from ase.data import atomic_numbers, chemical_symbols

from ...errors import UserError
from .structure import SMALLEST_CELL, Structure

LOG_LINE = re.compile(r"random(\d+),frame(\d+),(-?[\d.eE+-]+)")
PAIR = re.compile(r'([A-Za-z_]+)=(?:"([^"]*)"|(\S+))')
DECIMALS = 8
"""Of positions in these files."""


def raw_pairs(folder: Path) -> list[tuple[Path, Path]]:
    """The files of frames in a folder in the order of their numbers, each with its log.

    Raises UserError where there are none, a log is missing or a number.
    """
    frames = sorted(folder.glob("*.extxyz.xz"), key=lambda path: (len(path.name), path.name))
    if not frames:
        raise UserError(f"{folder} holds no *.extxyz.xz: it is no folder of OC20's S2EF")
    pairs = [(path, path.with_name(path.name.replace(".extxyz.xz", ".txt.xz"))) for path in frames]
    for path, log in pairs:
        if not log.exists():
            raise UserError(f"{folder} lacks {log.name}, which belongs to {path.name}: get it again")
    numbers = [int(path.name.split(".")[0]) for path in frames if path.name.split(".")[0].isdigit()]
    missing = sorted(set(range(max(numbers, default=-1))) - set(numbers))
    if missing and len(numbers) == len(frames):
        raise UserError(f"{folder} lacks {missing[0]}.extxyz.xz (its last is {frames[-1].name}): get it again")
    return pairs


def read_pair(frames: Path, log: Path) -> Iterator[Structure]:
    """The structures of one file, their positions wrapped into the cell as the official conversion does.

    Raises UserError, naming the file and the frame, for one that cannot be read.
    """
    number = 0
    try:
        with lzma.open(log, "rt") as lines:
            entries = [LOG_LINE.fullmatch(line.strip()) for line in lines if line.strip()]
        with lzma.open(frames, "rt") as lines:
            for number, entry in enumerate(entries):
                if entry is None:
                    raise ValueError(f"line {number + 1} of {log.name} is not random<sid>,frame<fid>,<energy>")
                sid, fid, reference = int(entry[1]), int(entry[2]), float(entry[3])
                yield read_frame(lines)._replace(sid=sid, fid=fid, reference=reference)
            if next(lines, "").strip():
                number = len(entries)
                raise ValueError(f"{log.name} has no line for it")
    except (ValueError, KeyError, IndexError, StopIteration, EOFError, lzma.LZMAError) as error:
        raise UserError(f"{frames}, frame {number} cannot be read ({error}): get the file again") from None


def read_frame(lines: Iterator[str]) -> Structure:
    """The next frame of an extended XYZ file."""
    first = next(lines, None)
    if first is None:
        raise ValueError("the file ends before it")
    count = int(first)
    header = {name: quoted or plain for name, quoted, plain in PAIR.findall(next(lines))}
    columns = column_places(header["Properties"])
    rows = [next(lines, "").split() for _ in range(count)]
    width = sum(stop - start for start, stop in columns.values())
    if any(len(row) != width for row in rows):
        raise ValueError(f"an atom has not {width} columns, or the file ends")
    cell = np.array(header["Lattice"].split(), float).reshape(3, 3)
    movable = [row[columns["move_mask"][0]] == "T" for row in rows] if "move_mask" in columns else [True] * count
    return Structure(
        z=np.array([atomic_numbers[row[columns["species"][0]]] for row in rows]),
        pos=wrapped(reals(rows, columns["pos"]), cell),
        cell=cell,
        tags=np.array([int(row[columns["tags"][0]]) for row in rows]),
        fixed=~np.array(movable, bool),
        energy=float(header["energy"]),
        forces=reals(rows, columns["forces"]),
    )


def column_places(properties: str) -> dict[str, tuple[int, int]]:
    """Where each property's columns begin and end, from "species:S:1:pos:R:3:…"."""
    parts = properties.split(":")
    places, start = {}, 0
    for name, width in zip(parts[::3], parts[2::3], strict=True):
        places[name] = (start, start + int(width))
        start += int(width)
    return places


def reals(rows: list[list[str]], place: tuple[int, int]) -> np.ndarray:
    start, stop = place
    return np.array([row[start:stop] for row in rows]).astype(np.float64)


def wrapped(pos: np.ndarray, cell: np.ndarray) -> np.ndarray:
    """Positions moved by lattice vectors into the cell; those that lie in it stay what they are to the last digit."""
    volume = abs(np.linalg.det(cell))
    if not volume > SMALLEST_CELL:
        raise ValueError(f"a periodic cell of volume {volume:.3g} Å^3")
    cells = np.floor(np.linalg.solve(cell.T, pos.T).T)
    outside = cells.any(1)
    result = pos.copy()
    result[outside] = np.round(pos[outside] - cells[outside] @ cell, DECIMALS)
    return result


def write_pair(folder: Path, name: str, structures: Iterable[Structure]) -> None:
    """Writes structures as `name.extxyz.xz` and `name.txt.xz`, in the columns of the official files."""
    structures = list(structures)
    with lzma.open(folder / f"{name}.extxyz.xz", "wt", preset=1) as file:
        for structure in structures:
            file.write(frame_text(structure))
    with lzma.open(folder / f"{name}.txt.xz", "wt", preset=1) as file:
        for structure in structures:
            file.write(f"random{structure.sid},frame{structure.fid},{structure.reference!r}\n")


def frame_text(structure: Structure) -> str:
    lattice = " ".join(f"{number:.8f}" for number in structure.cell.ravel())
    header = (
        f'Lattice="{lattice}" Properties=species:S:1:pos:R:3:move_mask:L:1:tags:I:1:forces:R:3 '
        f'energy={structure.energy!r} free_energy={structure.energy!r} pbc="T T T"'
    )
    rows = [
        f"{chemical_symbols[z]:2} {x:16.8f} {y:16.8f} {z_:16.8f} {'F' if fixed else 'T'} {tag} {a:16.8f} {b:16.8f} {c:16.8f}"
        for z, (x, y, z_), fixed, tag, (a, b, c) in zip(
            structure.z, structure.pos, structure.fixed, structure.tags, structure.forces, strict=True
        )
    ]
    return "\n".join([str(len(rows)), header, *rows]) + "\n"
