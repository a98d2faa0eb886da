"""Hyperbolic layers: what geometry says of every point and window, the hyperboloid and the ball, and no curvature at all."""

import math
from functools import partial

import pytest
import torch
from torch import nn
from torch.nn.functional import conv2d, pad, unfold

from erlangen import kernels
from erlangen.geometry.hyperbolic import lorentz, poincare
from erlangen.kernels import Kernels
from erlangen.kernels.hyperbolic_norm import ROUTES
from erlangen.nn.hyperbolic import Edge, HyperbolicBatchNorm, projected_share
from erlangen.nn.hyperbolic_lorentz import LorentzBatchNorm, LorentzConv2d, LorentzMLR, lorentz_mean
from erlangen.nn.hyperbolic_poincare import (
    LIMIT,
    PoincareBatchNorm,
    PoincareConv2d,
    PoincareMLR,
    PoincareReLU,
    PoincareSum,
    ToSpace,
    beta_half,
)

CURVATURES = [0.1, 1.0]
FLAT = 1e-10
CHOICE = Kernels()
BACKENDS = [name for name, support in kernels.available("hyperbolic_norm").items() if support.reason is None]
LAYERS = [
    partial(LorentzConv2d, CHOICE, 3, 3, 3, 1, 1),
    partial(LorentzBatchNorm, CHOICE, 3),
    partial(PoincareConv2d, CHOICE, 3, 3, 3, 1, 1),
    partial(PoincareBatchNorm, CHOICE, 3),
]


def maps(*shape: int, scale: float = 1.0) -> torch.Tensor:
    return scale * torch.randn(*shape, dtype=torch.float64)


def points(x: torch.Tensor) -> torch.Tensor:
    """Every pixel of maps a row."""
    return x.permute(0, 2, 3, 1).flatten(0, 2)


def drawn(layer: nn.Module, scale: float = 0.3) -> nn.Module:
    """The layer in float64, every parameter moved away from where it begins."""
    layer = layer.double()
    with torch.no_grad():
        for p in layer.parameters():
            p.add_(scale * torch.randn_like(p))
    return layer


@pytest.mark.parametrize("c", CURVATURES)
@pytest.mark.parametrize("stride", [1, 2])
def test_lorentz_convolution_is_a_linear_map_of_concatenated_points(c: float, stride: int) -> None:
    layer, x = drawn(LorentzConv2d(CHOICE, 3, 5, 3, stride, 1, c)), maps(2, 3, 6, 6)
    origin = 1 / c**0.5
    full = torch.cat([(x.square().sum(1, keepdim=True) + 1 / c).sqrt(), x], 1)
    full = torch.cat([pad(full[:, :1], (1, 1, 1, 1), value=origin), pad(full[:, 1:], (1, 1, 1, 1))], 1)
    windows = unfold(full, 3, stride=stride).unflatten(1, (4, 9))
    time = (windows[:, :1].square().sum(2, keepdim=True) - 8 / c).sqrt()  # Lorentz direct concatenation
    joined = torch.cat([time.flatten(1, 2), windows[:, 1:].flatten(1, 2)], 1)
    assert lorentz.off_hyperboloid(joined.mT, c).max() < 1e-12
    weight = torch.cat([layer.time_weight, layer.weight.flatten(1)], 1)
    expected = weight @ joined + (layer.bias - layer.time_weight[:, 0] * origin)[:, None]
    torch.testing.assert_close(layer(x).flatten(2), expected)


