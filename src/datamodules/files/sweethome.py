"""Furniture libraries of Sweet Home 3D (.sh3f): zip files with a catalogue and one OBJ model for each piece."""

import re
import zipfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from ...errors import UserError
from ..clouds import upright
from .off import Mesh, checked, fan

CATALOGUE = "PluginFurnitureCatalog.properties"


class Entry(NamedTuple):
    """A piece of furniture: where its model is, how it is to be turned (y is upright then) and who made it."""

    model: str
    rotation: Float[np.ndarray, "3 3"]
    creator: str


def read_catalogue(library: Path) -> dict[str, Entry]:
    """The entries of a library by their identifiers, without the library's own prefix ("Scopia#bed1" is "bed1")."""
    try:
        with zipfile.ZipFile(library) as archive:
            text = archive.read(CATALOGUE).decode("latin-1")
    except (zipfile.BadZipFile, KeyError) as error:
        raise UserError(f"{library} is no furniture library of Sweet Home 3D: {error}") from None
    rows: dict[str, dict[str, str]] = {}
    for key, number, value in re.findall(r"^(\w+)#(\d+)=(.*?)\s*$", text, flags=re.MULTILINE):
        rows.setdefault(number, {})[key] = value
    return {row["id"].split("#", 1)[1]: entry(row) for row in rows.values()}


def entry(row: dict[str, str]) -> Entry:
    rotation = np.array(row.get("modelRotation", "1 0 0 0 1 0 0 0 1").split(), dtype=float).reshape(3, 3)
    return Entry(row["model"].lstrip("/"), rotation, row.get("creator", ""))


def read_model(archive: zipfile.ZipFile, entry: Entry) -> Mesh:
    """The model of an entry, z upright."""
    vertices, triangles = read_obj(archive.read(entry.model), entry.model)
    return Mesh(upright(vertices @ entry.rotation.T), triangles)


def read_obj(data: bytes, name: str) -> Mesh:
    """The mesh of a Wavefront OBJ file: its lines `v` and `f`; polygons are fanned out, all else is left aside."""
    vertices, polygons = [], []
    try:
        for line in data.splitlines():
            if line.startswith(b"v "):
                vertices.append([float(word) for word in line.split()[1:4]])
            elif line.startswith(b"f "):
                corners = [int(word.split(b"/", 1)[0]) for word in line.split()[1:]]
                # counted from 1, or backwards from the last vertex so far
                polygons.append(np.array([c - 1 if c > 0 else len(vertices) + c for c in corners]))
        points = np.array(vertices, dtype=float).reshape(-1, 3)
    except ValueError as error:
        raise UserError(f"{name} is no OBJ model: {error}") from None
    if not len(points) or not polygons:
        raise UserError(f"{name} is empty: it has {len(points)} vertices and {len(polygons)} faces")
    return checked(Mesh(points, fan([polygon for polygon in polygons if len(polygon) > 2], name)), name)
