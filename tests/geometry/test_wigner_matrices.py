"""Wigner matrices are a representation of O(3): e3nn's, and those of the closed forms."""

import math

import pytest
import torch
from e3nn import o3
from jaxtyping import config as jaxtyping_config
from scipy.special import eval_legendre
from torch.autograd import gradcheck, gradgradcheck

from erlangen.errors import UserError
from erlangen.geometry.irreps import Irreps
from erlangen.geometry.rotations import (
    axis_angle_to_matrix,
    edge_frames,
    geodesic_angle,
    random_orthogonal,
    random_rotations,
)
from erlangen.geometry.spherical_harmonics import spherical_harmonics
from erlangen.geometry.wigner import packed_size, representation, rotate, unpack_blocks, wigner, wigner_blocks

EVERY_KIND = "2x0e+3x0o+2x1o+1e+2e+2x2o+5o+5e"


def test_blocks_agree_with_e3nn(generator, default_float64):
    R = random_rotations(20, generator=generator)
    angles = o3.matrix_to_angles(R)
    for degree, D in enumerate(wigner_blocks(R, 8)):
        torch.testing.assert_close(D, o3.wigner_D(degree, *angles), atol=1e-12, rtol=0)


@pytest.mark.parametrize("irreps", [EVERY_KIND, "1o", "1x0e", "4x2e+0x3o+1x1o"])
def test_representation_agrees_with_e3nn_on_the_whole_of_o3(generator, default_float64, irreps):
    Q = random_orthogonal(4, 5, generator=generator)
    torch.testing.assert_close(representation(irreps, Q), o3.Irreps(irreps).D_from_matrix(Q), atol=1e-12, rtol=0)


def test_representation_is_a_homomorphism(generator):
    A, B = random_orthogonal(2, 20, generator=generator)
    DA, DB = representation(EVERY_KIND, A), representation(EVERY_KIND, B)
    torch.testing.assert_close(DA @ DB, representation(EVERY_KIND, A @ B), atol=1e-13, rtol=0)
    torch.testing.assert_close(DA.mT, representation(EVERY_KIND, A.mT), atol=1e-13, rtol=0)
    identity = representation(EVERY_KIND, torch.eye(3, dtype=torch.float64))
    torch.testing.assert_close(identity, torch.eye(Irreps(EVERY_KIND).dim, dtype=torch.float64), atol=1e-15, rtol=0)


def test_inversion_acts_by_parity():
    D = representation("2x0e+0o+1o+1e+3o+4o", -torch.eye(3, dtype=torch.float64))
    signs = torch.tensor(2 * [1.0] + [-1.0] + 3 * [-1.0] + 3 * [1.0] + 7 * [-1.0] + 9 * [-1.0], dtype=torch.float64)
    torch.testing.assert_close(D, torch.diag(signs), atol=1e-15, rtol=0)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-13), (torch.float32, 2e-6)])
def test_blocks_are_orthogonal_to_degree_11(generator, dtype, tolerance):
    for D in wigner_blocks(random_orthogonal(200, generator=generator, dtype=dtype), 11):
        eye = torch.eye(D.shape[-1], dtype=dtype)
        assert (D @ D.mT - eye).abs().max() < tolerance


def test_characters_and_zonal_elements(generator):
    """tr D^l = sin((2l+1) t/2) / sin(t/2) for the turning angle t, and D^l_00 = P_l(R_yy)."""
    R = random_rotations(50, generator=generator)
    half = geodesic_angle(torch.eye(3, dtype=torch.float64).expand_as(R), R) / 2
    for degree, D in enumerate(wigner_blocks(R, 11)):
        trace = D.diagonal(dim1=-2, dim2=-1).sum(-1)
        torch.testing.assert_close(trace, ((2 * degree + 1) * half).sin() / half.sin(), atol=1e-11, rtol=0)
        zonal = torch.from_numpy(eval_legendre(degree, R[:, 1, 1].numpy()))
        torch.testing.assert_close(D[:, degree, degree], zonal, atol=1e-13, rtol=0)


def test_turns_about_the_polar_axis_mix_plus_and_minus_m():
    angle = 0.7
    R = axis_angle_to_matrix(torch.tensor([0.0, angle, 0.0], dtype=torch.float64))
    for degree, D in enumerate(wigner_blocks(R, 6)):
        m = torch.arange(-degree, degree + 1, dtype=torch.float64)
        expected = torch.diag(torch.cos(m * angle)) + torch.diag(torch.sin(-m * angle)).flip(-1)
        torch.testing.assert_close(D, expected, atol=1e-14, rtol=0)


def test_edge_frames_leave_only_m_0(generator):
    """In its own frame an edge's harmonics are those of the pole, sqrt(2l + 1) at m = 0."""
    lmax = 6
    edges = torch.randn(30, 3, generator=generator, dtype=torch.float64)
    Y = rotate(spherical_harmonics(edges, lmax)[..., None], wigner_blocks(edge_frames(edges), lmax))
    expected = torch.zeros((lmax + 1) ** 2, dtype=torch.float64)
    for degree in range(lmax + 1):
        expected[degree * (degree + 1)] = math.sqrt(2 * degree + 1)
    torch.testing.assert_close(Y.squeeze(-1), expected.expand(30, -1), atol=1e-13, rtol=0)


