"""Rotations of space as matrices, and the ways to write, sample and compare them.

All functions work on any leading batch shape. Where a representation is not differentiable, or is not unique, the
docstring says which finite value and gradient is given instead; none of them is NaN.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from ..errors import UserError
from .checks import require


def safe_norm(v: Float[Tensor, "*batch n"]) -> Float[Tensor, "*batch"]:
    """The Euclidean length over the last axis, with gradient 0 at the zero vector."""
    square = v.square().sum(-1)
    positive = square > 0
    return torch.where(positive, torch.where(positive, square, 1).sqrt(), 0)


def unit_vectors(v: Float[Tensor, "*batch n"]) -> Float[Tensor, "*batch n"]:
    """v / |v|, without overflow or underflow on the way.

    A vector whose largest entry is below sqrt(tiny) of its dtype (1e-19 in float32) counts as zero: it gives the zero
    vector and gradient 0.
    """
    # Dividing by a constant first changes neither v / |v| nor its derivatives.
    scale = v.detach().abs().amax(-1, keepdim=True)
    zero = scale < math.sqrt(torch.finfo(v.dtype).tiny)
    scaled = torch.where(zero, 1, v / torch.where(zero, 1, scale))
    return torch.where(zero, 0, scaled / scaled.square().sum(-1, keepdim=True).sqrt())


def edge_frames(r: Float[Tensor, "*edges 3"]) -> Float[Tensor, "*edges 3 3"]:
    """Rotations that take each edge to the polar axis: R r = |r| e_y.

    The rotation about the axis, which r does not determine, is fixed by the shortest turn to +y where r_y >= 0, and by
    a half turn about x and then the shortest turn to +y where r_y < 0. Both are smooth and free of 0/0 on their closed
    half-space, so that values and gradients are finite at both poles; the two differ by a turn about y at the equator
    r_y = 0, where there must be a jump somewhere (no continuous choice exists). What is equivariant under turns about y
    does not see it. An edge that counts as zero (see `unit_vectors`) gets the identity and gradient 0.
    """
    require("edge_frames: r", r, 3)
    n = unit_vectors(r)
    pole = n.new_tensor([0.0, 1.0, 0.0])
    n = torch.where((n.detach() == 0).all(-1, keepdim=True), pole, n)
    x, y, z = n.unbind(-1)
    side = torch.where(y.detach() < 0, -1.0, 1.0).to(n.dtype)
    k = 1 / (1 + side * y)
    rows = (1 - x * x * k, -side * x, -x * z * k, x, y, z, -side * x * z * k, -z, side * (1 - z * z * k))
    return torch.stack(rows, -1).unflatten(-1, (3, 3))


def axis_angle_to_matrix(v: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3 3"]:
    """The turn by |v| radians about v, smooth at v = 0."""
    return quaternion_to_matrix(axis_angle_to_quaternion(v))


def matrix_to_axis_angle(R: Float[Tensor, "*batch 3 3"]) -> Float[Tensor, "*batch 3"]:
    """The vector v, |v| <= pi, whose turn is R; smooth at the identity, either sign of v at a half turn."""
    return quaternion_to_axis_angle(matrix_to_quaternion(R))


def quaternion_to_axis_angle(q: Float[Tensor, "*batch 4"]) -> Float[Tensor, "*batch 3"]:
    """The vector v, |v| <= pi, of a quaternion (w, x, y, z) of any length and either sign; zero gives zero."""
    q = torch.where(q[..., :1] < 0, -q, q)
    w, xyz = q[..., :1], q[..., 1:]
    square = xyz.square().sum(-1, keepdim=True)
    small = square <= torch.finfo(q.dtype).eps ** 0.5 * w**2
    sine = torch.where(small, 1, square).sqrt()
    cosine = torch.where(small & (w > 0), w, 1)
    ratio = square / cosine**2  # of a small angle, tan^2 of its half: atan(t) / t = 1 - t^2 / 3 + t^4 / 5
    series = (2 - ratio * (2 / 3) + ratio**2 * (2 / 5)) / cosine
    return xyz * torch.where(small, series, 2 * torch.atan2(sine, w) / sine)


def axis_angle_to_quaternion(v: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 4"]:
    """The unit quaternion (w, x, y, z) of the turn by |v| about v, smooth at v = 0."""
    square = v.square().sum(-1, keepdim=True)
    # Below this angle the Taylor series is exact to rounding, and its gradient does not divide by the angle.
    small = square < torch.finfo(v.dtype).eps ** 0.5
    angle = torch.where(small, 1, square).sqrt()
    cosine = torch.where(small, 1 - square / 8 + square**2 / 384, (angle / 2).cos())
    half_sinc = torch.where(small, 0.5 - square / 48 + square**2 / 3840, (angle / 2).sin() / angle)
    return torch.cat([cosine, half_sinc * v], -1)


def quaternion_to_matrix(q: Float[Tensor, "*batch 4"]) -> Float[Tensor, "*batch 3 3"]:
    """The rotation of a quaternion (w, x, y, z) of any length but zero; zero gives the identity."""
    w, x, y, z = unit_vectors(q).unbind(-1)
    rows = (
        *(1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)),
        *(2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)),
        *(2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)),
    )
    return torch.stack(rows, -1).unflatten(-1, (3, 3))


def matrix_to_quaternion(R: Float[Tensor, "*batch 3 3"]) -> Float[Tensor, "*batch 4"]:
    """The unit quaternion (w, x, y, z) of a rotation, with w >= 0 (at w = 0, a half turn, either sign).

    The four columns of 4 q q^T are read off R, and the one with the largest diagonal is normalised, so that nothing
    small is divided by (Shepperd's choice).
    """
    (a, b, c), (d, e, f), (g, h, i) = (row.unbind(-1) for row in R.unbind(-2))
    columns = (
        torch.stack([1 + a + e + i, h - f, c - g, d - b], -1),
        torch.stack([h - f, 1 + a - e - i, b + d, c + g], -1),
        torch.stack([c - g, b + d, 1 - a + e - i, f + h], -1),
        torch.stack([d - b, c + g, f + h, 1 - a - e + i], -1),
    )
    outer = torch.stack(columns, -2)
    best = outer.detach().diagonal(dim1=-2, dim2=-1).argmax(-1)
    q = unit_vectors(torch.take_along_dim(outer, best[..., None, None], -2).squeeze(-2))
    return torch.where(q[..., :1] < 0, -q, q)


def six_d_to_matrix(v: Float[Tensor, "*batch 6"]) -> Float[Tensor, "*batch 3 3"]:
    """Gram-Schmidt on two vectors, which become the first two columns (arXiv:1812.07035).

    Zero or parallel vectors determine no frame: the result is then finite, with finite gradients, but no rotation.
    """
    first = unit_vectors(v[..., :3])
    second = unit_vectors(v[..., 3:] - (first * v[..., 3:]).sum(-1, keepdim=True) * first)
    return torch.stack([first, second, torch.linalg.cross(first, second)], -1)


def matrix_to_six_d(R: Float[Tensor, "*batch 3 3"]) -> Float[Tensor, "*batch 6"]:
    """The first two columns, one after the other."""
    return R[..., :2].mT.flatten(-2)


def geodesic_angle(A: Float[Tensor, "*batch 3 3"], B: Float[Tensor, "*batch 3 3"]) -> Float[Tensor, "*batch"]:
    """The angle in [0, pi] of the rotation A^T B, accurate at both ends, where it has gradient 0."""
    turn = (A[..., :, :, None] * B[..., :, None, :]).sum(-3)  # not a matrix product, which autocast would round
    trace = turn.diagonal(dim1=-2, dim2=-1).sum(-1)
    return torch.atan2(safe_norm(skew_vector(turn)), trace - 1)


def cross_matrix(v: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3 3"]:
    """The matrix [v] with [v] u = v x u."""
    x, y, z = v.unbind(-1)
    o = torch.zeros_like(x)
    return torch.stack([o, -z, y, z, o, -x, -y, x, o], -1).unflatten(-1, (3, 3))


def skew_vector(M: Float[Tensor, "*batch 3 3"]) -> Float[Tensor, "*batch 3"]:
    """The vector v with [v] = M - M^T; for a rotation, 2 sin(angle) times its axis."""
    return torch.stack([M[..., 2, 1] - M[..., 1, 2], M[..., 0, 2] - M[..., 2, 0], M[..., 1, 0] - M[..., 0, 1]], -1)


def determinant(M: Float[Tensor, "*batch 3 3"]) -> Float[Tensor, "*batch"]:
    """The 3 x 3 determinant as a triple product: any floating dtype, compiles, differentiable at singular matrices."""
    return (M[..., 0] * torch.linalg.cross(M[..., 1], M[..., 2])).sum(-1)


def random_rotations(
    *shape: int, generator: torch.Generator, dtype: torch.dtype = torch.float64
) -> Float[Tensor, "*shape 3 3"]:
    """Uniform (Haar) samples of SO(3), on the generator's device."""
    if any(size < 0 for size in shape):
        raise UserError(f"random_rotations: sizes must be >= 0, got {shape}")
    # Drawn in float64 and rounded, so that one seed means the same rotations in every dtype.
    q = torch.randn(*shape, 4, generator=generator, dtype=torch.float64, device=generator.device)
    return quaternion_to_matrix(q).to(dtype)


def random_orthogonal(
    *shape: int, generator: torch.Generator, dtype: torch.dtype = torch.float64
) -> Float[Tensor, "*shape 3 3"]:
    """Uniform (Haar) samples of O(3): half of them, at random, are improper."""
    R = random_rotations(*shape, generator=generator, dtype=dtype)
    signs = torch.randint(0, 2, shape, generator=generator, device=generator.device) * 2 - 1
    return R * signs[..., None, None].to(dtype)
