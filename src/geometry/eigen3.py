"""Eigenvalues and the least eigenvector of symmetric 3 x 3 matrices in closed form: all at once, and on any device."""

import math

import torch
from jaxtyping import Float
from torch import Tensor


def least_eigenvectors(
    matrices: Float[Tensor, "batch 3 3"],
) -> tuple[Float[Tensor, "batch 3"], Float[Tensor, "batch 3"]]:
    """Eigenvalues, rising, and a unit eigenvector of the smallest, of either sign.

    Smith's formula (1961, doi:10.1145/355578.366316) is good to rounding for the eigenvalue farthest from the other two; its
    eigenvector splits off, and a rotation solves for the two that are left, however close they are. Where the smallest
    eigenvalue is a multiple one, the vector is one of its eigenvectors, which one depends on the coordinates. Gradients are
    infinite there.
    """
    largest = matrices.abs().amax((1, 2), keepdim=True)
    scaled = matrices / torch.where(largest > 0, largest, 1)  # or squares would leave the range of float32
    mean = scaled.diagonal(dim1=1, dim2=2).mean(-1)[:, None]
    eye = torch.eye(3, dtype=scaled.dtype, device=scaled.device)
    deviation = scaled - mean[..., None] * eye
    size = (deviation.square().sum((1, 2)) / 6).sqrt()[:, None]
    same = size <= 8 * torch.finfo(size.dtype).eps * mean.abs()  # a multiple of the identity; the rest is rounding
    # eigenvalues 2 cos(angle) and 2 cos(angle ± 2 pi / 3), or all zero
    deviation = deviation / torch.where(same, torch.inf, size)[..., None]
    half = torch.linalg.det(deviation) / 2
    angle = half.clamp(-1, 1).acos() / 3
    above = half >= 0  # the largest eigenvalue is the isolated one, else the smallest
    isolated = 2 * torch.where(above, angle, angle + 2 * math.pi / 3).cos()
    rows = deviation - isolated[:, None, None] * eye
    axis = longest(torch.linalg.cross(rows, rows.roll(1, 1)))
    first = longest(torch.linalg.cross(axis[:, None].expand(-1, 3, -1), eye.expand(len(axis), -1, -1)))
    second = torch.linalg.cross(axis, first)
    mapped = torch.stack([axis, first, second], 1) @ deviation
    value = (axis * mapped[:, 0]).sum(-1)
    a, b, c = ((x * y).sum(-1) for x, y in ((first, mapped[:, 1]), (first, mapped[:, 2]), (second, mapped[:, 2])))
    turn = torch.atan2(b, (a - c) / 2)[:, None] / 2
    lower = turn.cos() * second - turn.sin() * first
    middle, gap = (a + c) / 2, torch.hypot((a - c) / 2, b)
    pair = (middle - gap, middle + gap)
    values = torch.where(above[:, None], torch.stack([*pair, value], -1), torch.stack([value, *pair], -1))
    return largest[..., 0] * (values * size + mean), torch.where(above[:, None], lower, axis)


def longest(vectors: Float[Tensor, "batch candidates 3"]) -> Float[Tensor, "batch 3"]:
    """Of each row's vectors the longest, at length 1."""
    lengths, chosen = vectors.norm(dim=-1).max(1)
    return vectors.gather(1, chosen[:, None, None].expand(-1, 1, 3))[:, 0] / lengths[:, None]