def normalised(layer: HyperbolicBatchNorm, x: torch.Tensor, direct: bool) -> torch.Tensor:
    """Batch norm of points on the hyperboloid by logarithm, transport and exponential; transport direct or by the origin."""
    c, mean = layer.c, lorentz.centroid(x, layer.c)
    origin, beta = (lorentz.lift(s, c) for s in (torch.zeros_like(layer.beta), layer.space_of_beta()))
    variance = lorentz.distance(x, mean, c).square().mean()
    u = layer.gamma / (variance + layer.eps).sqrt() * lorentz.logmap(mean.expand_as(x), x, c)
    if direct:
        u = lorentz.transport(mean.expand_as(x), beta, u, c)
    else:
        u = lorentz.transport(origin, beta, lorentz.transport(mean.expand_as(x), origin, u, c), c)
    return lorentz.expmap(beta.expand_as(x), u, c)


@pytest.mark.parametrize("c", CURVATURES)
def test_lorentz_batch_norm_moves_points_along_geodesics(c: float) -> None:
    layer, x = drawn(LorentzBatchNorm(CHOICE, 4, c)), maps(3, 4, 5, 5)
    expected = normalised(layer, lorentz.lift(points(x), c), direct=False)
    torch.testing.assert_close(points(layer(x)), expected[:, 1:])
    assert lorentz.off_hyperboloid(expected, c).max() < 1e-10


@pytest.mark.parametrize("c", CURVATURES)
def test_poincare_batch_norm_moves_points_along_geodesics(c: float) -> None:
    layer, x = drawn(PoincareBatchNorm(CHOICE, 4, c)), maps(3, 4, 5, 5)
    expected = normalised(layer, lorentz.lift(points(x), c), direct=True)
    torch.testing.assert_close(points(layer(x)), expected[:, 1:])
    torch.testing.assert_close(in_ball(layer.space_of_beta()[None], c), poincare.expmap0(layer.beta[None], c))


def in_ball(space: torch.Tensor, c: float) -> torch.Tensor:
    """The points of the ball whose space parts these rows are."""
    return lorentz.to_poincare(lorentz.lift(space, c), c)


@pytest.mark.parametrize("c", CURVATURES)
def test_relu_acts_on_tangent_vectors_of_the_ball(c: float) -> None:
    x = maps(3, 4, 5, 5)
    tangent = poincare.logmap0(in_ball(points(x), c), c)
    torch.testing.assert_close(points(PoincareReLU(CHOICE, c)(x)), tangent.relu())
    y = 0.3 * x
    torch.testing.assert_close(in_ball(points(ToSpace(CHOICE, c)(y)), c), poincare.expmap0(points(y), c))


@pytest.mark.parametrize("c", CURVATURES)
@pytest.mark.parametrize("stride", [1, 2])
def test_poincare_convolution_is_the_layer_of_hyperplane_distances(c: float, stride: int) -> None:
    """Beta-concatenation, then the point whose distances from the coordinate hyperplanes are 2 |z| d (HNN++)."""
    layer, x = drawn(PoincareConv2d(CHOICE, 3, 5, 3, stride, 1, c)), maps(2, 3, 6, 6, scale=0.4)
    windows = unfold(x, 3, padding=1, stride=stride).mT * beta_half(27) / beta_half(3)
    z = layer.z.flatten(1)
    v = 2 * z.norm(dim=1) * poincare.hyperplane_distance(poincare.expmap0(windows, c), z, layer.r, c)
    w = (c**0.5 * v).sinh() / c**0.5
    y = w / (1 + (1 + c * w.square().sum(-1, keepdim=True)).sqrt())
    torch.testing.assert_close(in_ball(layer(x).flatten(2).mT, c), y)
    planes = poincare.hyperplane_distance(y, torch.eye(5, dtype=torch.float64), torch.zeros(5, dtype=torch.float64), c)
    torch.testing.assert_close(planes, v)
    assert poincare.outside(y, c).sum() == 0


@pytest.mark.parametrize("c", CURVATURES)
def test_poincare_residuals_are_sums_of_gyrovectors(c: float) -> None:
    x, y = maps(2, 3, 4, 4, scale=0.4), maps(2, 3, 4, 4, scale=0.4)
    expected = poincare.mobius_add(in_ball(points(x), c), in_ball(points(y), c), c)
    torch.testing.assert_close(in_ball(points(PoincareSum(CHOICE, c)(x, y)), c), expected)


