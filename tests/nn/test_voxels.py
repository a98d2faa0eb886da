"""Voxels against a loop over points, and at the borders of the box."""

import pytest
import torch

from erlangen.nn.voxels import voxelize


def by_loop(cloud: torch.Tensor, resolution: int, padding: int) -> torch.Tensor:
    side = resolution + 2 * padding
    grid = torch.zeros(side, side, side, dtype=cloud.dtype)
    low, high = cloud.amin(0), cloud.amax(0)
    length = max((high - low).tolist())
    for point in cloud:
        cell = []
        for axis in range(3):
            where = resolution * ((point[axis] - (low[axis] + high[axis]) / 2) / length + 0.5)
            cell.append(padding + min(int(where), resolution - 1))
        grid[tuple(cell)] = 1
    return grid


@pytest.mark.parametrize("sizes", [[50, 50, 50], [7, 90, 2]])
def test_every_voxel_that_holds_a_point_is_one(sizes: list[int], generator: torch.Generator) -> None:
    pos = torch.randn(sum(sizes), 3, generator=generator, dtype=torch.float64) * torch.tensor([3.0, 1, 0.2]) + 5
    ptr = torch.tensor([0, *sizes]).cumsum(0)
    grids = voxelize(pos, ptr, 12, 3)
    assert grids.shape == (3, 1, 18, 18, 18)
    for grid, cloud in zip(grids, pos.split(sizes), strict=True):
        assert torch.equal(grid[0], by_loop(cloud, 12, 3))


def test_a_box_fills_the_grid_along_its_longest_side_and_stands_in_the_middle() -> None:
    corners = torch.cartesian_prod(*(torch.tensor([0.0, length]) for length in (12.0, 6.0, 1.0)))
    (grid,) = voxelize(corners, torch.tensor([0, 8]), 12, 2)[:, 0]
    assert grid.nonzero().unique().numel() > 1
    x, y, z = (values.unique().tolist() for values in grid.nonzero().unbind(1))
    assert (x, y, z) == ([2, 13], [5, 11], [7, 8])


def test_one_place_is_the_middle() -> None:
    (grid,) = voxelize(torch.full((5, 3), 7.0), torch.tensor([0, 5]), 8, 1)[:, 0]
    assert grid.nonzero().tolist() == [[5, 5, 5]]
