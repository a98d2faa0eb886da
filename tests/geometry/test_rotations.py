"""Rotations: conversions invert each other, sampling is uniform, edge frames have no singular point."""

import math

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.spatial.transform import Rotation
from torch.autograd import gradcheck, gradgradcheck

from erlangen.errors import UserError
from erlangen.geometry.rotations import (
    axis_angle_to_matrix,
    axis_angle_to_quaternion,
    cross_matrix,
    determinant,
    edge_frames,
    geodesic_angle,
    matrix_to_axis_angle,
    matrix_to_quaternion,
    matrix_to_six_d,
    quaternion_to_axis_angle,
    quaternion_to_matrix,
    random_orthogonal,
    random_rotations,
    safe_norm,
    six_d_to_matrix,
    skew_vector,
    unit_vectors,
)
from erlangen.geometry.wigner import wigner_blocks

EYE = torch.eye(3, dtype=torch.float64)
POLE = torch.tensor([0.0, 1.0, 0.0], dtype=torch.float64)
EPS = {torch.float32: 1e-6, torch.float64: 1e-14}
dtypes = pytest.mark.parametrize("dtype", [torch.float32, torch.float64])


def assert_rotation(R):
    eye = torch.eye(3, dtype=R.dtype).expand_as(R)
    torch.testing.assert_close(R @ R.mT, eye, atol=EPS[R.dtype], rtol=0)
    torch.testing.assert_close(determinant(R), torch.ones(R.shape[:-2], dtype=R.dtype), atol=EPS[R.dtype], rtol=0)


def awkward_vectors(generator):
    """Axis-angle vectors: generic ones, tiny ones, and half turns about every kind of axis."""
    generic = torch.randn(50, 3, generator=generator, dtype=torch.float64)
    generic = generic * (math.pi / generic.norm(dim=-1, keepdim=True)).clamp(max=1)
    tiny = 10.0 ** -torch.arange(1, 20, dtype=torch.float64)[:, None] * unit_vectors(generic[:19])
    half_turns = math.pi * unit_vectors(torch.cat([EYE, -EYE, generic[:20], torch.ones(1, 3, dtype=torch.float64)]))
    return torch.cat([generic, tiny, half_turns, torch.zeros(1, 3, dtype=torch.float64)])


# Conversions


def test_axis_angle_agrees_with_scipy(generator):
    v = awkward_vectors(generator)
    expected = torch.from_numpy(Rotation.from_rotvec(v.numpy()).as_matrix())
    torch.testing.assert_close(axis_angle_to_matrix(v), expected, atol=1e-14, rtol=0)


@dtypes
def test_conversions_invert_each_other(generator, dtype):
    v = awkward_vectors(generator)
    R = axis_angle_to_matrix(v).to(dtype)
    assert_rotation(R)
    close = {"atol": 3 * EPS[dtype], "rtol": 0}
    torch.testing.assert_close(quaternion_to_matrix(matrix_to_quaternion(R)), R, **close)
    torch.testing.assert_close(axis_angle_to_matrix(matrix_to_axis_angle(R)), R, **close)
    torch.testing.assert_close(six_d_to_matrix(matrix_to_six_d(R)), R, **close)
    opposite = -3 * matrix_to_quaternion(R)
    torch.testing.assert_close(axis_angle_to_matrix(quaternion_to_axis_angle(opposite)), R, **close)
    torch.testing.assert_close(quaternion_to_matrix(axis_angle_to_quaternion(v.to(dtype))), R, **close)


def test_small_angles_keep_their_digits():
    v = 1e-9 * torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
    torch.testing.assert_close(quaternion_to_axis_angle(axis_angle_to_quaternion(v)), v, atol=0, rtol=1e-14)
    torch.testing.assert_close(skew_vector(axis_angle_to_matrix(v)), 2 * v, atol=0, rtol=1e-14)


def test_quaternions_follow_scipy_and_have_positive_w(generator):
    R = random_rotations(100, generator=generator)
    q = matrix_to_quaternion(R)
    expected = torch.from_numpy(Rotation.from_matrix(R.numpy()).as_quat(canonical=True, scalar_first=True))
    torch.testing.assert_close(q, expected, atol=1e-14, rtol=0)
    assert (q[:, 0] >= 0).all()


def test_six_d_forgets_lengths_and_shear(generator):
    R = random_rotations(20, generator=generator)
    first, second = R[..., 0], R[..., 1]
    bent = torch.cat([3 * first, 0.2 * second - 5 * first], -1)
    torch.testing.assert_close(six_d_to_matrix(bent), R, atol=1e-13, rtol=0)


