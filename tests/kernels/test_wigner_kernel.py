"""Wigner matrices as an operation: e3nn's in both precisions, and of edges that have no direction."""

import pytest
import torch
from e3nn import o3
from kernels.edge_algebra import default_float64

from erlangen import kernels
from erlangen.errors import UserError
from erlangen.geometry.rotations import edge_frames, random_rotations
from erlangen.geometry.wigner import unpack_blocks
from erlangen.kernels.wigner import conv_frames


def op(lmax, backend="reference"):
    return kernels.get("wigner", backend, lmax=lmax)


@pytest.mark.parametrize(("dtype", "bound"), [(torch.float64, 1e-13), (torch.float32, 1e-6)])
def test_blocks_are_e3nns(generator, dtype, bound):
    R = random_rotations(20, generator=generator)
    angles = o3.matrix_to_angles(R)
    with default_float64():
        true = [o3.wigner_D(degree, *angles) for degree in range(7)]
    for block, D in zip(unpack_blocks(op(6)(R.to(dtype)), 6), true, strict=True):
        assert (block - D).abs().max() < bound


def test_harmonics_turn_by_them(generator):
    r = torch.randn(10, 3, generator=generator, dtype=torch.float64)
    R = random_rotations(10, generator=generator)
    harmonics = kernels.get("spherical_harmonics", "reference", lmax=3)
    turned = harmonics((R @ r.unsqueeze(-1)).squeeze(-1))
    for degree, D in enumerate(unpack_blocks(op(3)(R), 3)):
        part = slice(degree**2, (degree + 1) ** 2)
        torch.testing.assert_close((D @ harmonics(r)[:, part, None]).squeeze(-1), turned[:, part])


def test_auto_compiles_nothing_where_the_rotation_itself_is_the_answer():
    choice = kernels.Kernels()
    kernels.get("wigner", choice, lmax=1)(torch.eye(3).expand(2, 3, 3))
    assert choice.ran == {"wigner": "reference"}


def test_in_its_frame_an_edge_has_order_zero_only(generator):
    """What the SO(2) reduction rests on: component-normalised Y_lm of the polar axis is sqrt(2l + 1) at m = 0."""
    r = torch.randn(10, 3, generator=generator, dtype=torch.float64)
    Y = kernels.get("spherical_harmonics", "reference", lmax=4)(r)
    for degree, D in enumerate(unpack_blocks(op(4)(conv_frames(r)), 4)):
        framed = (D @ Y[:, degree**2 : (degree + 1) ** 2, None]).squeeze(-1)
        zonal = torch.zeros(2 * degree + 1, dtype=torch.float64)
        zonal[degree] = (2 * degree + 1) ** 0.5
        torch.testing.assert_close(framed, zonal.expand_as(framed))


def test_frames_of_edges_are_those_of_geometry_unless_the_edge_has_no_length(generator):
    r = torch.randn(4, 3, generator=generator, dtype=torch.float64)
    r[1] = 0
    frames = conv_frames(r)
    assert torch.equal(frames[[0, 2, 3]], edge_frames(r[[0, 2, 3]]))
    packed = op(3)(frames)
    assert packed[1, 0] == 1
    assert packed[1, 1:].abs().max() == 0
    r.requires_grad_()
    (gradient,) = torch.autograd.grad(op(3)(conv_frames(r)).pow(3).sum(), r)
    assert gradient[1].abs().max() == 0
    assert gradient.isfinite().all()


@pytest.mark.parametrize("backend", ["reference", "compiled"])
def test_no_edges_have_no_matrices(backend):
    assert op(2, backend)(torch.zeros(0, 3, 3)).shape == (0, 35)


def test_mistakes_are_named():
    with pytest.raises(UserError, match=r"R is \(5, 3\); give \(edges, 3, 3\)"):
        op(2)(torch.ones(5, 3))
    with pytest.raises(UserError, match="lmax=-1"):
        op(-1)(torch.ones(5, 3, 3))
