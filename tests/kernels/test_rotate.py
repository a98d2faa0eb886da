"""Into the frames of edges and back: rotations by the dense matrix, rows in the order that is stated."""

import pytest
import torch
from kernels.edge_algebra import frames, graph

from erlangen import kernels
from erlangen.errors import UserError
from erlangen.geometry.rotations import random_rotations
from erlangen.geometry.wigner import rotate, unpack_blocks, wigner
from erlangen.kernels.m_layout import m_rows, m_slices

NODES, EDGES, C = 5, 20, 3


def ops(lmax, mmax, backend="reference"):
    return tuple(kernels.get(f"rotate_{way}", backend, lmax=lmax, mmax=mmax) for way in ("gather", "scatter"))


def rows_in_order(lmax, mmax):
    """(degree, order) of each row, from the sentence in m_layout.py."""
    rows = [(degree, 0) for degree in range(lmax + 1)]
    for m in range(1, mmax + 1):
        for order in (m, -m):
            rows += [(degree, order) for degree in range(m, lmax + 1)]
    return rows


@pytest.mark.parametrize(("lmax", "mmax"), [(0, 0), (1, 0), (2, 2), (3, 1), (4, 2), (6, 6)])
def test_gather_turns_the_source_and_sorts_its_rows_by_order(generator, lmax, mmax):
    x, (source, _), vectors = graph(generator, lmax, C)
    D = frames(vectors, lmax)
    gathered = ops(lmax, mmax)[0](x, source, D)
    turned = rotate(x[source], unpack_blocks(D, lmax))
    rows = rows_in_order(lmax, mmax)
    assert gathered.shape == (EDGES, m_rows(lmax, mmax), C) == (EDGES, len(rows), C)
    torch.testing.assert_close(gathered, turned[:, [degree * (degree + 1) + order for degree, order in rows]])
    for m, part in enumerate(m_slices(lmax, mmax)):
        assert {abs(order) for _, order in rows[part]} == {m}


@pytest.mark.parametrize(("lmax", "mmax"), [(0, 0), (2, 2), (3, 1), (6, 2)])
def test_scatter_is_the_transpose_of_gather(generator, lmax, mmax):
    x, (source, _), vectors = graph(generator, lmax, C)
    gather, scatter = ops(lmax, mmax)
    D = frames(vectors, lmax)
    y = torch.randn(EDGES, m_rows(lmax, mmax), C, generator=generator, dtype=torch.float64)
    torch.testing.assert_close((gather(x, source, D) * y).sum(), (x * scatter(y, source, D, NODES)).sum())


def test_there_and_back_is_the_sum_of_the_sources(generator):
    x, (source, destination), vectors = graph(generator, 3, C)
    gather, scatter = ops(3, 3)
    D = frames(vectors, 3)
    sums = x.new_zeros(NODES, 16, C).index_add(0, destination, x[source])
    torch.testing.assert_close(scatter(gather(x, source, D), destination, D, NODES), sums)


def test_truncation_keeps_the_orders_it_keeps(generator):
    x, (source, _), vectors = graph(generator, 4, C)
    D = frames(vectors, 4)
    full, truncated = ops(4, 4)[0](x, source, D), ops(4, 2)[0](x, source, D)
    assert torch.equal(truncated, full[:, : m_rows(4, 2)])


def test_a_turn_about_the_edge_is_a_complex_phase(generator):
    """(+m, -m) is (real, imaginary): the convention that the weights rely on."""
    lmax, angle = 3, 0.7
    x = torch.randn(1, 16, C, generator=generator, dtype=torch.float64)
    c, s = torch.tensor(angle).double().cos(), torch.tensor(angle).double().sin()
    about_y = torch.stack([c, c * 0, s, c * 0, c * 0 + 1, c * 0, -s, c * 0, c]).view(1, 3, 3)
    R = random_rotations(1, generator=generator)
    gather, source = ops(lmax, lmax)[0], torch.zeros(1, dtype=torch.int64)
    before, after = gather(x, source, wigner(R, lmax)), gather(x, source, wigner(about_y @ R, lmax))
    for m, part in enumerate(m_slices(lmax, lmax)):
        if m == 0:
            torch.testing.assert_close(after[:, part], before[:, part])
            continue
        (re, im), (re2, im2) = (t[:, part].chunk(2, 1) for t in (before, after))
        phase = torch.polar(torch.ones_like(c), m * c.new_tensor(angle))
        torch.testing.assert_close(torch.complex(re2, im2), phase * torch.complex(re, im))


@pytest.mark.parametrize("backend", ["reference", "compiled"])
def test_no_edges_and_one_atom(backend):
    gather, scatter = ops(2, 1, backend)
    none, D = torch.zeros(0, dtype=torch.int64), torch.zeros(0, 35)
    x = torch.ones(1, 9, C, requires_grad=True)
    y = gather(x, none, D)
    assert y.shape == (0, 7, C)
    out = scatter(y, none, D, 1)
    assert out.shape == (1, 9, C)
    out.square().sum().backward()
    assert out.abs().sum() == x.grad.abs().sum() == 0


@pytest.mark.parametrize("name", ["gather", "scatter"])
def test_an_index_out_of_range_is_an_error(name, generator):
    x, (source, _), vectors = graph(generator, 1, C)
    D = frames(vectors, 1)
    gather, scatter = ops(1, 1)
    with pytest.raises(UserError, match="give indices from 0 to"):
        gather(x, source + 9, D) if name == "gather" else scatter(x[source], source + 9, D, NODES)


def test_mistakes_are_named(generator):
    x, (source, _), vectors = graph(generator, 2, C)
    gather, scatter = ops(2, 1)
    D = frames(vectors, 2)
    y = gather(x, source, D)
    for kernel, args, why in (
        (gather, (x[:, 1:], source, D), r"rotate_gather: x is \(5, 8, 3\)"),
        (gather, (x, source[1:], D), r"source is torch.int64 \(19,\); give \(20,\) integers"),
        (gather, (x, source, D[:, 1:]), "packed Wigner matrices"),
        (scatter, (y[:, 1:], source, D, NODES), r"rotate_scatter: y is \(20, 6, 3\)"),
        (scatter, (y[1:], source, D, NODES), r"destination is torch.int64 \(20,\); give \(19,\) integers"),
        (scatter, (y, source, D, -1), "size=-1"),
    ):
        with pytest.raises(UserError, match=why):
            kernel(*args)
    with pytest.raises(UserError, match="need 0 <= mmax <= lmax"):
        ops(2, 3)[0](x, source, D)
