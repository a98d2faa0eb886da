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
    "spherical_harmonics": lambda a: (a[0][:0],),
    "wigner": lambda a: (a[0][:0],),
    "rotate_gather": lambda a: (a[0], a[1][:0], a[2][:0]),
    "rotate_scatter": lambda a: (a[0][:0], a[1][:0], a[2][:0], a[3]),
    "so2_conv": lambda a: (a[0], a[1][:, :0], a[2][:0], a[3][:0], a[4], a[5]),
    "so2_depthwise": lambda a: (a[0], a[1][:, :0], a[2][:0], a[3][:0], a[4]),
    "so2_depthwise_radial": lambda a: (a[0], a[1][:, :0], a[2][:0], a[3][:0], a[4], a[5]),
    "gaunt_product": lambda a: (a[0][:0], a[1][:0]),
    "s2_activation": lambda a: (a[0][:0], a[1][:0]),
    "geometric_product": lambda a: (a[0][:, :0], a[1][:, :0]),
    "segment_sum": lambda a: (a[0][:0], a[1][:0], a[2]),
    "segment_softmax": lambda a: (a[0][:0], a[1][:0], a[2]),
    "segment_attention": lambda a: (a[0][:0], a[1][:0], a[2][:0], a[3]),
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
    values = torch.randn(20, 2, 3, dtype=torch.float64, device=DEVICE)
    for order in (index, index.int()):
        for op, args in (("segment_sum", (values,)), ("segment_attention", (logits, values))):
            found = kernels.get(op, "triton")(*args, order, 8)
            torch.testing.assert_close(found, kernels.get(op, "reference")(*args, order, 8))
            assert not found[[1, 2, 3, 5, 7]].any()


def test_a_convolution_takes_edges_in_any_order():
    (x, edge_index, D, radial, weight, size), spec = example("so2_conv", torch.float64, dict(QUICK)["so2_conv"])
    order = torch.randperm(len(D), generator=torch.Generator().manual_seed(0)).to(DEVICE)
    kernel = kernels.get("so2_conv", "triton", **spec)
    found = kernel(x, edge_index[:, order], D[order], radial[order], weight, size + 1)
    torch.testing.assert_close(found[:size], kernel(x, edge_index, D, radial, weight, size))
    assert not found[size:].any()


@pytest.mark.parametrize("op", ["segment_sum", "segment_attention"])
def test_sums_without_channels_are_empty(op):
    index = torch.tensor([1, 0, 1], device=DEVICE)
    logits = torch.ones(3, 2, device=DEVICE, requires_grad=True)
    values = torch.ones(3, 2, 0, device=DEVICE, requires_grad=True)
    args = (values,) if op == "segment_sum" else (logits, values)
    out = kernels.get(op, "triton")(*args, index, 4)
    assert out.shape == (4, 2, 0)
    assert not any(g.any() for g in torch.autograd.grad(out.sum(), args))


def test_masked_edges_have_no_weight_and_no_gradient_even_alone():
    logits = torch.tensor([[1.0], [-torch.inf], [2.0], [-torch.inf], [1e4]], device=DEVICE, requires_grad=True)
    index = torch.tensor([0, 0, 0, 1, 2], device=DEVICE)
    weight = kernels.get("segment_softmax", "triton")(logits, index, 4)
    sigmoid = torch.sigmoid(torch.tensor(1.0)).item()
    assert weight.flatten().tolist() == pytest.approx([1 - sigmoid, 0, sigmoid, 0, 1])
    (gradient,) = torch.autograd.grad(weight[0].sum(), logits)
    slope = sigmoid * (1 - sigmoid)
    assert gradient.flatten().tolist() == pytest.approx([slope, 0, -slope, 0, 0])


def test_attention_to_masked_edges_is_nothing_to_second_order():
    """One segment is masked in part, one as a whole, one in one head only; the last has no edges."""
    inf = torch.inf
    logits = torch.tensor([[1.0, -inf], [-inf, -inf], [2.0, 0.0], [-inf, -inf], [1e4, -inf]], dtype=torch.float64)
    values = torch.randn(5, 2, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    index = torch.tensor([0, 0, 0, 1, 2], device=DEVICE)
    found, true = (
        derivatives(
            lambda *a, b=b: kernels.get("segment_attention", b)(*a, index, 4), (logits.to(DEVICE), values.to(DEVICE))
        )
        for b in ("triton", "reference")
    )
    for f, t in zip(sum(found, []), sum(true, []), strict=True):
        assert f.isfinite().all()
        torch.testing.assert_close(f, t, rtol=1e-12, atol=1e-12)
    out, (of_logits, of_values), _ = found
    assert not out[0][[1, 3]].any()
    assert not out[0][2, 1].any()
    masked = logits.to(DEVICE) == -inf
    assert not of_logits[masked].any()
    assert not of_values[masked].any()


@pytest.mark.parametrize("shift", [-1e6, 1e6])
def test_attention_neither_overflows_nor_depends_on_a_shift(shift):
    (logits, *rest), _ = example("segment_attention", torch.float32, dict(QUICK)["segment_attention"])
    logits, kernel = logits.round().requires_grad_(), kernels.get("segment_attention", "triton")
    plain, shifted = (kernel(logits + by, *rest) for by in (0, shift))
    torch.testing.assert_close(shifted, plain)
    gradients = (torch.autograd.grad(out.square().sum(), logits)[0] for out in (plain, shifted))
    torch.testing.assert_close(*gradients)


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_harmonics_at_zero_and_at_the_poles_are_the_references(normalize, dtype):
    rows = [[0, 0, 0], [0, 2, 0], [0, -1, 0], [0, 0, -1e-25], [0, 1e-200, 0], [1, 1, 1]]
    r = torch.tensor(rows, dtype=torch.float64, device=DEVICE).to(dtype)
    true, found = (
        derivatives(kernels.get("spherical_harmonics", b, lmax=3, normalize=normalize), (r,))
        for b in ("reference", "triton")
    )
    assert found[0][0][0].tolist() == [1] + 15 * [0]
    for f, t in zip(found[:2], true[:2], strict=True):
        assert f[0].isfinite().all()
        assert (f[0][0] == t[0][0]).all()
        assert relative(f[0], t[0]) <= (1e-5 if dtype == torch.float32 else 1e-12)


def test_harmonics_of_large_vectors_do_not_overflow_and_nan_stays_in_its_edge():
    r = torch.tensor([[1e30, -2e30, 1e30], [1, -2, 1], [torch.nan, 1, 1]], device=DEVICE)
    Y = kernels.get("spherical_harmonics", "triton", lmax=3)(r)
    torch.testing.assert_close(Y[0], Y[1])
    assert Y[:2].isfinite().all()
    assert Y[2, 1:].isnan().any()


def test_vectors_that_count_as_zero_in_half_precision_have_no_harmonics():
    r = torch.tensor([[1e-3, 0, 2e-3], [2e-2, 0, 0]], dtype=torch.float16, device=DEVICE)
    Y = kernels.get("spherical_harmonics", "triton", lmax=2)(r)
    torch.testing.assert_close(Y, kernels.get("spherical_harmonics", "reference", lmax=2)(r))
    assert Y[:, 1:].any(1).tolist() == [False, True]


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
