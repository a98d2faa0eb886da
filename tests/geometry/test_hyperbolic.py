"""Hyperbolic space in two models: axioms of its metric and gyrovectors, closed forms, and that both models are one space."""

import math

import pytest
import torch

from erlangen.geometry.hyperbolic import lorentz, poincare
from erlangen.geometry.hyperbolic.numerics import asinh

CURVATURES = [0.1, 1.0, 2.5]


def space(*shape: int, scale: float = 1.0) -> torch.Tensor:
    return scale * torch.randn(*shape, dtype=torch.float64)


def ball(*shape: int, c: float) -> torch.Tensor:
    """Points from all over the ball, up to 0.98 of its radius."""
    x = space(*shape)
    return x / x.norm(dim=-1, keepdim=True) * 0.98 * torch.rand(*shape[:-1], 1, dtype=torch.float64) / c**0.5


@pytest.mark.parametrize("c", CURVATURES)
def test_distances_are_the_known_inverse_hyperbolic_cosines(c: float) -> None:
    x, y = ball(50, 3, c=c), ball(50, 3, c=c)
    gap, ends = (x - y).square().sum(1), (1 - c * x.square().sum(1)) * (1 - c * y.square().sum(1))
    expected = torch.acosh(1 + 2 * c * gap / ends) / c**0.5
    torch.testing.assert_close(poincare.distance(x, y, c), expected)
    p, q = poincare.to_lorentz(x, c), poincare.to_lorentz(y, c)
    torch.testing.assert_close(torch.acosh(-c * lorentz.inner(p, q).squeeze(1)) / c**0.5, expected)
    torch.testing.assert_close(lorentz.distance(p, q, c), expected)


@pytest.mark.parametrize("c", CURVATURES)
def test_the_models_are_isometric_and_their_maps_the_same(c: float) -> None:
    x, y, v = ball(50, 3, c=c), ball(50, 3, c=c), space(50, 3, scale=0.5 / c**0.5)
    p, q = poincare.to_lorentz(x, c), poincare.to_lorentz(y, c)
    assert lorentz.off_hyperboloid(p, c).max() < 1e-12
    torch.testing.assert_close(lorentz.to_poincare(p, c), x)
    same = lorentz.to_poincare(lorentz.gyro_add(p, q, c), c)
    torch.testing.assert_close(same, poincare._mobius_add(x, y, c))
    # a tangent vector at the origin of the ball has twice its Euclidean length
    torch.testing.assert_close(lorentz.to_poincare(lorentz.expmap0(2 * v, c), c), poincare.expmap0(v, c))
    torch.testing.assert_close(lorentz.to_poincare(lorentz.centroid(p, c), c), poincare.midpoint(x, c))
    weights = torch.rand(50, dtype=torch.float64)
    torch.testing.assert_close(
        lorentz.to_poincare(lorentz.centroid(p, c, weights), c), poincare.midpoint(x, c, weights)
    )


@pytest.mark.parametrize("c", CURVATURES)
def test_exponentials_and_logarithms_undo_each_other(c: float) -> None:
    x, y = ball(50, 3, c=c), ball(50, 3, c=c)
    torch.testing.assert_close(poincare.expmap(x, poincare.logmap(x, y, c), c), y)
    torch.testing.assert_close(poincare.expmap0(poincare.logmap0(y, c), c), y)
    length = poincare.conformal_factor(x, c).squeeze(1) * poincare.logmap(x, y, c).norm(dim=1)
    torch.testing.assert_close(length, poincare.distance(x, y, c))
    p, q = poincare.to_lorentz(x, c), poincare.to_lorentz(y, c)
    u = lorentz.logmap(p, q, c)
    torch.testing.assert_close(lorentz.expmap(p, u, c), q)
    torch.testing.assert_close(lorentz.expmap0(lorentz.logmap0(q, c), c), q)
    torch.testing.assert_close(lorentz.inner(p, u), torch.zeros(50, 1, dtype=torch.float64), atol=1e-8, rtol=0)
    torch.testing.assert_close(lorentz.inner(u, u).squeeze(1).sqrt(), lorentz.distance(p, q, c))


