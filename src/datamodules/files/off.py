"""Triangle meshes in OFF files, and points sampled from a mesh's surface by area."""

import re
import warnings
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from ...errors import UserError


class Mesh(NamedTuple):
    """vertices (vertices, 3) float64; triangles (triangles, 3) int64, corners counter-clockwise seen from outside."""

    vertices: Float[np.ndarray, "vertices 3"]
    triangles: Int[np.ndarray, "triangles 3"]


def read_off(data: bytes, name: str) -> Mesh:
    """The mesh of an OFF file; polygons are cut into triangles that fan out from their first corner.

    Args:
        data: the file's bytes. Comments, colours after a face and ModelNet's broken headers, `OFF28048 35408 0` on one
            line, are read as they are meant.
        name: of the file, for messages.

    Raises:
        UserError: where the file is empty, cut short, no OFF file, refers to vertices that it lacks or has no surface.
    """
    header, *body = re.split(rb"OFF", re.sub(rb"#[^\n]*", b"", data), maxsplit=1)
    if header.strip() or not body:
        raise UserError(f"{name} is no OFF file: it begins with {data[:12]!r}, not with OFF")
    numbers = parse_numbers(body[0], name)
    if len(numbers) < 3:
        raise UserError(f"{name} is empty: it has no numbers of vertices and faces")
    vertex_count, face_count = int(numbers[0]), int(numbers[1])
    if vertex_count < 3 or face_count < 1:
        raise UserError(f"{name} has {vertex_count} vertices and {face_count} faces: there is no surface in it")
    split = 3 + 3 * vertex_count
    if len(numbers) < split:
        raise UserError(f"{name} is cut short in its vertices: {vertex_count} were announced")
    vertices = numbers[3:split].reshape(-1, 3)
    faces = numbers[split:]
    if len(faces) == 4 * face_count and (faces[::4] == 3).all():
        triangles = faces.reshape(-1, 4)[:, 1:].astype(np.int64)
    else:
        triangles = fan([polygon(line, name) for line in face_lines(body[0], vertex_count, face_count, name)], name)
    return checked(Mesh(vertices, triangles), name)


def parse_numbers(text: bytes, name: str) -> Float[np.ndarray, " numbers"]:
    """The numbers in a text; UserError where a word is none."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", DeprecationWarning)  # what older numpys give instead of a ValueError
            return np.fromstring(text, sep=" ")
    except (ValueError, DeprecationWarning):
        raise UserError(f"{name} is damaged: it has words where only numbers should be") from None


def face_lines(body: bytes, vertex_count: int, face_count: int, name: str) -> list[bytes]:
    """The lines of the faces of a file that has one vertex or face a line."""
    lines = [line for line in body.splitlines() if line.strip()][1 + vertex_count :]
    if len(lines) < face_count:
        raise UserError(f"{name} is cut short in its faces: {face_count} were announced")
    return lines[:face_count]


def polygon(line: bytes, name: str) -> Int[np.ndarray, " corners"]:
    """The corners in a face's line: their number, they themselves, and perhaps a colour."""
    numbers = parse_numbers(line, name).astype(np.int64)
    return numbers[1 : 1 + numbers[0]] if len(numbers) > numbers[0] else numbers[:0]


def fan(polygons: list[Int[np.ndarray, " _"]], name: str) -> Int[np.ndarray, "triangles 3"]:
    """Polygons as triangles (c0, c1, c2), (c0, c2, c3), …; UserError for one with fewer than three corners."""
    triangles = []
    for number, corners in enumerate(polygons, start=1):
        if len(corners) < 3:
            raise UserError(f"{name}: face {number} has fewer than 3 corners")
        triangles += [(corners[0], a, b) for a, b in pairwise(corners[1:])]
    return np.array(triangles, dtype=np.int64).reshape(-1, 3)


def checked(mesh: Mesh, name: str) -> Mesh:
    """The mesh itself; UserError where no point can be drawn from its surface."""
    vertices, triangles = mesh
    wrong = ~np.isfinite(vertices).all(1)
    if wrong.any():
        raise UserError(f"{name}: vertex {int(wrong.argmax()) + 1} is not finite, {vertices[wrong.argmax()].tolist()}")
    outside = ((triangles < 0) | (triangles >= len(vertices))).any(1)
    if outside.any():
        at = int(outside.argmax())
        raise UserError(
            f"{name}: face {at + 1} refers to vertices {triangles[at].tolist()}; there are {len(vertices)}, counted from 0"
        )
    if not normals_and_areas(mesh)[1].sum() > 0:
        raise UserError(f"{name}: all triangles have area zero, so that there is no surface to sample points from")
    return mesh


def normals_and_areas(mesh: Mesh) -> tuple[Float[np.ndarray, "triangles 3"], Float[np.ndarray, " triangles"]]:
    """Unit normals (zero for a triangle without area) and areas."""
    a, b, c = mesh.vertices[mesh.triangles].swapaxes(0, 1)
    cross = np.cross(b - a, c - a)
    length = np.linalg.norm(cross, axis=1)
    return cross / np.where(length > 0, length, 1)[:, None], length / 2


def sample_surface(
    mesh: Mesh, count: int, rng: np.random.Generator
) -> tuple[Float[np.ndarray, "points 3"], Float[np.ndarray, "points 3"]]:
    """Points drawn uniformly from the surface, and the unit normals of their triangles.

    Triangles are chosen by area and points in them uniformly (Osada et al. 2002, doi:10.1145/571647.571648, eq. 1).
    """
    normals, areas = normals_and_areas(mesh)
    upper = areas.cumsum()
    # side="right": a triangle without area has an empty interval and is never chosen
    chosen = np.searchsorted(upper, rng.random(count) * upper[-1], side="right").clip(max=int(areas.nonzero()[0][-1]))
    a, b, c = mesh.vertices[mesh.triangles[chosen]].swapaxes(0, 1)
    root, v = np.sqrt(rng.random((count, 1))), rng.random((count, 1))
    return (1 - root) * a + root * (1 - v) * b + root * v * c, normals[chosen]


def write_off(mesh: Mesh) -> bytes:
    """The mesh as an OFF file."""
    lines = [f"OFF\n{len(mesh.vertices)} {len(mesh.triangles)} 0"]
    lines += [f"{x:.6g} {y:.6g} {z:.6g}" for x, y, z in mesh.vertices.tolist()]
    lines += [f"3 {a} {b} {c}" for a, b, c in mesh.triangles.tolist()]
    return ("\n".join(lines) + "\n").encode()
