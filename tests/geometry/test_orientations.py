"""Directions spread over the sphere."""

import numpy as np
import pytest
import torch

from erlangen.errors import UserError
from erlangen.geometry.orientations import spread_directions


@pytest.mark.parametrize(
    ("count", "energy"), [(2, 0.5), (3, 3**0.5), (4, 3.674234614), (6, 9.985281374), (12, 49.165253058)]
)
def test_few_directions_solve_thomsons_problem(count: int, energy: float) -> None:
    """The minima known in closed form; 12 is the icosahedron."""
    points = spread_directions(count)
    torch.testing.assert_close(points.norm(dim=-1), torch.ones(count, dtype=torch.float64))
    pairs = np.triu_indices(count, 1)
    found = (1 / (points[pairs[0]] - points[pairs[1]]).norm(dim=-1)).sum().item()
    assert found == pytest.approx(energy, abs=1e-8)


@pytest.mark.parametrize("count", [16, 20, 64])
def test_many_directions_are_spread_evenly(count: int) -> None:
    """No two are closer than 0.8 of the distance in a hexagonal lattice of that density; they balance each other."""
    points = spread_directions(count)
    nearest = torch.cdist(points, points).fill_diagonal_(9).min()
    assert nearest > 0.8 * (8 * np.pi / (3**0.5 * count)) ** 0.5
    assert points.mean(0).norm() < 1e-2


def test_at_least_one() -> None:
    assert spread_directions(1).shape == (1, 3)
    with pytest.raises(UserError, match="at least 1"):
        spread_directions(0)
