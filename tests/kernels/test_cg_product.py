"""The Clebsch-Gordan product, against e3nn's TensorProduct and for equivariance."""

import pytest
import torch
from e3nn import o3

from erlangen import kernels
from erlangen.errors import UserError
from erlangen.geometry.rotations import random_orthogonal, random_rotations
from erlangen.geometry.wigner import rotate, wigner_blocks
from erlangen.kernels.cg_product import paths

ROWS, CHANNELS = 6, 4


def randn(generator, *shape):
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def product(spec):
    lmax1, lmax2, lmax3, odd = spec
    return kernels.get("cg_product", lmax1=lmax1, lmax2=lmax2, lmax3=lmax3, odd=odd)


def arguments(generator, spec, filters=CHANNELS, rows=ROWS):
    lmax1, lmax2, _, _ = spec
    return (
        randn(generator, ROWS, (lmax1 + 1) ** 2, CHANNELS),
        randn(generator, ROWS, (lmax2 + 1) ** 2, filters),
        randn(generator, rows, len(paths(*spec)), CHANNELS),
    )


def to_e3nn(x):
    """(rows, components, channels) to e3nn's degrees one after the other, each (channels, 2l + 1)."""
    lmax = int(x.shape[1] ** 0.5) - 1
    return torch.cat([x[:, degree**2 : (degree + 1) ** 2].mT.flatten(1) for degree in range(lmax + 1)], 1)


def irreps(lmax, channels, odd):
    """With odd paths parity cannot tell degrees apart: all are even."""
    return o3.Irreps([(channels, (degree, 1 if odd else (-1) ** degree)) for degree in range(lmax + 1)])


@pytest.mark.parametrize("spec", [(2, 2, 2, True), (3, 3, 3, False), (1, 3, 2, True), (2, 1, 3, False)])
@pytest.mark.parametrize("mode", ["uuu", "uvu"])
@pytest.mark.parametrize("rows", [1, ROWS])
def test_agrees_with_e3nn(default_float64, generator, spec, mode, rows):
    lmax1, lmax2, lmax3, odd = spec
    filters = CHANNELS if mode == "uuu" else 1
    x, y, weight = arguments(generator, spec, filters, rows)
    reference = o3.TensorProduct(
        irreps(lmax1, CHANNELS, odd),
        irreps(lmax2, filters, odd),
        irreps(lmax3, CHANNELS, odd),
        [(*path, mode, True) for path in paths(*spec)],
        shared_weights=False,
        internal_weights=False,
    )
    expected = reference(to_e3nn(x), to_e3nn(y), weight.expand(ROWS, -1, -1).flatten(1))
    torch.testing.assert_close(to_e3nn(product(spec)(x, y, weight)), expected, atol=1e-12, rtol=0)


def test_paths_are_those_that_couple():
    assert paths(1, 1, 1, True) == [(0, 0, 0), (0, 1, 1), (1, 0, 1), (1, 1, 0), (1, 1, 1)]
    assert paths(1, 1, 1, False) == [(0, 0, 0), (0, 1, 1), (1, 0, 1), (1, 1, 0)]
    assert len(paths(3, 6, 3, True)) == 44


@pytest.mark.parametrize(("odd", "group"), [(True, random_rotations), (False, random_orthogonal)])
@pytest.mark.parametrize(("dtype", "bound"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
def test_it_is_equivariant_and_under_reflections_too_without_odd_paths(generator, odd, group, dtype, bound):
    spec = (3, 2, 3, odd)
    x, y, weight = (t.to(dtype) for t in arguments(generator, spec))
    R = group(ROWS, generator=generator).to(dtype)
    turned = product(spec)(rotate(x, wigner_blocks(R, 3)), rotate(y, wigner_blocks(R, 2)), weight)
    expected = rotate(product(spec)(x, y, weight), wigner_blocks(R, 3))
    assert (turned - expected).abs().max() <= bound * expected.abs().max()


def test_odd_paths_tell_left_from_right(generator):
    """With them a reflection is not a symmetry: degree 1 of 1 x 1 is the cross product."""
    spec = (1, 1, 1, True)
    x, y, weight = arguments(generator, spec)
    mirror = wigner_blocks(-torch.eye(3, dtype=torch.float64).expand(ROWS, 3, 3), 1)
    out = product(spec)(rotate(x, mirror), rotate(y, mirror), weight)
    difference = out - rotate(product(spec)(x, y, weight), mirror)
    assert difference[:, 1:].abs().max() > 0.1
    assert difference[:, :1].abs().max() < 1e-14
    cross = torch.linalg.cross(x[:, 1:], y[:, 1:], dim=1) * weight[:, -1:] / (2 * 3) ** 0.5
    torch.testing.assert_close(difference[:, 1:].abs(), 2 * cross.abs())


def test_degrees_that_no_path_reaches_are_zero(generator):
    out = product((1, 0, 3, False))(*arguments(generator, (1, 0, 3, False)))
    assert out[:, 4:].abs().max() == 0
    assert out[:, :4].abs().min() > 0


def test_no_rows_give_no_rows_and_gradients_of_zero():
    x, y = torch.zeros(0, 4, 2, requires_grad=True), torch.zeros(0, 4, 1)
    weight = torch.ones(1, 5, 2, requires_grad=True)
    out = product((1, 1, 1, True))(x, y, weight)
    assert out.shape == (0, 4, 2)
    out.sum().backward()
    assert weight.grad.abs().max() == 0


@pytest.mark.parametrize(
    ("shapes", "why"),
    [
        (((6, 4, 2), (6, 9, 2), (6, 5, 2)), r"y \(rows, 4, channels or 1\)"),
        (((6, 4, 2), (5, 4, 2), (6, 5, 2)), r"y \(5, 4, 2\)"),
        (((6, 4, 2), (6, 4, 2), (6, 4, 2)), "5 paths"),
        (((6, 4, 2), (6, 4, 2), (2, 5, 2)), "weight .rows or 1"),
        (((6, 4), (6, 4), (6, 5)), r"x \(rows, 4, channels\)"),
    ],
)
def test_wrong_shapes_are_named(shapes, why):
    with pytest.raises(UserError, match=why):
        product((1, 1, 1, True))(*(torch.ones(shape) for shape in shapes))


def test_a_negative_degree_is_refused():
    with pytest.raises(UserError, match="lmax must be >= 0"):
        product((-1, 1, 1, True))(*(torch.ones(2, 4, 2) for _ in range(3)))
