"""Coordinate frames of clouds of points: by principal axes or from vectors, in any dimension, and defined for every cloud.

A frame is an orthogonal matrix whose columns are the axes. Frames are found in float64 whatever the precision of the
network; callers that run under autocast turn vectors with `apply`, which it does not round.
"""

from itertools import product

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..geometry.rotations import unit_vectors
from ..kernels.segment import segment_sum


def centroids(
    pos: Float[Tensor, "nodes dim"], index: Int[Tensor, " nodes"], samples: int
) -> Float[Tensor, "samples dim"]:
    """The mean position of each sample; zero for a sample without nodes."""
    count = segment_sum(torch.ones_like(pos[:, :1]), index, samples)
    return segment_sum(pos, index, samples) / count.clamp(min=1)


def covariances(
    pos: Float[Tensor, "nodes dim"], index: Int[Tensor, " nodes"], samples: int
) -> Float[Tensor, "samples dim dim"]:
    """Each sample's sum of outer products of its centred positions, in float64."""
    pos = pos.double()
    centred = pos - centroids(pos, index, samples).index_select(0, index)
    return segment_sum(centred[:, :, None] * centred[:, None, :], index, samples)


def principal_axes(matrices: Float[Tensor, "samples dim dim"], tolerance: float) -> Float[Tensor, "samples dim dim"]:
    """Orthonormal eigenvectors of symmetric matrices, by rising eigenvalue; each one's sign is arbitrary.

    Where two eigenvalues of a sample are closer than `tolerance` times the largest one, which a symmetric cloud, a line
    or a single point has, the axes are some eigenvectors that depend on the coordinates, and are constant in gradients:
    the eigenvectors' own derivative divides by the gap.
    """
    dim = matrices.shape[-1]
    values, fixed = torch.linalg.eigh(matrices.detach())
    gap = values.diff().amin(-1) if dim > 1 else torch.ones_like(values[:, 0])
    repeated = (gap <= tolerance * values.abs().amax(-1))[:, None, None]
    distinct = torch.arange(dim, dtype=matrices.dtype, device=matrices.device).diag()
    axes = torch.linalg.eigh(torch.where(repeated, distinct, matrices)).eigenvectors
    return torch.where(repeated, fixed, axes)


def orthonormal(vectors: Float[Tensor, "samples dim dim"], tolerance: float) -> Float[Tensor, "samples dim dim"]:
    """Gram-Schmidt on the columns: an orthogonal matrix for every input, with finite gradients.

    A column that is zero, or deviates from the span of those before it by less than `tolerance` of its length, determines
    no axis. The coordinate axis that deviates most takes its place.
    """
    axes: list[Tensor] = []
    candidates = torch.eye(vectors.shape[-1], dtype=vectors.dtype, device=vectors.device).expand_as(vectors)
    for column in unit_vectors(vectors.mT).unbind(1):
        rest = column
        for _ in range(2):  # the second pass removes what rounding left of the first
            rest = without(rest[:, None], axes)[:, 0]
        remaining = without(candidates, axes).detach()
        longest = remaining.square().sum(-1).argmax(-1)
        spare = remaining.gather(1, longest[:, None, None].expand(-1, 1, remaining.shape[-1]))[:, 0]
        dependent = rest.detach().norm(dim=-1, keepdim=True) <= tolerance
        axes.append(unit_vectors(torch.where(dependent, spare, rest)))
    return torch.stack(axes, -1)


def without(rows: Float[Tensor, "samples rows dim"], axes: list[Tensor]) -> Float[Tensor, "samples rows dim"]:
    """The rows less their components along orthonormal axes, each (samples, dim)."""
    for axis in axes:
        rows = rows - (rows * axis[:, None]).sum(-1, keepdim=True) * axis[:, None]
    return rows


def proper(frames: Float[Tensor, "samples dim dim"]) -> Float[Tensor, "samples dim dim"]:
    """The frames as rotations: the last axis is reversed where the determinant is negative."""
    negative = torch.linalg.det(frames.detach()) < 0
    last = torch.where(negative[:, None], -frames[..., -1], frames[..., -1])
    return torch.cat([frames[..., :-1], last[..., None]], -1)


def sign_choices(dim: int, rotations: bool, like: Tensor) -> Float[Tensor, "choices dim"]:
    """All choices of a sign for each axis, or those with an even number of minus signs."""
    choices = [signs for signs in product((1, -1), repeat=dim) if not rotations or signs.count(-1) % 2 == 0]
    return like.new_tensor(choices)


def apply(
    matrices: Float[Tensor, "frames samples out inner"],
    values: Float[Tensor, "*frames rows inner"],
    index: Int[Tensor, " rows"],
) -> Float[Tensor, "frames rows out"]:
    """Each row times the matrix of its sample, for every frame."""
    return (matrices.to(values.dtype).index_select(1, index) * values[..., None, :]).sum(-1)
