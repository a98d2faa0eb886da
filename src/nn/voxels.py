"""Clouds of points as grids of voxels."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from .clouds import cloud_max


def voxelize(
    pos: Float[Tensor, "points 3"], ptr: Int[Tensor, " clouds_plus_1"], resolution: int, padding: int
) -> Float[Tensor, "clouds 1 side side side"]:
    """One where a cell holds a point of the cloud, else zero.

    A cloud's bounding box lies in the middle of `resolution` cells along each axis, which its longest side fills, with
    `padding` empty ones around them. Axes are x, y and z. A cloud that is one place is one cell in the middle.
    """
    high, low = cloud_max(pos, ptr), -cloud_max(-pos, ptr)
    length = (high - low).amax(-1, keepdim=True)
    middle, length = (high + low) / 2, torch.where(length > 0, length, 1)
    sizes, side = ptr.diff(), resolution + 2 * padding
    cloud = torch.repeat_interleave(sizes)
    inside = (pos - middle.index_select(0, cloud)) / length.index_select(0, cloud) + 0.5
    # the box's far face belongs to the last cell
    cells = (inside * resolution).floor().long().clamp(0, resolution - 1) + padding
    grid = pos.new_zeros(len(sizes), 1, side, side, side)
    grid[cloud, 0, *cells.unbind(-1)] = 1
    return grid