@pytest.mark.parametrize("c", CURVATURES)
def test_classifiers_measure_distances_from_hyperplanes(c: float) -> None:
    x = maps(6, 3)
    layer = drawn(LorentzMLR(3, 4, c))
    # the published logit, by the hyperplane's normal vector w in Minkowski space
    wt, ws = (c**0.5 * layer.a).sinh() * layer.z.norm(dim=1), (c**0.5 * layer.a).cosh()[:, None] * layer.z
    beta = (ws.square().sum(1) - wt.square()).sqrt()
    alpha = ws @ x.T - wt[:, None] * (x.square().sum(1) + 1 / c).sqrt()
    torch.testing.assert_close(layer(x).T, beta[:, None] / c**0.5 * (c**0.5 * alpha / beta[:, None]).asinh())
    layer = drawn(PoincareMLR(3, 4, c))
    distances = poincare.hyperplane_distance(poincare.expmap0(x, c), layer.z, layer.r, c)
    torch.testing.assert_close(layer(x), 2 * layer.z.norm(dim=1) * distances)


def test_pooling_is_the_centroid() -> None:
    x = maps(3, 4, 5, 5)
    expected = lorentz.centroid(lorentz.lift(x.flatten(2).mT, 0.5), 0.5)
    torch.testing.assert_close(lorentz_mean(x, 0.5), expected[:, 1:])


def test_without_curvature_convolutions_and_classifiers_are_plain() -> None:
    x, close = maps(2, 3, 6, 6), {"atol": 1e-4, "rtol": 1e-4}
    layer = drawn(LorentzConv2d(CHOICE, 3, 5, 3, 2, 1, FLAT))
    torch.testing.assert_close(layer(x), conv2d(x, layer.weight, layer.bias, 2, 1), **close)
    layer = drawn(PoincareConv2d(CHOICE, 3, 5, 3, 2, 1, FLAT))
    shift = -2 * layer.r * layer.z.flatten(1).norm(dim=1)
    flat = conv2d(x, 2 * layer.ratio * layer.z, shift, 2, 1)
    torch.testing.assert_close(layer(x), 2 * flat, **close)  # space parts are twice the tangent vectors
    torch.testing.assert_close(PoincareReLU(CHOICE, FLAT)(layer(x)), flat.relu(), **close)
    torch.testing.assert_close(ToSpace(CHOICE, FLAT)(x), 2 * x, **close)
    y = maps(2, 3, 6, 6)
    torch.testing.assert_close(PoincareSum(CHOICE, FLAT)(x, y), x + y, **close)
    torch.testing.assert_close(lorentz_mean(x, FLAT), x.mean((2, 3)), **close)
    layer = drawn(LorentzMLR(3, 4, FLAT))
    flat = x[:, :, 0, 0] @ layer.z.T - layer.a * layer.z.norm(dim=1)
    torch.testing.assert_close(layer(x[:, :, 0, 0]), flat, **close)
    layer = drawn(PoincareMLR(3, 4, FLAT))
    flat = 4 * (x[:, :, 0, 0] @ layer.z.T - layer.r * layer.z.norm(dim=1))
    torch.testing.assert_close(layer(x[:, :, 0, 0]), flat, **close)