@pytest.mark.parametrize("c", CURVATURES)
def test_transport_keeps_products_and_turns_a_geodesic_into_itself(c: float) -> None:
    x, y = ball(50, 3, c=c), ball(50, 3, c=c)
    there, back = poincare.logmap(x, y, c), poincare.logmap(y, x, c)
    torch.testing.assert_close(poincare.transport(x, y, there, c), -back)
    v = space(50, 3)
    scale = poincare.conformal_factor(x, c) / poincare.conformal_factor(y, c)
    torch.testing.assert_close(poincare.transport(x, y, v, c).norm(dim=1), (scale * v).norm(dim=1))
    p, q = poincare.to_lorentz(x, c), poincare.to_lorentz(y, c)
    there, back = lorentz.logmap(p, q, c), lorentz.logmap(q, p, c)
    torch.testing.assert_close(lorentz.transport(p, q, there, c), -back)
    z = poincare.to_lorentz(ball(50, 3, c=c), c)
    u = lorentz.logmap(p, z, c)
    moved = lorentz.transport(p, q, u, c)
    torch.testing.assert_close(lorentz.inner(moved, moved), lorentz.inner(u, u))
    torch.testing.assert_close(lorentz.inner(moved, back), -lorentz.inner(u, there))
    assert lorentz.inner(q, moved).abs().max() < 1e-6


@pytest.mark.parametrize("c", CURVATURES)
def test_gyrovectors(c: float) -> None:
    x, y, z = (0.7 * ball(50, 3, c=c) for _ in range(3))
    add = poincare._mobius_add
    torch.testing.assert_close(add(-x, add(x, y, c), c), y)  # left cancellation
    torch.testing.assert_close(add(x, add(y, z, c), c), add(add(x, y, c), poincare.gyration(x, y, z, c), c))
    torch.testing.assert_close(poincare.gyration(x, y, z, c).norm(dim=1), z.norm(dim=1))
    three = poincare.mobius_scale(torch.full((1,), 3.0, dtype=torch.float64), 0.2 * x, c)
    torch.testing.assert_close(three, add(0.2 * x, add(0.2 * x, 0.2 * x, c), c))
    p, q = poincare.to_lorentz(x, c), poincare.to_lorentz(y, c)
    torch.testing.assert_close(lorentz.gyro_add(lorentz.gyro_negative(p), lorentz.gyro_add(p, q, c), c), q)
    origin = lorentz.lift(torch.zeros(50, 3, dtype=torch.float64), c)
    by_transport = lorentz.expmap(p, lorentz.transport(origin, p, lorentz.logmap(origin, q, c), c), c)
    torch.testing.assert_close(lorentz.gyro_add(p, q, c), by_transport)


@pytest.mark.parametrize("c", CURVATURES)
def test_the_centroid_is_where_squared_lorentzian_distances_are_least(c: float) -> None:
    points = poincare.to_lorentz(0.7 * ball(6, 3, c=c), c)
    at = lorentz.centroid(points, c)[1:].requires_grad_()
    centre = lorentz.lift(at, c)
    lorentz.inner(points - centre, points - centre).sum().backward()
    torch.testing.assert_close(at.grad, torch.zeros(3, dtype=torch.float64), atol=1e-9, rtol=0)


