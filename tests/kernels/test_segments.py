"""Segment operations and gather-scale-scatter, against loops over nodes and against PyG."""

import pytest
import torch
from machine import needs_c
from torch_geometric.utils import softmax

from erlangen import kernels
from erlangen.errors import UserError
from erlangen.kernels.segment import index_of, rowptr_of, segment_sum

NODES, EDGES = 7, 30


@pytest.fixture
def index(generator):
    """Sorted, and with a node that no edge reaches."""
    index = torch.randint(NODES - 1, (EDGES,), generator=generator).sort().values
    return index + (index >= 3)


def randn(generator, *shape):
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def op(name, backend="reference"):
    return kernels.get(name, backend)


def test_a_segment_sum_is_the_sum_of_its_rows(generator, index):
    values = randn(generator, EDGES, 2, 3)
    out = segment_sum(values, index, NODES)
    for node in range(NODES):
        torch.testing.assert_close(out[node], values[index == node].sum(0))
    assert out[3].abs().max() == 0


def test_rowptr_and_index_say_the_same(index):
    rowptr = rowptr_of(index, NODES)
    assert rowptr.tolist() == [int((index < node).sum()) for node in range(NODES + 1)]
    assert torch.equal(index_of(rowptr), index)
    assert rowptr_of(index[:0], 3).tolist() == [0, 0, 0, 0]


def test_softmax_is_that_of_pyg_and_sums_to_one(generator, index):
    logits = 5 * randn(generator, EDGES, 4)
    weight = op("segment_softmax")(logits, index, NODES)
    torch.testing.assert_close(weight, softmax(logits, index, num_nodes=NODES))
    total = segment_sum(weight, index, NODES)
    torch.testing.assert_close(total, torch.ones(NODES, 4).double() * (torch.arange(NODES) != 3).unsqueeze(1))


def test_softmax_neither_overflows_nor_depends_on_a_shift(generator, index):
    logits = randn(generator, EDGES, 2)
    for shift in (-1e6, 1e6):
        torch.testing.assert_close(
            op("segment_softmax")(logits + shift, index, NODES), op("segment_softmax")(logits, index, NODES)
        )


def test_minus_infinity_masks_an_edge_and_a_whole_segment(generator):
    logits = torch.tensor([[0.0], [-torch.inf], [-torch.inf], [-torch.inf]], requires_grad=True)
    weight = op("segment_softmax")(logits, torch.tensor([0, 0, 1, 1]), 2)
    assert weight.flatten().tolist() == [1, 0, 0, 0]
    (gradient,) = torch.autograd.grad(weight.square().sum(), logits)
    assert gradient.isfinite().all()


def test_attention_is_each_nodes_weighted_mean(generator, index):
    logits, values = randn(generator, EDGES, 2), randn(generator, EDGES, 2, 3)
    out = op("segment_attention")(logits, values, index, NODES)
    for node in range(NODES):
        mine = index == node
        weight = logits[mine].softmax(0).unsqueeze(-1)
        torch.testing.assert_close(out[node], (weight * values[mine]).sum(0))


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize(
    ("backend", "channels"),
    [("reference", 5), *(pytest.param("native", c, marks=needs_c) for c in (1, 5, 16, 32, 40, 64, 130))],
)
def test_gather_scale_scatter_is_a_product_with_the_weighted_adjacency(generator, index, backend, channels, shared):
    """With its gradients: those of x by the transposed matrix, those of weights by pairs of rows; in any order of edges."""
    x, weight = randn(generator, 9, channels), randn(generator, EDGES, 1 if shared else channels)
    source, index = torch.randint(9, (EDGES,), generator=generator), index.flip(0)
    x, weight = x.requires_grad_(), weight.requires_grad_()
    out = op("gather_scale_scatter", backend)(x, weight, torch.stack([source, index]), NODES)
    adjacency = torch.zeros(NODES, 9, channels, dtype=torch.float64)
    adjacency = adjacency.index_put((index, source), weight.expand(-1, channels), accumulate=True)
    expected = torch.einsum("ijc,jc->ic", adjacency, x)
    torch.testing.assert_close(out, expected)
    gradient = randn(generator, NODES, channels)
    for ours, true in zip(*(torch.autograd.grad(y, (x, weight), gradient) for y in (out, expected)), strict=True):
        torch.testing.assert_close(ours, true)


