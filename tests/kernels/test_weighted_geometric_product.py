"""The weighted geometric product: against the plain one, grade by grade, and its symmetry."""

import pytest
import torch
from machine import needs_c

from erlangen import kernels
from erlangen.errors import UserError
from erlangen.geometry.clifford import blades, grade_involution, grade_paths, grades
from erlangen.kernels.geometric_product import geometric_product
from erlangen.kernels.weighted_geometric_product import BLOCK

SIGNATURES = [(3, 0, 1), (2, 0, 0), (3, 0, 0), (1, 1, 0), (5, 0, 0)]


def arguments(generator, signature, rows=5, channels=3):
    x, y = torch.randn(2, 2 ** sum(signature), rows, channels, generator=generator, dtype=torch.float64)
    return x, y, torch.randn(len(grade_paths(signature)), channels, generator=generator, dtype=torch.float64)


def weighted(signature, backend="reference"):
    return kernels.get("weighted_geometric_product", backend, signature=signature)


@pytest.mark.parametrize("signature", SIGNATURES, ids=str)
def test_it_is_the_sum_over_grades_of_weighted_parts(generator, signature):
    x, y, weight = arguments(generator, signature)
    grade = torch.tensor(grades(signature))

    def part(z, g):
        return z * (grade == g)[:, None, None]

    expected = torch.zeros_like(x)
    for path, (a, b, c) in enumerate(grade_paths(signature)):
        product = part(geometric_product(part(x, a), part(y, b), signature=signature), c)
        assert product.abs().max() > 0
        expected += weight[path] * product
    torch.testing.assert_close(weighted(signature)(x, y, weight), expected)
    ones = torch.ones_like(weight)
    torch.testing.assert_close(weighted(signature)(x, y, ones), geometric_product(x, y, signature=signature))


@pytest.mark.parametrize("signature", [(3, 0, 0), (5, 0, 0)], ids=str)
def test_it_commutes_with_reflections(generator, signature):
    """By the unit vector v, x -> v x^ v with x^ the grade involution; reflections generate the group."""
    x, y, weight = arguments(generator, signature)
    v = torch.zeros_like(x)
    vector = torch.randn(sum(signature), 1, 1, generator=generator, dtype=torch.float64)
    v[1 : 1 + sum(signature)] = vector / vector.norm()

    def reflect(z):
        turned = geometric_product(v, grade_involution(z, signature), signature=signature)
        return geometric_product(turned, v, signature=signature)

    product = weighted(signature)
    torch.testing.assert_close(product(reflect(x), reflect(y), weight), reflect(product(x, y, weight)))
    assert (reflect(x) - x).abs().max() > 0.1


@pytest.mark.parametrize("signature", [(3, 0, 0), (5, 0, 0)], ids=str)
def test_there_is_a_path_wherever_grades_can_meet(signature):
    """In Euclidean algebras: c = |a - b|, |a - b| + 2, ..., as long as there are generators enough."""
    n = sum(signature)
    expected = {
        (a, b, c)
        for a in range(n + 1)
        for b in range(n + 1)
        for c in range(abs(a - b), min(a + b, 2 * n - a - b) + 1, 2)
    }
    assert set(grade_paths(signature)) == expected
    assert len(blades(signature)) == 2**n


@pytest.mark.slow
def test_the_unrolled_product_has_the_same_derivatives(generator):
    signature = (2, 0, 0)
    found, expected = [], []
    for backend, results in (("compiled", found), ("reference", expected)):
        generator.manual_seed(3)
        args = [a.requires_grad_() for a in arguments(generator, signature)]
        out = weighted(signature, backend)(*args)
        first = torch.autograd.grad(out.square().sum(), args, create_graph=True)
        second = torch.autograd.grad(sum(g.square().sum() for g in first), args)
        results += [out, *first, *second]
    for f, e in zip(found, expected, strict=True):
        torch.testing.assert_close(f, e)


def test_blocks_of_rows_give_what_all_rows_give(generator):
    """More rows than one block has; gradients of both kinds, the recomputed ones and those that are differentiable."""
    signature, results = (3, 0, 0), []
    x, y, weight = (a.requires_grad_() for a in arguments(generator, signature, rows=BLOCK // 8, channels=3))
    for backend in ("blocked", "reference"):
        out = weighted(signature, backend)(x, y, weight)
        once = torch.autograd.grad(out.square().sum(), (x, y, weight), retain_graph=True)
        again = torch.autograd.grad(out.square().sum(), (x, y, weight), create_graph=True)
        results.append([out, *once, *again])
    for found, expected in zip(*results, strict=True):
        torch.testing.assert_close(found, expected)
    found, expected = (weighted(signature, b)(x, y.detach(), weight).sum() for b in ("blocked", "reference"))
    torch.testing.assert_close(*(torch.autograd.grad(total, x)[0] for total in (found, expected)))


@needs_c
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize(
    ("signature", "rows", "channels"),
    [((5, 0, 0), 1, 1), ((5, 0, 0), 40, 28), ((2, 1, 1), 9, 3), ((2, 0, 0), 6000, 3)],
    ids=["one column", "two registers a row", "less than a register", "more than are added up at once"],
)
def test_c_gives_the_same_wherever_a_register_begins(generator, signature, rows, channels, threads):
    args = [a.requires_grad_() for a in arguments(generator, signature, rows, channels)]
    by = torch.randn(args[0].shape, generator=generator, dtype=torch.float64)
    torch.set_num_threads(threads)
    results = []
    for backend in ("native", "reference"):
        out = weighted(signature, backend)(*args)
        results.append([out, *torch.autograd.grad(out, args, by)])
    torch.testing.assert_close(*results)


def test_wrong_shapes_are_named(generator):
    x, y, weight = arguments(generator, (2, 0, 0))
    with pytest.raises(UserError, match="4 blades and 10 paths"):
        weighted((2, 0, 0))(x, y, weight[1:])
    with pytest.raises(UserError, match="4 blades"):
        weighted((2, 0, 0))(x[:3], y, weight)
