"""The edge-frame depthwise product is e3nn's `uvu` product with the edge's harmonics, and is equivariant."""

import importlib

import pytest
import torch
from e3nn import o3
from kernels.edge_algebra import (
    clebsch_gordan_sum,
    default_float64,
    equivariance_error,
    frames,
    graph,
    mul_ir,
    relative,
)

from erlangen import kernels
from erlangen.errors import UserError
from erlangen.kernels.edge_rows import is_short
from erlangen.kernels.registry import find
from erlangen.kernels.so2 import pairs, path_matrix, paths

NODES, EDGES, C = 5, 20, 3


def conv(lmax, mmax=None):
    return kernels.get("so2_depthwise", "reference", lmax=lmax, mmax=lmax if mmax is None else mmax)


def weights(generator, rows, dtype=torch.float64):
    return torch.randn(EDGES, rows, C, generator=generator, dtype=torch.float64).to(dtype)


@pytest.mark.parametrize("lmax", [0, 1, 2, 3, pytest.param(4, marks=pytest.mark.slow)])
def test_it_is_the_sum_over_clebsch_gordan_paths_with_as_many_weights(generator, lmax):
    x, edge_index, vectors = graph(generator, lmax, C)
    assert len(paths(lmax)) == pairs(lmax, lmax) == {0: 1, 1: 6, 2: 19, 3: 44, 4: 85}[lmax]
    w = weights(generator, len(paths(lmax)))
    true = clebsch_gordan_sum(x, edge_index, vectors, lambda p, message: message * w[:, p, None], lmax)
    ours = torch.einsum("qp,epc->eqc", path_matrix(lmax, lmax), w)
    found = conv(lmax)(x, edge_index, frames(vectors, lmax), ours, NODES)
    assert relative(found, true) < 2e-15 * (lmax + 1)


def test_no_weight_of_pairs_is_out_of_reach_of_paths():
    """The change of weights is invertible, so that neither form can express what the other cannot."""
    for lmax in (1, 2, 3):
        assert torch.linalg.cond(path_matrix(lmax, lmax)) < 3 * (2 * lmax + 1)


def test_it_is_e3nns_own_uvu_tensor_product(generator):
    lmax = 2
    x, edge_index, vectors = graph(generator, lmax, C)
    w = weights(generator, len(paths(lmax)))
    irreps = o3.Irreps([(C, (degree, 1)) for degree in range(lmax + 1)])
    sh = o3.Irreps([(1, (degree, 1)) for degree in range(2 * lmax + 1)])
    out = o3.Irreps([(C, (l3, 1)) for _, _, l3 in paths(lmax)])
    instructions = [(l1, l2, i, "uvu", True) for i, (l1, l2, _) in enumerate(paths(lmax))]
    options = {"irrep_normalization": "none", "path_normalization": "none", "internal_weights": False}
    with default_float64():
        product = o3.TensorProduct(irreps, sh, out, instructions, shared_weights=False, **options)
    Y = o3.spherical_harmonics(list(range(2 * lmax + 1)), vectors, True, "component")
    messages = product(mul_ir(x[edge_index[0]]), Y, w.flatten(1)).split(
        [(2 * l3 + 1) * C for _, _, l3 in paths(lmax)], 1
    )
    true = x.new_zeros(NODES, (lmax + 1) ** 2, C)
    for message, (_, _, l3) in zip(messages, paths(lmax), strict=True):
        true[:, l3**2 : (l3 + 1) ** 2].index_add_(0, edge_index[1], message.unflatten(1, (C, -1)).mT)
    ours = torch.einsum("qp,epc->eqc", path_matrix(lmax, lmax), w)
    assert relative(conv(lmax)(x, edge_index, frames(vectors, lmax), ours, NODES), true) < 5e-15


