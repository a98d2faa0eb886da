"""Solid parts from which the miniature's shapes are put together, and the parameters that shape them."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ..files.off import Mesh

Real = float | int
Point = tuple[Real, Real, Real]

HELD_OUT = ((0.0, 0.1), (0.45, 0.55), (0.9, 1.0))
"""The parts of every parameter's range (scaled to [0, 1]) that only test shapes have; training shapes have the rest."""


class Draw(NamedTuple):
    """Random parameters of one shape.

    Args:
        rng: where they come from.
        held_out: whether ranges are drawn from inside `HELD_OUT` (a test shape) or from outside.
    """

    rng: np.random.Generator
    held_out: bool

    def between(self, low: Real, high: Real) -> float:
        """A number in [low, high], from the bands of this split."""
        bands = HELD_OUT if self.held_out else tuple((a[1], b[0]) for a, b in zip(HELD_OUT, HELD_OUT[1:], strict=False))
        widths = np.array([stop - start for start, stop in bands])
        start, stop = bands[self.rng.choice(len(bands), p=widths / widths.sum())]
        return low + (high - low) * self.rng.uniform(start, stop)

    def count(self, low: int, high: int) -> int:
        """A whole number from low to high, both included, the same for both splits."""
        return int(self.rng.integers(low, high + 1))

    def chance(self, probability: Real) -> bool:
        return bool(self.rng.random() < probability)


def box(low: Point, high: Point) -> Mesh:
    """An axis-aligned box."""
    corners = np.array([(x, y, z) for z in (low[2], high[2]) for y in (low[1], high[1]) for x in (low[0], high[0])])
    quads = [(0, 2, 3, 1), (4, 5, 7, 6), (0, 1, 5, 4), (2, 6, 7, 3), (0, 4, 6, 2), (1, 3, 7, 5)]
    return Mesh(corners.astype(float), np.array([t for a, b, c, d in quads for t in ((a, b, c), (a, c, d))]))


def block(width: Real, depth: Real, bottom: Real, top: Real, x: Real = 0.0, y: Real = 0.0) -> Mesh:
    """A box that stands on `bottom`, its middle over (x, y)."""
    return box((x - width / 2, y - depth / 2, bottom), (x + width / 2, y + depth / 2, top))


def lathe(profile: Sequence[tuple[Real, Real]], segments: int = 20) -> Mesh:
    """The surface of revolution about z of a profile of (radius, height)."""
    radius, height = np.array(profile, dtype=float).T
    angle = 2 * np.pi * np.arange(segments) / segments
    rings = np.stack(
        [
            np.outer(radius, np.cos(angle)),
            np.outer(radius, np.sin(angle)),
            np.broadcast_to(height[:, None], (len(height), segments)),
        ],
        -1,
    )
    i, j = np.meshgrid(np.arange(len(radius) - 1), np.arange(segments), indexing="ij")
    a, b = i * segments + j, i * segments + (j + 1) % segments
    c, d = b + segments, a + segments
    triangles = np.concatenate([np.stack([a, b, c], -1).reshape(-1, 3), np.stack([a, c, d], -1).reshape(-1, 3)])
    return Mesh(rings.reshape(-1, 3), triangles)


def cylinder(radius: Real, bottom: Real, top: Real, x: Real = 0.0, y: Real = 0.0) -> Mesh:
    """A closed upright cylinder over (x, y)."""
    return moved(lathe([(0, bottom), (radius, bottom), (radius, top), (0, top)]), (x, y, 0))


def vessel(profile: Sequence[tuple[Real, Real]], wall: Real) -> Mesh:
    """A hollow body of revolution: the outer profile of (radius, height) from the bottom up, and its inside."""
    inside = [(max(radius - wall, 0), max(height, profile[0][1] + wall)) for radius, height in reversed(profile)]
    return lathe([(0, profile[0][1]), *profile, *inside, (0, profile[0][1] + wall)])