def test_without_curvature_batch_norm_is_plain() -> None:
    """In one dimension it is torch's; the mean of Poincaré's is a tangent vector, half as long as the space part."""
    x = maps(4, 1, 5, 5) + 3
    for layer, size in ((LorentzBatchNorm(CHOICE, 1, FLAT), 1.0), (PoincareBatchNorm(CHOICE, 1, FLAT), 2.0)):
        layer, plain = drawn(layer), nn.BatchNorm2d(1).double()
        with torch.no_grad():
            plain.weight.copy_(layer.gamma)
            plain.bias.copy_(size * layer.beta)
        for _ in range(3):
            torch.testing.assert_close(layer(x), plain(x), atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(layer.running_mean, plain.running_mean, atol=1e-4, rtol=1e-4)
        old = 0.9**3  # what is left of the 1 that variances begin with
        ours = (layer.running_var - old) * 100 / 99  # torch keeps the unbiased one
        torch.testing.assert_close(ours, plain.running_var.squeeze() - old, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("kind", [LorentzBatchNorm, PoincareBatchNorm])
def test_running_statistics_come_to_those_of_the_batch(kind: type[HyperbolicBatchNorm]) -> None:
    layer, x = drawn(kind(CHOICE, 3, 1.0)), maps(4, 3, 5, 5)
    for _ in range(300):
        training = layer(x)
    layer.eval()
    torch.testing.assert_close(layer(x), training)
    before = layer.running_mean.clone()
    layer(x + 1)
    assert torch.equal(layer.running_mean, before)


@pytest.mark.parametrize("make", LAYERS)
@pytest.mark.parametrize("c", [0.1, 1.0])
def test_derivatives_are_those_of_differences(make: partial, c: float) -> None:
    layer, x = drawn(make(c), 0.1), maps(2, 3, 2, 2, scale=0.4).requires_grad_()
    names, values = zip(*layer.named_parameters(), strict=True)
    call = lambda x, *p: torch.func.functional_call(layer, dict(zip(names, p, strict=True)), x)  # noqa: E731
    assert torch.autograd.gradcheck(call, (x, *values), atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("c", CURVATURES)
@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("deviations", [10.0, 1.2])
@pytest.mark.parametrize("backend", BACKENDS)
def test_derivatives_of_batch_norm(c: float, route: str, training: bool, deviations: float, backend: str) -> None:
    """By points, the new mean and the new deviation; at the lower limit, some distances are cut."""
    norm = kernels.get("hyperbolic_norm", backend, route=route, c=c, limit=deviations * c**0.5, eps=1e-5)
    rows, q, gamma = (0.3 * maps(*shape) for shape in ((7, 3), (3,), (1,)))
    given = () if training else (0.3 * maps(3), torch.tensor(0.2, dtype=torch.float64))
    inputs = tuple(x.requires_grad_() for x in (rows, q, gamma + 1))
    assert (norm(*inputs, *given)[3] > 0) == (deviations < 10)
    assert torch.autograd.gradcheck(lambda *inputs: norm(*inputs, *given)[0], inputs)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("kind", ["space", "relu"])
def test_derivatives_of_points_that_are_brought_back(kind: str, backend: str) -> None:
    radial = kernels.get("hyperbolic_radial", backend, kind=kind, c=0.5, limit=3.0)
    far = (1000 * maps(8, 3)).requires_grad_()
    assert radial(far)[1] == 8
    assert torch.autograd.gradcheck(lambda x: radial(x)[0], far, eps=1e-4)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "size"), [(3, 1, 1, 5), (3, 2, 1, 6), (3, 2, 1, 5), (1, 2, 0, 6)]
)
def test_windows_of_a_convolution(backend: str, kernel: int, stride: int, padding: int, size: int) -> None:
    x = maps(2, 3, size, size)
    squares = kernels.get("window_squares", backend, kernel=kernel, stride=stride, padding=padding)
    expected = unfold(x.square(), kernel, padding=padding, stride=stride).sum(1)
    torch.testing.assert_close(squares(x.permute(0, 2, 3, 1)).flatten(1), expected)
    assert torch.autograd.gradcheck(squares, x.permute(0, 2, 3, 1).requires_grad_())


@pytest.mark.parametrize("make", LAYERS)
@pytest.mark.parametrize("scale", [0.0, 1.0, 1e3, 1e6])
def test_numbers_stay_finite_from_the_origin_to_far_beyond_the_edge(make: partial, scale: float) -> None:
    layer = make(1.0)
    x = (scale * torch.randn(2, 3, 4, 4)).requires_grad_()
    y = layer(x)
    (y / max(scale, 1)).square().sum().backward()
    assert y.isfinite().all()
    assert all(tensor.grad.isfinite().all() for tensor in (x, *layer.parameters()))


@pytest.mark.parametrize("make", LAYERS)
def test_half_precision_stays_close(make: partial) -> None:
    layer, x = make(1.0), torch.randn(2, 3, 8, 8)
    expected = layer(x)
    with torch.autocast("cpu", torch.bfloat16):
        found = layer(x)
    torch.testing.assert_close(found.float(), expected, atol=0.05, rtol=0.05)
    found = layer.bfloat16()(x.bfloat16())
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.float(), expected, atol=0.08, rtol=0.08)


