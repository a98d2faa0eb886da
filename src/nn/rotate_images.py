"""Turning images about their centre: by quarter turns without loss, or by any angle with interpolation."""

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample


def quarter_turns(
    images: Float[Tensor, "samples channels size size"], turns: Int[Tensor, " samples"]
) -> Float[Tensor, "samples channels size size"]:
    """Each image turned counter-clockwise by its number of quarter turns: only pixels change place."""
    turned = images.clone()
    for count in range(1, 4):
        rows = turns.remainder(4) == count
        turned[rows] = images[rows].rot90(count, (-2, -1))
    return turned


def rotate(
    images: Float[Tensor, "samples channels size size"], angles: Float[Tensor, " samples"]
) -> Float[Tensor, "samples channels size size"]:
    """Each image turned counter-clockwise by its angle in radians: bilinear, the outside filled by reflection.

    Reflection leaves no corner of a colour of its own, from which a network could read the angle.
    """
    cos, sin, zero = angles.cos(), angles.sin(), torch.zeros_like(angles)
    # where an output pixel comes from, x to the right and y down
    source = torch.stack([torch.stack([cos, -sin, zero], -1), torch.stack([sin, cos, zero], -1)], -2)
    grid = affine_grid(source.to(images), list(images.shape), align_corners=False)
    return grid_sample(images, grid, mode="bilinear", padding_mode="reflection", align_corners=False)