def ellipsoid(centre: Point, radii: Point) -> Mesh:
    angle = np.linspace(-np.pi / 2, np.pi / 2, 9)
    vertices, triangles = lathe(list(zip(np.cos(angle).tolist(), np.sin(angle).tolist(), strict=True)), 14)
    return Mesh(vertices * np.array(radii) + np.array(centre), triangles)


def pipe(start: Point, stop: Point, radius: Real, end_radius: Real | None = None) -> Mesh:
    """A closed round bar between two points; `end_radius` makes it a cone's frustum."""
    a, b = np.array(start, dtype=float), np.array(stop, dtype=float)
    length = float(np.linalg.norm(b - a))
    end_radius = radius if end_radius is None else end_radius
    vertices, triangles = lathe([(0, 0), (radius, 0), (end_radius, length), (0, length)], 10)
    axis = (b - a) / length
    side = np.cross(axis, (1.0, 0, 0) if abs(axis[0]) < 0.9 else (0, 1.0, 0))
    side /= np.linalg.norm(side)
    return Mesh(vertices @ np.stack([side, np.cross(axis, side), axis]) + a, triangles)


def prism(outline: Sequence[tuple[Real, Real]], low: Real, high: Real, axis: str = "z") -> Mesh:
    """An outline (counter-clockwise, seen whole from its middle) drawn along an axis from `low` to `high`.

    The outline's coordinates are (x, y) for axis z, (y, z) for x, (z, x) for y.
    """
    flat = np.array(outline, dtype=float)
    count = len(flat)
    ends = [np.column_stack([flat, np.full(count, height)]) for height in (low, high)]
    middles = [np.append(flat.mean(0), height)[None] for height in (low, high)]
    vertices = np.concatenate(ends + middles)
    order = {"z": (0, 1, 2), "x": (2, 0, 1), "y": (1, 2, 0)}[axis]
    triangles = []
    for i in range(count):
        j = (i + 1) % count
        triangles += [
            (i, j, count + j),
            (i, count + j, count + i),
            (j, i, 2 * count),
            (count + i, count + j, 2 * count + 1),
        ]
    return Mesh(vertices[:, order], np.array(triangles))


def moved(mesh: Mesh, offset: Point) -> Mesh:
    return Mesh(mesh.vertices + np.array(offset, dtype=float), mesh.triangles)


def turned(mesh: Mesh, axis: str, degrees: Real, about: Point = (0, 0, 0)) -> Mesh:
    """Turned about the axis through a point."""
    i, j = {"x": (1, 2), "y": (2, 0), "z": (0, 1)}[axis]
    rotation = np.eye(3)
    angle = np.radians(degrees)
    rotation[i, i] = rotation[j, j] = np.cos(angle)
    rotation[j, i] = np.sin(angle)
    rotation[i, j] = -rotation[j, i]
    return Mesh((mesh.vertices - np.array(about)) @ rotation.T + np.array(about), mesh.triangles)


def legs(width: Real, depth: Real, height: Real, thickness: Real, round_: bool, inset: Real = 0.0) -> list[Mesh]:
    """Four legs under a rectangle."""
    x, y = width / 2 - thickness / 2 - inset, depth / 2 - thickness / 2 - inset
    places = [(sx * x, sy * y) for sx in (-1, 1) for sy in (-1, 1)]
    if round_:
        return [cylinder(thickness / 2, 0, height, *place) for place in places]
    return [block(thickness, thickness, 0, height, *place) for place in places]


def joined(parts: Sequence[Mesh]) -> Mesh:
    """One mesh of all parts."""
    first = np.cumsum([0, *(len(part.vertices) for part in parts)])
    return Mesh(
        np.concatenate([part.vertices for part in parts]),
        np.concatenate([part.triangles + start for part, start in zip(parts, first, strict=False)]),
    )


def volume(mesh: Mesh) -> float:
    """The signed volume of a closed mesh: positive where its triangles are counter-clockwise from outside."""
    a, b, c = mesh.vertices[mesh.triangles].swapaxes(0, 1)
    return float(np.einsum("ij,ij->", a, np.cross(b, c)) / 6)
