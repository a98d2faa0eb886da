"""Simplicial complexes: their faces, counts and adjacencies against definitions, in mixed batches."""

from itertools import combinations

import pytest
import torch

from erlangen.errors import UserError
from erlangen.geometry.simplices import build_complex, hull_faces, vietoris_rips

PTR = torch.tensor([0, 5, 6, 13])
"""Samples of 5, 1 and 7 nodes."""


def points(generator: torch.Generator, dim: int = 3) -> torch.Tensor:
    return torch.randn(int(PTR[-1]), dim, generator=generator, dtype=torch.float64)


def test_rips_faces_are_cliques_of_near_points(generator: torch.Generator) -> None:
    pos, radius = points(generator), 1.8
    pairs, triples = vietoris_rips(pos, PTR, radius)
    found = build_complex((pairs, triples), PTR, 2)
    expected: list[set] = [set(), set()]
    for start, stop in zip(PTR.tolist(), PTR[1:].tolist(), strict=False):
        for dimension, faces in enumerate(expected, start=1):
            for nodes in combinations(range(start, stop), dimension + 1):
                if all((pos[i] - pos[j]).norm() <= radius for i, j in combinations(nodes, 2)):
                    faces.add(nodes)
    assert all(expected)
    for simplices, faces in zip(found.simplices[1:], expected, strict=True):
        assert {tuple(row) for row in simplices.tolist()} == faces
        assert len(simplices) == len(faces)


def test_adjacency_is_boundary_coboundary_and_shared_triangles(generator: torch.Generator) -> None:
    """Every message once: checked against sets of nodes."""
    complex = build_complex(vietoris_rips(points(generator), PTR, 1.8), PTR, 2)
    nodes = [frozenset(row) for simplices in complex.simplices for row in simplices.tolist()]
    triangles = [n for n in nodes if len(n) == 3]
    expected = set()
    for i, a in enumerate(nodes):
        for j, b in enumerate(nodes):
            same_sample = complex.sample[i] == complex.sample[j]
            vertices = len(a) == len(b) == 1 and a != b and same_sample
            faces = abs(len(a) - len(b)) == 1 and (a < b or b < a)
            edges = len(a) == len(b) == 2 and a != b and any(a | b <= t for t in triangles)
            if vertices or faces or edges:
                expected.add((i, j))
    messages = [tuple(pair) for pair in complex.edge_index.T.tolist()]
    assert set(messages) == expected
    assert len(messages) == len(expected)
    assert complex.kind.tolist() == [len(n) - 1 for n in nodes]


@pytest.mark.parametrize("dimension", [0, 1])
def test_simplices_above_the_dimension_are_left_out(generator: torch.Generator, dimension: int) -> None:
    complex = build_complex(vietoris_rips(points(generator), PTR, 1.8), PTR, dimension)
    assert len(complex.simplices) == dimension + 1
    assert complex.kind.max() == dimension
    assert complex.edge_index.max() < len(complex.kind) == len(complex.sample)


def test_a_simplex_has_all_faces_and_an_inner_point_none(generator: torch.Generator) -> None:
    corners = torch.eye(5, dtype=torch.float64)
    pos = torch.cat([corners, -corners.sum(0, keepdim=True), torch.full((1, 5), 0.01, dtype=torch.float64)])
    complex = build_complex(hull_faces(pos, torch.tensor([0, 7])), torch.tensor([0, 7]), 2)
    assert [len(simplices) for simplices in complex.simplices] == [7, 15, 20]
    assert not any((simplices == 6).any() for simplices in complex.simplices[1:])


def test_the_hull_of_a_square_is_its_border() -> None:
    pos = torch.tensor([[0.0, 0], [1, 0], [1, 1], [0, 1], [0.4, 0.5]])
    pairs, triples = hull_faces(pos, torch.tensor([0, 5]))
    assert pairs[0].nonzero().tolist() == [[0, 1], [0, 3], [1, 2], [2, 3]]
    assert not triples.any()


def test_points_without_a_hull_are_named() -> None:
    with pytest.raises(UserError, match="hyperplane of 3 dimensions"):
        hull_faces(torch.rand(6, 3) * torch.tensor([1.0, 1.0, 0.0]), torch.tensor([0, 6]))


def test_coincident_and_single_points_are_simplices_like_others() -> None:
    pos = torch.zeros(3, 3)
    complex = build_complex(vietoris_rips(pos, torch.tensor([0, 2, 3]), 0.5), torch.tensor([0, 2, 3]), 2)
    assert [simplices.tolist() for simplices in complex.simplices] == [[[0], [1], [2]], [[0, 1]], []]
