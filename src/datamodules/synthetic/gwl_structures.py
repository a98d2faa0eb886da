"""Pairs of geometric graphs that are hard to tell apart (arXiv:2301.09308 and its public notebooks).

Every function gives two structures; the first has label 0, the second label 1. Lengths have no unit.
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from jaxtyping import Float, Int


@dataclass(frozen=True)
class Structure:
    """Nodes in space and the edges between them, both ways, sorted by destination, then source."""

    pos: Float[np.ndarray, "nodes 3"]
    edge_index: Int[np.ndarray, "2 edges"]


Pair = tuple[Structure, Structure]


def chains(k: int) -> Pair:
    """k nodes in a line, 5 apart, with an end hanging on at either side: on opposite sides of the line, or on the same.

    Their neighbourhoods of floor(k / 2) hops are the same up to a motion, those of one hop more are not.
    """
    line = [[0, 5 * i, 0] for i in range(k)]
    top = [4, 5 * (k - 1) + 3, 0]
    opposite, same = (np.array([[x, -3, 0], *line, top], dtype=float) for x in (-4, 4))
    path = list(pairwise(range(k + 2)))
    return undirected(opposite - opposite.mean(0), path), undirected(same - same.mean(0), path)


def spokes(fold: int, turn: float) -> Pair:
    """A centre with `fold` spokes of length 1 in the plane z = 0, and the same turned by `turn` about z (radians)."""
    angle = 2 * np.pi / fold * np.arange(fold)
    return star(around_z(angle)), star(around_z(angle + turn))


def two_body() -> Pair:
    """The same distances from the centre, another angle between them."""
    return star(np.array([[5.0, 0, 0], [3, 0, 4]])), star(np.array([[5.0, 0, 0], [-5, 0, 0]]))


def three_body() -> Pair:
    """The same distances and angles at the centre, other triplets of neighbours (arXiv:2001.11696, fig. 1b)."""
    shared = np.array([[5.0, 0, 5], [5, 5, 5], [-5, -5, 5]])
    return star(np.vstack([shared, [0, 5, 5]])), star(np.vstack([shared, [0, -5, 5]]))


def four_body() -> Pair:
    """The same triplets of neighbours, with handedness or without, other quadruplets (arXiv:2001.11696, fig. 2f).

    Two equal triangles, one above the centre and one below, turned against each other by 36 degrees, and a last
    neighbour on the axis, above or below. The triangle must have no mirror line: in the public notebook it is isosceles,
    which makes the two structures one, turned over by 180 degrees, so that nothing can tell them apart.
    """
    above = np.array([[3, 2, -4], [0, 2, 5], [-4, 2, -3]])
    cos, sin = np.cos(np.pi / 5), np.sin(np.pi / 5)
    below = above @ np.diag([1, -1, 1]) @ np.array([[cos, 0, sin], [0, 1, 0], [-sin, 0, cos]])
    return star(np.vstack([above, below, [0, 5, 0]])), star(np.vstack([above, below, [0, -5, 0]]))


def around_z(angle: Float[np.ndarray, " nodes"]) -> Float[np.ndarray, "nodes 3"]:
    return np.stack([np.cos(angle), np.sin(angle), np.zeros_like(angle)], axis=1)


def star(neighbors: Float[np.ndarray, "neighbors 3"]) -> Structure:
    """A node at the origin, joined to all others."""
    pos = np.concatenate([np.zeros((1, 3)), neighbors])
    return undirected(pos, [(0, i) for i in range(1, len(pos))])


def undirected(pos: Float[np.ndarray, "nodes 3"], edges: list[tuple[int, int]]) -> Structure:
    both = sorted([*edges, *((j, i) for i, j in edges)], key=lambda edge: (edge[1], edge[0]))
    return Structure(pos, np.array(both).T)
