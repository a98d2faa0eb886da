"""Squares and factors of the grades of multivectors: against the geometric product, and in C against the references."""

import pytest
import torch
from machine import needs_c

from erlangen import kernels
from erlangen.errors import UserError
from erlangen.geometry.clifford import grades, reverse, squares
from erlangen.kernels.geometric_product import geometric_product

SIGNATURES = [(3, 0, 1), (1, 2, 0), (5, 0, 0)]


def multivectors(generator, signature, rows=5, channels=3):
    return torch.randn(2 ** sum(signature), rows, channels, generator=generator, dtype=torch.float64)


def part(x, grade, signature):
    return x * (torch.tensor(grades(signature)) == grade)[:, None, None]


@pytest.mark.parametrize("signature", SIGNATURES, ids=str)
def test_a_square_is_the_scalar_of_a_grade_times_its_reverse(generator, signature):
    x = multivectors(generator, signature)
    found = kernels.get("grade_squares", "reference", signature=signature)(x)
    for grade, square in enumerate(found):
        a = part(x, grade, signature)
        expected = geometric_product(reverse(a, signature), a, signature=signature)[0]
        torch.testing.assert_close(square, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("signature", SIGNATURES, ids=str)
def test_factors_multiply_their_grade(generator, signature):
    x = multivectors(generator, signature)
    factor = torch.randn(len(squares(signature)) + 1, *x.shape[1:], generator=generator, dtype=torch.float64)
    expected = sum(f * part(x, grade, signature) for grade, f in enumerate(factor))
    torch.testing.assert_close(kernels.get("grade_scale", "reference", signature=signature)(x, factor), expected)


@needs_c
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize(("rows", "channels"), [(1, 1), (700, 3)])
def test_c_gives_the_same_for_few_columns_and_many(generator, rows, channels, threads):
    signature = (1, 2, 1)
    x = multivectors(generator, signature, rows, channels).requires_grad_()
    factor = torch.randn(5, rows, channels, generator=generator, dtype=torch.float64).requires_grad_()
    torch.set_num_threads(threads)
    for op, args in (("grade_squares", (x,)), ("grade_scale", (x, factor))):
        results = []
        for backend in ("native", "reference"):
            out = kernels.get(op, backend, signature=signature)(*args)
            results.append([out, *torch.autograd.grad(out.square().sum(), args)])
        torch.testing.assert_close(*results)


def test_wrong_shapes_are_named(generator):
    x = multivectors(generator, (2, 0, 0))
    with pytest.raises(UserError, match="4 blades"):
        kernels.get("grade_squares", signature=(2, 0, 0))(x[:3])
    with pytest.raises(UserError, match="4 blades of 3 grades"):
        kernels.get("grade_scale", signature=(2, 0, 0))(x, x)