def test_defined_results_for_nothing():
    zeros = {n: torch.zeros(n, dtype=torch.float64, requires_grad=True) for n in (3, 4, 6)}
    torch.testing.assert_close(axis_angle_to_matrix(zeros[3]), EYE)
    torch.testing.assert_close(quaternion_to_matrix(zeros[4]), EYE)
    assert (quaternion_to_axis_angle(zeros[4]) == 0).all()
    assert (unit_vectors(zeros[3]) == 0).all()
    assert safe_norm(zeros[3]) == 0
    functions = {
        3: [axis_angle_to_matrix, axis_angle_to_quaternion, unit_vectors, safe_norm],
        4: [quaternion_to_matrix, quaternion_to_axis_angle],
        6: [six_d_to_matrix],
    }
    for n, calls in functions.items():
        for call in calls:
            assert torch.autograd.functional.jacobian(call, zeros[n]).isfinite().all()


@pytest.mark.parametrize("v", [[0.3, -0.4, 1.0], [1e-6, 0, 0], [0.0, 0, 0], [0, 0, 3.1], [2e-4, 1e-4, 0]])
def test_axis_angle_derivatives(v):
    v = torch.tensor(v, dtype=torch.float64, requires_grad=True)
    for call in (axis_angle_to_matrix, axis_angle_to_quaternion):
        assert gradcheck(call, v)
        assert gradgradcheck(call, v)
    assert gradcheck(lambda v: matrix_to_axis_angle(axis_angle_to_matrix(v)), v)


def test_quaternion_and_six_d_derivatives(generator):
    q = torch.randn(5, 4, generator=generator, dtype=torch.float64, requires_grad=True)
    assert gradcheck(quaternion_to_matrix, q)
    assert gradcheck(quaternion_to_axis_angle, q)
    assert gradcheck(lambda q: matrix_to_quaternion(quaternion_to_matrix(q)), q)
    assert gradcheck(six_d_to_matrix, torch.randn(5, 6, generator=generator, dtype=torch.float64, requires_grad=True))


def test_cross_matrix_is_the_cross_product(generator):
    u, v = torch.randn(2, 10, 3, generator=generator, dtype=torch.float64)
    torch.testing.assert_close((cross_matrix(v) @ u[..., None]).squeeze(-1), torch.linalg.cross(v, u))
    torch.testing.assert_close(skew_vector(cross_matrix(v)), 2 * v)


def test_determinant_agrees_with_lu(generator):
    M = torch.randn(20, 3, 3, generator=generator, dtype=torch.float64)
    torch.testing.assert_close(determinant(M), torch.linalg.det(M))


# Distances


@dtypes
def test_geodesic_angle_is_the_angle_turned(generator, dtype):
    angles = torch.tensor([0.0, 1e-3, 0.1, 1.0, 3.0, math.pi - 1e-3, math.pi], dtype=torch.float64)
    A = random_rotations(7, generator=generator)
    axis = unit_vectors(torch.randn(7, 3, generator=generator, dtype=torch.float64))
    B = A @ axis_angle_to_matrix(angles[:, None] * axis)
    measured = geodesic_angle(A.to(dtype), B.to(dtype))
    torch.testing.assert_close(measured, angles.to(dtype), atol=3 * EPS[dtype], rtol=0)


def test_geodesic_angle_is_biinvariant_and_has_finite_gradients(generator):
    A, B, G = random_rotations(3, 10, generator=generator)
    torch.testing.assert_close(geodesic_angle(G @ A, G @ B), geodesic_angle(A, B))
    torch.testing.assert_close(geodesic_angle(A @ G, B @ G), geodesic_angle(A, B))
    assert gradcheck(geodesic_angle, (A.requires_grad_(), B))
    half_turn = torch.diag(torch.tensor([1.0, -1.0, -1.0], dtype=torch.float64))
    for end in (EYE, half_turn):
        end = end.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(geodesic_angle(EYE, end), end)
        assert (gradient == 0).all()


# Sampling


def test_sampling_is_uniform(generator):
    count = 20000
    R = random_rotations(count, generator=generator)
    assert_rotation(R)
    # The density of the angle under the Haar measure is (1 - cos t) / pi; every irrep but the trivial one averages to 0.
    angles = geodesic_angle(EYE.expand_as(R), R).numpy()
    assert stats.kstest(angles, lambda t: (t - np.sin(t)) / math.pi).pvalue > 1e-3
    for degree, D in enumerate(wigner_blocks(R, 4)[1:], 1):
        assert D.mean(0).abs().max() < 5 / math.sqrt((2 * degree + 1) * count)


