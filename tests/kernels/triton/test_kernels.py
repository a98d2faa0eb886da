"""Triton's kernels against the references, to second order: in the interpreter (test_interpreter.py) and on a GPU."""

import pytest
import torch
from kernels.triton.cases import DEVICE, ON_DEVICE, QUICK, cases, derivatives, example, is_number, relative

from erlangen import kernels
from erlangen.kernels.registry import find

pytest.importorskip("triton", reason="Triton is not installed")
pytestmark = ON_DEVICE

QUICK_OPS = [pytest.param(*case, id=case[0]) for case in QUICK]


@pytest.mark.parametrize(("op", "sizes"), cases())
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["fp64", "fp32"])
def test_values_and_derivatives_are_the_references(op, sizes, dtype):
    args, spec = example(op, dtype, sizes)
    exact = tuple(a.double() if is_number(a) else a for a in args)
    found = derivatives(kernels.get(op, "triton", **spec), args)
    true = derivatives(kernels.get(op, "reference", **spec), exact)
    tolerance = find(op).tolerance
    bounds = (tolerance.forward, tolerance.gradient, tolerance.double)
    assert len(found) == len(true)
    for order, bound in zip(range(len(true)), bounds, strict=False):
        for f, t in zip(found[order], true[order], strict=True):
            assert f.shape == t.shape
            assert relative(f, t) <= (bound if dtype == torch.float32 else 1e-12)


@pytest.mark.parametrize(("op", "sizes"), QUICK_OPS)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=["bf16", "fp16"])
def test_half_precision_is_within_the_declared_tolerance(op, sizes, dtype):
    args, spec = example(op, dtype, sizes)
    exact = tuple(a.double() if is_number(a) else a for a in args)
    found = kernels.get(op, "triton", **spec)(*args)
    assert found.dtype == dtype
    true = kernels.get(op, "reference", **spec)(*exact)
    assert relative(found.double(), true) <= find(op).tolerance.low


EMPTY = {
    "wigner": lambda a: (a[0][:0],),
    "rotate_gather": lambda a: (a[0], a[1][:0], a[2][:0]),
    "rotate_scatter": lambda a: (a[0][:0], a[1][:0], a[2][:0], a[3]),
    "so2_depthwise": lambda a: (a[0], a[1][:, :0], a[2][:0], a[3][:0], a[4]),
    "so2_depthwise_radial": lambda a: (a[0], a[1][:, :0], a[2][:0], a[3][:0], a[4], a[5]),
    "gaunt_product": lambda a: (a[0][:0], a[1][:0]),
    "s2_activation": lambda a: (a[0][:0], a[1][:0]),
    "geometric_product": lambda a: (a[0][:, :0], a[1][:, :0]),
    "segment_softmax": lambda a: (a[0][:0], a[1][:0], a[2]),
}


@pytest.mark.parametrize(("op", "sizes"), QUICK_OPS)
def test_empty_arguments_give_empty_results_and_zero_gradients(op, sizes):
    args, spec = example(op, torch.float32, sizes)
    args = tuple(a.clone().requires_grad_() if is_number(a) else a for a in EMPTY[op](args))
    out = kernels.get(op, "triton", **spec)(*args)
    true = kernels.get(op, "reference", **spec)(*args)
    assert out.shape == true.shape
    assert not out.any()
    for gradient, a in zip(
        torch.autograd.grad(out.sum(), filter(is_number, args)), filter(is_number, args), strict=True
    ):
        assert gradient.shape == a.shape
        assert not gradient.any()


@pytest.mark.parametrize(("op", "sizes"), QUICK_OPS)
def test_strides_and_autocast_change_nothing(op, sizes):
    args, spec = example(op, torch.float32, sizes)
    kernel = kernels.get(op, "triton", **spec)
    plain = kernel(*args)
    strided = tuple(a.mT.contiguous().mT if isinstance(a, torch.Tensor) and a.ndim > 1 else a for a in args)
    with torch.autocast(DEVICE, torch.bfloat16):
        torch.testing.assert_close(kernel(*strided), plain, rtol=0, atol=0)


def test_edges_may_come_in_any_order_and_nodes_may_have_none():
    (y, _, D, _), spec = example("rotate_scatter", torch.float64, dict(QUICK)["rotate_scatter"])
    index = torch.tensor([4, 0, 6, 6, 0] * 4, device=DEVICE)
    for order in (index, index.int()):
        found = kernels.get("rotate_scatter", "triton", **spec)(y, order, D, 8)
        true = kernels.get("rotate_scatter", "reference", **spec)(y, order, D, 8)
        torch.testing.assert_close(found, true, rtol=1e-13, atol=1e-13)
    logits = torch.randn(20, 2, dtype=torch.float64, device=DEVICE)
    found = kernels.get("segment_softmax", "triton")(logits, index, 8)
    torch.testing.assert_close(found, kernels.get("segment_softmax", "reference")(logits, index, 8))


def test_masked_edges_have_no_weight_and_no_gradient_even_alone():
    logits = torch.tensor([[1.0], [-torch.inf], [2.0], [-torch.inf], [1e4]], device=DEVICE, requires_grad=True)
    index = torch.tensor([0, 0, 0, 1, 2], device=DEVICE)
    weight = kernels.get("segment_softmax", "triton")(logits, index, 4)
    sigmoid = torch.sigmoid(torch.tensor(1.0)).item()
    assert weight.flatten().tolist() == pytest.approx([1 - sigmoid, 0, sigmoid, 0, 1])
    (gradient,) = torch.autograd.grad(weight[0].sum(), logits)
    slope = sigmoid * (1 - sigmoid)
    assert gradient.flatten().tolist() == pytest.approx([slope, 0, -slope, 0, 0])


def test_an_edge_without_direction_passes_scalars_only():
    """R = 0 stands for it; its gradient is finite."""
    R = torch.zeros(1, 3, 3, device=DEVICE, requires_grad=True)
    D = kernels.get("wigner", "triton", lmax=3)(R)
    assert D[0, 0] == 1
    assert not D[0, 1:].any()
    (gradient,) = torch.autograd.grad(D.sum(), R)
    assert torch.equal(gradient, torch.ones_like(R))


@pytest.mark.slow
@pytest.mark.parametrize(("op", "sizes"), QUICK_OPS)
def test_a_compiled_model_may_call_it(op, sizes):
    args, spec = example(op, torch.float32, sizes)
    kernel = kernels.get(op, "triton", **spec)
    torch._dynamo.reset()
    model = torch.compile(lambda *args: (2 * kernel(*args)).square().sum(), fullgraph=True)
    args = tuple(a.clone().requires_grad_() if is_number(a) else a for a in args)
    numbers = list(filter(is_number, args))
    true = (2 * kernel(*args)).square().sum()
    found = model(*args)
    torch.testing.assert_close(found, true)
    for f, t in zip(torch.autograd.grad(found, numbers), torch.autograd.grad(true, numbers), strict=True):
        torch.testing.assert_close(f, t)