@pytest.mark.parametrize("name", ["segment_sum", "segment_softmax", "segment_attention", "gather_scale_scatter"])
@pytest.mark.parametrize("backend", ["reference", "compiled", "auto"])
def test_no_edges_is_a_defined_result_with_zero_gradients(name, backend):
    index = torch.zeros(0, dtype=torch.int64)
    edges = torch.zeros(0, 2, dtype=torch.float64, requires_grad=True)
    nodes = torch.ones(3, 2, dtype=torch.float64, requires_grad=True)
    args = {
        "segment_sum": (edges, index, 3),
        "segment_softmax": (edges, index, 3),
        "segment_attention": (edges, edges.unsqueeze(-1), index, 3),
        "gather_scale_scatter": (nodes, edges, index.expand(2, 0), 3),
    }[name]
    kernel = kernels.get(name, backend)
    out = kernel(*args)
    assert out.abs().sum() == 0
    (out.square().sum() + out.sum()).backward()
    assert nodes.grad is None or nodes.grad.abs().sum() == 0
    assert kernel(*args[:-1], 0).shape[0] == 0 or name == "segment_softmax"


def test_the_order_of_edges_does_not_matter(generator, index):
    order = torch.randperm(EDGES, generator=generator)
    values, logits = randn(generator, EDGES, 2, 3), randn(generator, EDGES, 2)
    for name, args in (("segment_sum", (values,)), ("segment_attention", (logits, values))):
        shuffled = [a[order] for a in args]
        torch.testing.assert_close(op(name)(*shuffled, index[order], NODES), op(name)(*args, index, NODES))
    weight = op("segment_softmax")(logits, index, NODES)
    torch.testing.assert_close(op("segment_softmax")(logits[order], index[order], NODES), weight[order])


@pytest.mark.parametrize(
    "backend",
    ["reference", pytest.param("native", marks=needs_c), pytest.param("compiled", marks=pytest.mark.slow)],
)
@pytest.mark.parametrize("heads", [1, 2, 32])
def test_every_softmax_takes_edges_in_any_order_and_masks(generator, index, backend, heads):
    order = torch.randperm(EDGES, generator=generator)
    logits = randn(generator, EDGES, heads)
    logits[4] = -torch.inf
    logits[index == 5] = -torch.inf
    kernel = kernels.get("segment_softmax", backend)
    true = op("segment_softmax")(logits, index, NODES)
    torch.testing.assert_close(kernel(logits, index, NODES), true)
    torch.testing.assert_close(kernel(logits[order], index[order].int(), NODES), true[order])


@pytest.mark.parametrize(
    ("name", "args", "why"),
    [
        ("segment_sum", ((5, 2), (4,), 3), "4 indices for values"),
        ("segment_sum", ((5, 2), (5, 1), 3), "give a flat tensor of integers"),
        ("segment_sum", ((5, 2), (5,), -1), "give the number of segments"),
        ("segment_softmax", ((5,), (5,), 3), r"give \(edges, heads\)"),
        ("segment_attention", ((5, 2), (5, 3, 1), (5,), 3), r"logits \(5, 2\) and values \(5, 3, 1\)"),
        ("gather_scale_scatter", ((3, 2), (5, 3), (2, 5), 3), r"give x \(nodes, channels\)"),
        ("gather_scale_scatter", ((3, 2), (5, 2), (2, 4), 3), r"edge_index \(2, 4\) for 5 weights"),
        ("gather_scale_scatter", ((3, 2), (5, 2), (2, 5), -3), "number of destinations"),
    ],
)
def test_wrong_shapes_are_named(name, args, why):
    *shapes, index, size = args
    with pytest.raises(UserError, match=why):
        op(name)(*(torch.ones(shape) for shape in shapes), torch.zeros(index, dtype=torch.int64), size)


@pytest.mark.parametrize("backend", ["reference", "auto", pytest.param("compiled", marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", ["segment_sum", "segment_softmax", "gather_scale_scatter"])
def test_an_index_out_of_range_is_an_error_not_a_wrong_number(name, backend):
    index = torch.tensor([0, 1, 9])
    args = (
        (torch.ones(3, 2), index)
        if name != "gather_scale_scatter"
        else (torch.ones(2, 2), torch.ones(3, 2), torch.stack([index, index]))
    )
    with pytest.raises(UserError, match="give indices from 0 to"):
        kernels.get(name, backend)(*args, 2)