@pytest.mark.parametrize(("lmax", "mmax"), [(1, 0), (2, 2), (3, 1), (6, 2), (4, 4)])
@pytest.mark.parametrize(("dtype", "bound"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
def test_it_is_equivariant_with_any_weights_and_orders(generator, lmax, mmax, dtype, bound):
    x, edge_index, vectors = graph(generator, lmax, C, dtype=dtype)
    w = weights(generator, pairs(lmax, mmax), dtype)

    def convolution(x, vectors):
        return conv(lmax, mmax)(x, edge_index, frames(vectors, lmax), w, NODES)

    assert equivariance_error(convolution, x, vectors, lmax, generator) < bound


def test_orders_that_are_left_out_are_orders_of_weight_zero(generator):
    x, edge_index, vectors = graph(generator, 3, C)
    w, D = weights(generator, pairs(3, 3)), frames(vectors, 3)
    w[:, pairs(3, 1) :] = 0
    truncated = conv(3, 1)(x, edge_index, D, w[:, : pairs(3, 1)], NODES)
    torch.testing.assert_close(truncated, conv(3)(x, edge_index, D, w, NODES))


def test_the_order_of_edges_does_not_matter(generator):
    x, edge_index, vectors = graph(generator, 2, C)
    w, D, order = weights(generator, pairs(2, 2)), frames(vectors, 2), torch.randperm(EDGES, generator=generator)
    shuffled = conv(2)(x, edge_index[:, order], D[order], w[order], NODES)
    torch.testing.assert_close(shuffled, conv(2)(x, edge_index, D, w, NODES))


@pytest.mark.parametrize("op", ["so2_depthwise", "so2_depthwise_radial", "so2_conv"])
@pytest.mark.parametrize(("lmax", "mmax"), [(0, 0), (1, 0), (2, 2), (3, 1), (4, 4), (6, 2)])
def test_row_by_row_as_it_is_compiled_it_is_the_same(op, lmax, mmax):
    args, spec = find(op).example(torch.float64, "cpu", 0, lmax=lmax, mmax=mmax)
    by_rows = importlib.import_module(f"erlangen.kernels.{op}").by_rows
    torch.testing.assert_close(by_rows(*args, **spec), find(op).reference(*args, **spec), rtol=1e-13, atol=1e-13)
    assert is_short(lmax, mmax) == (lmax < 6)


@pytest.mark.parametrize("backend", ["reference", "compiled"])
def test_without_edges_the_sum_is_zero_and_so_are_gradients(backend):
    kernel = kernels.get("so2_depthwise", backend, lmax=2, mmax=1)
    x = torch.ones(1, 9, C, dtype=torch.float64, requires_grad=True)
    w = torch.ones(0, pairs(2, 1), C, dtype=torch.float64)
    out = kernel(x, torch.zeros(2, 0, dtype=torch.int64), frames(x.new_zeros(0, 3), 2), w, 1)
    assert out.shape == (1, 9, C)
    out.square().sum().backward()
    assert x.grad.abs().sum() == out.abs().sum() == 0


def test_mistakes_are_named(generator):
    x, edge_index, vectors = graph(generator, 2, C)
    w, D = weights(generator, pairs(2, 1)), frames(vectors, 2)
    for args, why in (
        ((x[:, :4], edge_index, D, w, NODES), r"x is \(5, 4, 3\); give \(rows, 9, channels\)"),
        ((x, edge_index.T, D, w, NODES), r"edge_index is \(20, 2\)"),
        ((x, edge_index[:, 1:], D, w, NODES), r"give \(20,\) integers"),
        ((x, edge_index, D[:, :10], w, NODES), r"packed Wigner matrices \(edges, 35\) for lmax=2"),
        ((x, edge_index, D, w[:, 1:], NODES), r"weight is \(20, 16, 3\); give \(20, 17, 3\)"),
        ((x, edge_index, D, w, -1), "size=-1"),
        ((x, edge_index, D, w.float(), NODES), "one dtype"),
    ):
        with pytest.raises(UserError, match=why):
            conv(2, 1)(*args)
    with pytest.raises(UserError, match="lmax=2, mmax=3; need 0 <= mmax <= lmax"):
        conv(2, 3)(x, edge_index, D, w, NODES)
