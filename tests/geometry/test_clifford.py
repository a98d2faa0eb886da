"""Clifford algebras: the axioms that define them, and the algebras that they are known to be."""

from itertools import product

import pytest
import torch

from erlangen.errors import UserError
from erlangen.geometry.clifford import (
    blades,
    dual,
    grade_involution,
    grades,
    product_table,
    product_terms,
    reverse,
    squares,
    undual,
)

SIGNATURES = [(0, 0, 0), (1, 0, 0), (0, 1, 0), (3, 0, 0), (3, 0, 1), (1, 3, 0), (2, 1, 2), (0, 0, 4)]


def randn(generator, signature, *shape):
    return torch.randn(2 ** sum(signature), *shape, generator=generator, dtype=torch.float64)


def times(x, y, signature):
    return torch.einsum("ijk,i...,j...->k...", product_table(signature), x, y)


def unit(signature, *generators):
    x = torch.zeros(2 ** sum(signature), dtype=torch.float64)
    x[blades(signature).index(generators)] = 1
    return x


@pytest.mark.parametrize("signature", SIGNATURES)
def test_generators_anticommute_and_square_to_the_metric(signature):
    for a, b in product(range(sum(signature)), repeat=2):
        e, f = unit(signature, a), unit(signature, b)
        twice_metric = 2 * squares(signature)[a] if a == b else 0
        assert torch.equal(times(e, f, signature) + times(f, e, signature), twice_metric * unit(signature))


@pytest.mark.parametrize("signature", SIGNATURES)
def test_blades_are_the_ordered_products_of_their_generators(signature):
    for blade in blades(signature):
        value = unit(signature)
        for generator in blade:
            value = times(value, unit(signature, generator), signature)
        assert torch.equal(value, unit(signature, *blade))


@pytest.mark.parametrize("signature", SIGNATURES)
def test_the_product_is_associative_and_has_a_unit(signature):
    table = product_table(signature)
    assert torch.equal(torch.einsum("ijk,klm->ijlm", table, table), torch.einsum("jlk,ikm->ijlm", table, table))
    assert torch.equal(table[0], torch.eye(len(table)).double())
    assert torch.equal(table[:, 0], torch.eye(len(table)).double())


def test_projective_algebra_has_the_known_blades_and_number_of_terms():
    names = ["".join(map(str, blade)) for blade in blades((3, 0, 1))]
    assert names == ["", *"0123", "01", "02", "03", "12", "13", "23", "012", "013", "023", "123", "0123"]
    assert grades((3, 0, 1)) == (0, *[1] * 4, *[2] * 6, *[3] * 4, 4)
    assert len(product_terms((3, 0, 1))) == 192
    assert len(product_terms((3, 0, 0))) == 64


def test_the_smallest_algebras_are_complex_numbers_and_quaternions(generator):
    x, y = randn(generator, (0, 1, 0)), randn(generator, (0, 1, 0))
    z = torch.complex(*x) * torch.complex(*y)
    torch.testing.assert_close(times(x, y, (0, 1, 0)), torch.stack([z.real, z.imag]))
    # Quaternions are the even part of G(3, 0, 0).
    i, j = -unit((3, 0, 0), 1, 2), -unit((3, 0, 0), 0, 1)
    k = times(i, j, (3, 0, 0))
    for square in (times(i, i, (3, 0, 0)), times(k, k, (3, 0, 0)), times(times(i, j, (3, 0, 0)), k, (3, 0, 0))):
        assert torch.equal(square, -unit((3, 0, 0)))


@pytest.mark.parametrize("signature", [(2, 0, 0), (3, 0, 0)])
def test_the_algebra_is_the_one_of_pauli_matrices(generator, signature):
    sigma = torch.tensor([[[0, 1], [1, 0]], [[0, -1j], [1j, 0]], [[1, 0], [0, -1]]], dtype=torch.complex128)
    basis = []
    for blade in blades(signature):
        matrix = torch.eye(2, dtype=torch.complex128)
        for generator_of_blade in blade:
            matrix = matrix @ sigma[generator_of_blade]
        basis.append(matrix)
    basis = torch.stack(basis)

    def represent(x):
        return torch.einsum("i,iab->ab", x.to(basis.dtype), basis)

    x, y = randn(generator, signature), randn(generator, signature)
    torch.testing.assert_close(represent(times(x, y, signature)), represent(x) @ represent(y))
    torch.testing.assert_close(represent(reverse(x, signature)), represent(x).mH)


@pytest.mark.parametrize("signature", SIGNATURES)
def test_reversion_turns_products_round_and_grade_involution_keeps_them(generator, signature):
    x, y = randn(generator, signature, 3), randn(generator, signature, 3)
    xy = times(x, y, signature)
    torch.testing.assert_close(
        reverse(xy, signature), times(reverse(y, signature), reverse(x, signature), signature), atol=1e-13, rtol=0
    )
    involuted = times(grade_involution(x, signature), grade_involution(y, signature), signature)
    torch.testing.assert_close(grade_involution(xy, signature), involuted, atol=1e-13, rtol=0)


@pytest.mark.parametrize("signature", SIGNATURES)
def test_a_blade_and_its_dual_span_the_space(generator, signature):
    exterior = (0, 0, sum(signature))
    for blade in blades(signature):
        e = unit(signature, *blade)
        assert torch.equal(times(e, dual(e, signature), exterior), unit(signature, *range(sum(signature))))
    x = randn(generator, signature, 2)
    assert torch.equal(undual(dual(x, signature), signature), x)
    assert torch.equal(dual(undual(x, signature), signature), x)


def test_the_join_of_two_points_is_their_line(generator):
    """In G(3, 0, 1) the dual of a point is e0 + position; joining a line to a point of its own gives zero."""
    pga, exterior = (3, 0, 1), (0, 0, 4)

    def point(position):
        coordinates = torch.zeros(16, dtype=torch.float64)
        coordinates[1], coordinates[2:5] = 1, position
        return undual(coordinates, pga)

    def join(a, b):
        return undual(times(dual(a, pga), dual(b, pga), exterior), pga)

    a, b, c = torch.randn(3, 3, generator=generator, dtype=torch.float64)
    line = join(point(a), point(b))
    assert {g for g, value in zip(grades(pga), line, strict=True) if value.abs() > 1e-12} == {2}
    torch.testing.assert_close(join(line, point(0.3 * a + 0.7 * b)), torch.zeros(16).double(), atol=1e-12, rtol=0)
    plane = join(line, point(c))
    assert plane.abs().max() > 1e-3
    # The plane's normal stands in e1, e2, e3.
    normal = torch.linalg.cross(b - a, c - a)
    torch.testing.assert_close(plane[2:5].abs(), normal.abs())


def test_functions_keep_dtype_and_name_mistakes(generator):
    x = randn(generator, (3, 0, 1), 2).float()
    assert {f(x, (3, 0, 1)).dtype for f in (reverse, grade_involution, dual, undual)} == {torch.float32}
    for function in (reverse, grade_involution, dual, undual):
        with pytest.raises(UserError, match=r"G\(3, 0, 0\) has 8 blades, give \(8, ...\)"):
            function(x, (3, 0, 0))
    with pytest.raises(UserError, match="give three numbers >= 0"):
        squares((3, 0, -1))
