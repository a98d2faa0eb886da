"""Activations: what is exact must be exact, and what a grid spoils must stay below the bound that it declares."""

import math

import pytest
import torch
from e3nn import nn

from erlangen import kernels
from erlangen.errors import UserError
from erlangen.geometry.rotations import axis_angle_to_matrix, random_orthogonal
from erlangen.geometry.wigner import rotate, wigner_blocks
from erlangen.kernels.s2_activation import FUNCTIONS, declared_bound, equivariance_error, error_curve, synthesis_matrix

LMAX, ROWS, CHANNELS = 3, 5, 4


def activation(kind, function="silu", resolution=(16, 32), lmax=LMAX):
    grid = {} if kind == "gated" else {"resolution": resolution}
    return kernels.get("s2_activation", lmax=lmax, kind=kind, function=function, **grid)


def features(generator, gates=0):
    x = torch.randn(ROWS, (LMAX + 1) ** 2, CHANNELS, generator=generator, dtype=torch.float64)
    scalars = torch.randn(ROWS, gates, CHANNELS, generator=generator, dtype=torch.float64)
    return (x, scalars) if gates else (x,)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_on_a_fine_grid_it_is_e3nns(default_float64, generator, function):
    (x,) = features(generator)
    reference = nn.S2Activation("0e+1e+2e+3e", FUNCTIONS[function], 100, normalization="component")
    expected = reference(x.mT) / reference.act.cst  # e3nn scales its functions to a unit second moment
    found = activation("pointwise", function, (80, 160))(x)
    torch.testing.assert_close(found.mT, expected, atol=1e-9, rtol=0)


def test_a_constant_signal_has_a_closed_form(generator):
    (x,) = features(generator)
    x[:, 1:] = 0
    out = activation("pointwise")(x)
    scale = math.sqrt(LMAX + 1)
    torch.testing.assert_close(out[:, 0], scale * FUNCTIONS["silu"](x[:, 0] / scale))
    assert out[:, 1:].abs().max() < 1e-14


def test_small_signals_pass_a_function_of_slope_one(generator):
    (x,) = features(generator)
    torch.testing.assert_close(activation("pointwise", "tanh", (4, 7))(1e-5 * x), 1e-5 * x, rtol=1e-8, atol=1e-13)


def test_independent_features_of_unit_variance_have_samples_of_unit_variance():
    for lmax in (0, 1, 5):
        variance = synthesis_matrix(9, 12, lmax).square().sum(1)
        torch.testing.assert_close(variance, torch.ones_like(variance))