@pytest.mark.parametrize("c", CURVATURES)
def test_the_distance_from_a_hyperplane_is_that_of_its_nearest_point(c: float) -> None:
    """In the plane: the geodesic through exp_0(r z), orthogonal to z, walked along in small steps."""
    x, z, r = 0.8 * ball(5, 2, c=c), space(3, 2), space(3, scale=0.3 / c**0.5)
    unit = z / z.norm(dim=1, keepdim=True)
    foot = poincare.to_lorentz(poincare.expmap0(r[:, None] * unit, c), c)
    along = torch.stack([torch.zeros(3), -unit[:, 1], unit[:, 0]], 1).double()
    steps = torch.linspace(-6, 6, 20001, dtype=torch.float64) / c**0.5
    line = lorentz.expmap(foot[:, None], steps[:, None] * along[:, None], c)
    p = poincare.to_lorentz(x, c)
    nearest = torch.stack([lorentz.distance(point, line, c).amin(1) for point in p])
    found = poincare.hyperplane_distance(x, z, r, c)
    torch.testing.assert_close(found.abs(), nearest, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(lorentz.hyperplane_distance(p, z, 2 * r, c), found)
    beyond = poincare.expmap0((r[:, None] + 0.1) * unit, c)
    assert (poincare.hyperplane_distance(beyond, z, r, c).diagonal() > 0).all()


def test_without_curvature_space_is_flat() -> None:
    c, x, y, z, a = 1e-10, space(20, 3), space(20, 3), space(4, 3), space(4)
    p, q = lorentz.lift(x, c), lorentz.lift(y, c)
    close = {"atol": 1e-5, "rtol": 1e-5}
    torch.testing.assert_close(lorentz.distance(p, q, c), (x - y).norm(dim=1), **close)
    torch.testing.assert_close(lorentz.gyro_add(p, q, c)[:, 1:], x + y, **close)
    torch.testing.assert_close(lorentz.centroid(p, c)[1:], x.mean(0), **close)
    plane = (x @ z.T) / z.norm(dim=1) - a
    torch.testing.assert_close(lorentz.hyperplane_distance(p, z, a, c), plane, **close)
    torch.testing.assert_close(poincare.distance(x, y, c), 2 * (x - y).norm(dim=1), **close)
    torch.testing.assert_close(poincare.mobius_add(x, y, c), x + y, **close)
    torch.testing.assert_close(poincare.midpoint(x, c), x.mean(0), **close)


def test_derivatives_are_those_of_differences() -> None:
    c, x, y = 0.7, ball(2, 3, c=0.7).requires_grad_(), ball(2, 3, c=0.7).requires_grad_()
    for function in (poincare.distance, poincare.logmap, poincare.mobius_add, poincare.expmap):
        assert torch.autograd.gradcheck(lambda a, b, f=function: f(0.5 * a, 0.5 * b, c), (x, y))
    for function in (lorentz.distance, lorentz.logmap, lorentz.gyro_add):
        lifted = lambda a, b, f=function: f(lorentz.lift(a, c), lorentz.lift(b, c), c)  # noqa: E731
        assert torch.autograd.gradcheck(lifted, (x, y))
    assert torch.autograd.gradcheck(asinh, torch.rand(5, dtype=torch.float64, requires_grad=True))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_gradients_are_finite_at_the_origin_and_at_the_edge(dtype: torch.dtype) -> None:
    c = 1.0
    edge = torch.eye(3, dtype=dtype)[:1]
    for start in (torch.zeros(1, 3, dtype=dtype), edge, 100 * edge):
        x = start.clone().requires_grad_()
        inside = poincare.project(x, c)
        assert inside.dtype == dtype
        results = [poincare.expmap0(x, c), poincare.logmap0(inside, c), poincare.mobius_add(inside, -0.5 * inside, c)]
        results += [poincare.distance(inside, 0.5 * inside, c), poincare.midpoint(inside, c)]
        results += [lorentz.expmap0(x, c), lorentz.logmap0(lorentz.lift(x, c), c)]
        sum(result.float().sum() for result in results).backward()
        assert x.grad.isfinite().all()
        assert all(result.isfinite().all() for result in results)


def test_points_outside_are_brought_to_the_edge() -> None:
    c = 0.5
    x = torch.tensor([[0.1, 0.2], [5.0, 0.0], [0.0, -math.sqrt(2)]])
    assert poincare.outside(x, c).tolist() == [False, True, True]
    inside = poincare.project(x, c)
    assert not poincare.outside(inside, c).any()
    assert torch.equal(inside[0], x[0])
    torch.testing.assert_close(inside[1:].norm(dim=1), torch.full((2,), poincare.radius(c, torch.float32)))
    off = torch.tensor([[9.0, 0.1, 0.2], [1.0, 3.0, 0.0]])
    assert (lorentz.off_hyperboloid(off, c) > 0.1).all()
    on = lorentz.project(off, c)
    assert lorentz.off_hyperboloid(on, c).max() < 1e-6
    assert torch.equal(on[:, 1:], off[:, 1:])


def test_half_precision_is_computed_in_single() -> None:
    x, y = ball(20, 3, c=1.0).bfloat16(), ball(20, 3, c=1.0).bfloat16()
    found = poincare.distance(x, y, 1.0)
    assert found.dtype == torch.bfloat16
    assert torch.equal(found, poincare.distance(x.float(), y.float(), 1.0).bfloat16())


@pytest.mark.parametrize("c", CURVATURES)
def test_the_riemannian_gradient_is_the_direction_of_steepest_ascent(c: float) -> None:
    """Its product with any tangent vector is the derivative along it."""
    chart = space(4, 3).requires_grad_()
    target = lorentz.lift(space(4, 3), c)
    x = lorentz.lift(chart, c)
    value = lorentz.distance(x, target, c).sum()
    (slope,) = torch.autograd.grad(value, chart)
    gradient = lorentz.riemannian_gradient(x.detach(), slope, c)
    torch.testing.assert_close(
        lorentz.inner(x, gradient).abs().max(), torch.zeros((), dtype=torch.float64), atol=1e-9, rtol=0
    )
    away = -lorentz.logmap(x, target, c)
    torch.testing.assert_close(gradient, away / lorentz.inner(away, away).sqrt())