def test_orthogonal_sampling_has_both_signs_independently(generator):
    R = random_orthogonal(4000, generator=generator)
    signs = determinant(R)
    torch.testing.assert_close(signs.abs(), torch.ones(4000, dtype=torch.float64))
    assert abs(signs.mean()) < 5 / math.sqrt(4000)
    assert R.mean(0).abs().max() < 5 / math.sqrt(3 * 4000)


def test_sampling_uses_its_generator_only():
    before = torch.random.get_rng_state()
    draws = [random_orthogonal(2, 3, generator=torch.Generator().manual_seed(5)) for _ in range(2)]
    assert torch.equal(*draws)
    assert torch.equal(torch.random.get_rng_state(), before)
    single = random_rotations(2, 3, generator=torch.Generator().manual_seed(5), dtype=torch.float32)
    double = random_rotations(2, 3, generator=torch.Generator().manual_seed(5))
    assert torch.equal(single, double.float())
    assert random_rotations(generator=torch.Generator()).shape == (3, 3)
    assert random_rotations(0, generator=torch.Generator()).shape == (0, 3, 3)
    with pytest.raises(UserError, match="sizes must be >= 0"):
        random_rotations(-1, generator=torch.Generator())


# Edge frames


def special_edges(generator):
    edges = torch.randn(40, 3, generator=generator, dtype=torch.float64)
    near = torch.tensor([[1e-9, 1, 0], [0, -1, 1e-9], [1e-17, -1, 0], [0.6, 0, 0.8], [1, 1e-17, 0], [1, -1e-17, 0]])
    return torch.cat([edges, 2.5 * EYE, -0.5 * EYE, near.double()])


@dtypes
def test_edge_frames_take_edges_to_the_polar_axis(generator, dtype):
    edges = special_edges(generator).to(dtype)
    R = edge_frames(edges)
    assert_rotation(R)
    expected = safe_norm(edges)[:, None] * POLE.to(dtype)
    torch.testing.assert_close((R @ edges[..., None]).squeeze(-1), expected, atol=4 * EPS[dtype], rtol=0)


@dtypes
def test_edge_frames_of_extreme_lengths(dtype):
    tiny, largest = torch.finfo(dtype).tiny, torch.finfo(dtype).max
    edge = torch.tensor([0.6, 0.0, -0.8], dtype=dtype)
    expected = edge_frames(edge)
    for length in (2 * tiny**0.5, 1e-8, 1e8, largest / 2):
        torch.testing.assert_close(edge_frames(length * edge), expected, atol=EPS[dtype], rtol=0)


def test_zero_edges_have_the_identity_and_no_gradient():
    edges = torch.tensor([[0.0, 0, 0], [1e-200, 0, 1e-300], [0.3, -1, 2]], dtype=torch.float64, requires_grad=True)
    R = edge_frames(edges)
    assert torch.equal(R[:2], EYE.expand(2, 3, 3))
    (gradient,) = torch.autograd.grad((R * torch.randn_like(R)).sum(), edges)
    assert (gradient[:2] == 0).all()
    assert (gradient[2] != 0).all()


@pytest.mark.parametrize(
    "edge", [[0, 1.0, 0], [0, -2.0, 0], [0.1, 1, 0], [0.3, -0.9, 1.2], [1e-9, -1, 0], [1, 0.01, 0]]
)
def test_edge_frames_are_smooth_inside_each_half_space(edge):
    edge = torch.tensor(edge, dtype=torch.float64, requires_grad=True)
    assert gradcheck(edge_frames, edge)
    assert gradgradcheck(edge_frames, edge)


def test_edge_frames_jump_at_the_equator_by_a_turn_about_the_pole():
    above = torch.tensor([0.6, 1e-12, 0.8], dtype=torch.float64)
    turn = edge_frames(above) @ edge_frames(above * torch.tensor([1.0, -1.0, 1.0])).mT
    assert geodesic_angle(turn, EYE) > 0.1
    torch.testing.assert_close(turn @ POLE, POLE, atol=1e-11, rtol=0)


def test_one_bad_edge_spoils_no_other(generator):
    edges = torch.randn(4, 3, generator=generator, dtype=torch.float64)
    expected = edge_frames(edges)
    bad = edges.clone()
    bad[1, 2] = torch.nan
    frames = edge_frames(bad)
    assert frames[1].isnan().any()
    assert torch.equal(frames[[0, 2, 3]], expected[[0, 2, 3]])
    assert edge_frames(edges[:0]).shape == (0, 3, 3)