def test_points_stay_on_the_hyperboloid_and_in_the_ball_in_single_precision() -> None:
    x = 3 * torch.randn(8, 16, 10, 10)
    norm, convolution = LorentzBatchNorm(CHOICE, 16, 1.0), LorentzConv2d(CHOICE, 16, 16, 3, 1, 1, 1.0)
    for y in (convolution(x), norm(convolution(x)), norm(x).relu()):
        assert lorentz.off_hyperboloid(lorentz.lift(points(y), 1.0), 1.0).max() < 1e-5
    convolution, norm = PoincareConv2d(CHOICE, 16, 16, 3, 1, 1, 1.0), PoincareBatchNorm(CHOICE, 16, 1.0)
    for y in (convolution(x), norm(convolution(x)), PoincareSum(CHOICE, 1.0)(x, x)):
        tangent = PoincareReLU(CHOICE, 1.0)(y)
        assert points(tangent).norm(dim=1).max() <= LIMIT / 2 * (1 + 1e-5)
        assert not poincare.outside(poincare.expmap0(points(tangent), 1.0), 1.0).any()


def test_the_identity_keeps_the_length_of_its_window() -> None:
    """The initialisation by the identity, for as many outputs as the window has entries."""
    layer = PoincareConv2d(CHOICE, 3, 27, 3, 1, 1, 0.5).double()
    x = maps(2, 3, 5, 5, scale=0.3)
    expected = unfold(x, 3, padding=1) * beta_half(27) / beta_half(3)
    torch.testing.assert_close(layer(x).flatten(2).mT, ToSpace(CHOICE, 0.5)(expected.unsqueeze(3)).squeeze(3).mT)


def test_points_beyond_the_edge_are_counted_once_asked() -> None:
    layer = nn.Sequential(Edge(2.0), Edge(10.0))
    distances = torch.tensor([0.0, 1.0, -3.0, 5.0])
    assert layer(distances).tolist() == [0.0, 1.0, -2.0, 2.0]
    assert projected_share(layer) == 2 / 8
    assert projected_share(layer) == 0
    lengths = torch.tensor([1.0, math.sinh(2.0), 2 * math.sinh(2.0)])
    torch.testing.assert_close(layer[0].inwards(lengths), torch.tensor([1.0, 1.0, 0.5]))
    assert projected_share(layer) > 0
    layer.eval()(distances)
    assert projected_share(layer) == 0
    assert not layer.state_dict()


def test_points_too_far_from_the_origin_are_brought_back_and_counted() -> None:
    layer, x = LorentzBatchNorm(CHOICE, 3, 1.0), torch.randn(2, 3, 4, 4)
    layer(x)
    assert projected_share(layer) == 0
    far = x.clone()
    far[0, :, 0, 0] = 1e6 * x[0, :, 0, 0]
    edge = x.clone()
    edge[0, :, 0, 0] *= math.sinh(10) / x[0, :, 0, 0].norm()
    torch.testing.assert_close(layer(far), layer(edge), atol=1e-3, rtol=1e-3)
    assert projected_share(layer) > 0