def test_float32_error_is_below_a_millionth(generator):
    R = random_rotations(5000, generator=generator)
    assert (wigner(R.float(), 8) - wigner(R, 8)).abs().max() < 1e-6


def test_float32_gradients_are_accurate(generator):
    R = random_rotations(500, generator=generator)
    weights = torch.randn(packed_size(8), generator=generator, dtype=torch.float64)
    gradients = []
    for dtype in (torch.float32, torch.float64):
        leaf = R.to(dtype).requires_grad_()
        gradients += torch.autograd.grad((wigner(leaf, 8) @ weights.to(dtype)).sum(), leaf)
    single, double = gradients
    assert (single - double).abs().max() / double.abs().max() < 1e-5


def test_derivatives(generator):
    v = torch.randn(3, generator=generator, dtype=torch.float64, requires_grad=True)
    assert gradcheck(lambda v: wigner(axis_angle_to_matrix(v), 4), v)
    assert gradgradcheck(lambda v: wigner(axis_angle_to_matrix(v), 3), v)
    Q = random_orthogonal(2, generator=generator).requires_grad_()
    assert gradcheck(lambda Q: representation("0o+1e+2o", Q), Q)


@pytest.mark.parametrize("edge", [[0.0, 0, 0], [0.0, 1, 0], [0.0, -1, 0], [1.0, 0, 0]])
def test_gradients_through_edge_frames_are_finite_at_poles_and_zero(edge):
    edge = torch.tensor(edge, requires_grad=True)
    D = wigner(edge_frames(edge), 6)
    (gradient,) = torch.autograd.grad((D * torch.linspace(-1, 1, D.numel())).sum(), edge, create_graph=True)
    assert gradient.isfinite().all()
    (second,) = torch.autograd.grad(gradient.square().sum(), edge)
    assert second.isfinite().all()


def test_autocast_does_not_round_matrices(generator):
    R = random_rotations(5, generator=generator, dtype=torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        D, angle = wigner(R, 4), geodesic_angle(R, R.flip(0))
    assert torch.equal(D, wigner(R, 4))
    assert torch.equal(angle, geodesic_angle(R, R.flip(0)))


def test_packed_form_is_blocks_row_major_one_after_the_other(generator):
    R = random_rotations(2, 3, generator=generator)
    packed = wigner(R, 4)
    assert packed.shape == (2, 3, 1 + 9 + 25 + 49 + 81)
    assert packed_size(4) == 165
    assert packed.is_contiguous()
    blocks = unpack_blocks(packed, 4)
    assert torch.equal(torch.cat([D.flatten(-2) for D in blocks], -1), packed)
    torch.testing.assert_close(blocks[1], R, atol=0, rtol=0)
    assert [D.shape[-1] for D in blocks] == [1, 3, 5, 7, 9]


def test_rotating_back_undoes_rotating(generator):
    x = torch.randn(7, 16, 5, generator=generator, dtype=torch.float64)
    blocks = wigner_blocks(random_orthogonal(7, generator=generator), 3)
    there = rotate(x, blocks)
    assert (there - x).abs().max() > 0.1
    torch.testing.assert_close(rotate(there, blocks, inverse=True), x)
    dense = representation(Irreps.spherical(3), blocks[1]) @ x
    torch.testing.assert_close(there, dense)


def test_empty_and_unbatched_inputs():
    assert wigner(torch.zeros(0, 3, 3), 4).shape == (0, 165)
    assert wigner(torch.eye(3), 0).tolist() == [1.0]
    assert representation("", torch.eye(3).expand(2, 3, 3)).shape == (2, 0, 0)
    assert rotate(torch.zeros(0, 9, 4), wigner_blocks(torch.zeros(0, 3, 3), 2)).shape == (0, 9, 4)
    assert wigner(torch.eye(3, dtype=torch.bfloat16), 3).dtype == torch.bfloat16


def test_one_bad_rotation_spoils_no_other(generator):
    R = random_rotations(5, generator=generator)
    bad = R.clone()
    bad[3, 0, 1] = torch.nan
    others = [0, 1, 2, 4]
    assert torch.equal(wigner(bad, 4)[others], wigner(R, 4)[others])
    assert wigner(bad, 4)[3].isnan().any()


def test_bad_arguments_are_user_errors(monkeypatch):
    # As in a user's process, where signatures are not checked.
    monkeypatch.setattr(jaxtyping_config, "jaxtyping_disable", True)
    with pytest.raises(UserError, match="wigner: lmax must be >= 0, got -2"):
        wigner(torch.eye(3), -2)
    with pytest.raises(UserError, match=r"wigner: R: need a floating tensor \(..., 3, 3\), got torch.float32 \(5, 9\)"):
        wigner(torch.zeros(5, 9), 2)
    with pytest.raises(UserError, match="torch.int64"):
        wigner(torch.eye(3, dtype=torch.int64), 2)
    with pytest.raises(UserError, match="cannot read"):
        representation("1q", torch.eye(3))
    with pytest.raises(UserError, match="rotate: x"):
        rotate(torch.zeros(2, 10, 4), wigner_blocks(torch.eye(3), 2))
    with pytest.raises(UserError, match="unpack_blocks: packed"):
        unpack_blocks(torch.zeros(2, 164), 4)