@pytest.mark.parametrize("lmax", [1, 2, 4, 6])
@pytest.mark.parametrize("function", FUNCTIONS)
def test_the_error_falls_with_resolution_and_stays_below_the_declared_bound(lmax, function):
    degrees = [2 * lmax, 3 * lmax, 5 * lmax, 8 * lmax]
    curve = error_curve(lmax, [(degree // 2 + 1, degree + 1) for degree in degrees], function)
    errors = [error for error, _ in curve.values()]
    assert all(error <= bound for error, bound in curve.values())
    assert errors[0] > 0.05
    assert errors[0] > 3 * errors[2] > 9 * errors[3] > 0
    bounds = [bound for _, bound in curve.values()]
    assert bounds == sorted(bounds, reverse=True)


def test_a_fine_grid_is_as_good_as_exact():
    assert equivariance_error(4, (64, 65)) < 1e-9
    assert equivariance_error(0, (1, 1)) <= declared_bound(0, (1, 1)) == 1e-12


@pytest.mark.parametrize("kind", ["pointwise", "separable"])
def test_turns_of_the_grid_into_itself_are_exact(generator, kind):
    args = features(generator, gates=kind == "separable")
    turn = axis_angle_to_matrix(torch.tensor([0, 3 * 2 * math.pi / 9, 0], dtype=torch.float64)).expand(ROWS, 3, 3)
    D = wigner_blocks(turn, LMAX)
    kernel = activation(kind, resolution=(5, 9))
    torch.testing.assert_close(kernel(rotate(args[0], D), *args[1:]), rotate(kernel(*args), D), atol=1e-13, rtol=0)


@pytest.mark.parametrize(("dtype", "bound"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
def test_gates_are_exactly_equivariant(generator, dtype, bound):
    x, scalars = (t.to(dtype) for t in features(generator, LMAX))
    D = wigner_blocks(random_orthogonal(ROWS, generator=generator).to(dtype), LMAX)
    kernel = activation("gated")
    expected = rotate(kernel(x, scalars), D)
    assert (kernel(rotate(x, D), scalars) - expected).abs().max() <= bound * expected.abs().max()


def test_gates_scale_each_degree(generator):
    x, scalars = features(generator, LMAX)
    out = activation("gated")(x, scalars)
    torch.testing.assert_close(out[:, 0], FUNCTIONS["silu"](x[:, 0]))
    for degree in range(1, LMAX + 1):
        part = slice(degree**2, (degree + 1) ** 2)
        torch.testing.assert_close(out[:, part], x[:, part] * scalars[:, degree - 1 : degree].sigmoid())


def test_separable_takes_its_scalars_past_the_grid(generator):
    x, scalars = features(generator, 1)
    out = activation("separable")(x, scalars)
    assert torch.equal(out[:, :1], FUNCTIONS["silu"](scalars))
    torch.testing.assert_close(out[:, 1:], activation("pointwise")(x)[:, 1:], atol=1e-14, rtol=0)


@pytest.mark.parametrize(("kind", "gates"), [("pointwise", 0), ("gated", LMAX)])
def test_the_other_kinds_have_right_derivatives_to_second_order(generator, kind, gates):
    args = [t[:2, :, :2].clone().requires_grad_() for t in features(generator, gates)]
    kernel = activation(kind, resolution=(4, 7))
    assert torch.autograd.gradcheck(kernel, args, fast_mode=True)
    assert torch.autograd.gradgradcheck(kernel, args, fast_mode=True)


@pytest.mark.parametrize(("kind", "gates"), [("pointwise", 0), ("separable", 1), ("gated", LMAX)])
def test_no_rows_give_no_rows(generator, kind, gates):
    args = [t[:0].requires_grad_() for t in features(generator, gates)]
    out = activation(kind)(*args)
    assert out.shape == (0, 16, CHANNELS)
    out.sum().backward()


@pytest.mark.parametrize(
    ("spec", "shapes", "why"),
    [
        ({"kind": "swish"}, [(5, 16, 2)], "kind='swish'"),
        ({"kind": "gated", "function": "cosine"}, [(5, 16, 2)], "function='cosine'"),
        ({"kind": "gated", "resolution": (8, 8)}, [(5, 16, 2), (5, 3, 2)], "give one, except for gated"),
        ({"kind": "pointwise"}, [(5, 16, 2)], "resolution=None"),
        ({"kind": "pointwise", "resolution": (4, 6)}, [(5, 16, 2)], "cannot hold degree 3; give at least 4 x 7"),
        ({"kind": "pointwise", "resolution": (4, 7)}, [(5, 9, 2)], r"give \(rows, 16, channels\)"),
        ({"kind": "pointwise", "resolution": (4, 7)}, [(5, 16, 2), (5, 1, 2)], "pointwise takes None"),
        ({"kind": "separable", "resolution": (4, 7)}, [(5, 16, 2)], r"separable takes \(5, 1, 2\)"),
        ({"kind": "gated"}, [(5, 16, 2), (5, 4, 2)], r"gated takes \(5, 3, 2\)"),
    ],
)
def test_mistakes_are_named(spec, shapes, why):
    with pytest.raises(UserError, match=why):
        kernels.get("s2_activation", lmax=3, **spec)(*(torch.ones(shape) for shape in shapes))
