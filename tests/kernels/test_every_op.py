"""What every operation must be, found by its file alone: a new one needs no line here."""

import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck

from erlangen import kernels
from erlangen.errors import UserError
from erlangen.kernels.registry import find

OPS = kernels.ops()
SMOOTH = [op for op in OPS if find(op).differentiable]
BACKENDS = [
    pytest.param(op, backend, id=f"{op}-{backend}", marks=[pytest.mark.slow] if backend == "compiled" else [])
    for op in OPS
    for backend, support in kernels.available(op).items()
    if support.reason is None and (support.device is None or "cpu" in support.device)
]
OTHERS = [p for p in BACKENDS if p.values[1] != "reference"]
DIFFERENTIABLE = [p for p in BACKENDS if p.values[0] in SMOOTH]
HALF = {torch.bfloat16, torch.float16}


def dtypes_of(op, backend):
    return find(op).candidates[backend].dtypes


def in_double(parameters):
    """Those whose backend does the widest dtype of its operation."""
    return [p for p in parameters if find(p.values[0]).dtypes[0] in dtypes_of(*p.values)]


def example(op, dtype=None, seed=0):
    """Arguments and spec; in the widest dtype unless told."""
    return find(op).example(dtype or find(op).dtypes[0], "cpu", seed)


def narrow(op):
    return find(op).dtypes[1]


def outputs(result):
    """The tensors that an operation returns, those that depend smoothly on its arguments last."""
    return result if isinstance(result, tuple) else (result,)


def is_number(value):
    return isinstance(value, Tensor) and (value.is_floating_point() or value.is_complex())


def with_gradients(args):
    return tuple(a.clone().requires_grad_() if is_number(a) else a for a in args)


def smooth(kernel, args):
    """The kernel as a function of its real or complex arguments, for gradcheck."""
    places = [i for i, a in enumerate(args) if is_number(a)]

    def function(*numbers):
        filled = list(args)
        for place, number in zip(places, numbers, strict=True):
            filled[place] = number
        return tuple(t for t in outputs(kernel(*filled)) if is_number(t))

    return function, [args[place] for place in places]


def derivatives(kernel, args):
    """Value, gradient, and the gradient of the gradient's square (what forces that are trained on need)."""
    function, numbers = smooth(kernel, with_gradients(args))
    out = torch.cat([torch.view_as_real(t).flatten() if t.is_complex() else t.flatten() for t in function(*numbers)])
    weight = torch.rand(out.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64).to(out.dtype)
    first = torch.autograd.grad((weight * out.square()).sum(), numbers, create_graph=True)
    second = torch.autograd.grad(sum(g.abs().square().sum() for g in first), numbers)
    return [out.detach()], [g.detach() for g in first], second


def relative(found, true):
    """max |error| / max |true|."""
    found = found.to(true.dtype)
    return ((found - true).abs().max() / true.abs().max().clamp_min(1e-30)).item()


@pytest.mark.parametrize(("op", "backend"), in_double(OTHERS))
def test_a_backend_gives_what_the_reference_gives(op, backend):
    for seed in range(2):
        args, spec = example(op, seed=seed)
        true = outputs(kernels.get(op, "reference", **spec)(*args))
        found = outputs(kernels.get(op, backend, **spec)(*args))
        for t, f in zip(true, found, strict=True):
            if is_number(t):
                assert f.dtype == t.dtype
            if (
                op != "neighbor_list"
            ):  # whose edges have no order within a destination: tests/kernels/test_neighbor_list.py
                torch.testing.assert_close(f, t, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("op", "backend"), DIFFERENTIABLE)
def test_single_precision_is_within_the_declared_tolerance(op, backend):
    args, spec = example(op, narrow(op))
    exact = tuple(a.to(find(op).dtypes[0]) if is_number(a) else a for a in args)
    kernel, reference = kernels.get(op, backend, **spec), kernels.get(op, "reference", **spec)
    tolerance = find(op).tolerance
    bounds = (tolerance.forward, tolerance.gradient, tolerance.double)
    for found, true, bound in zip(derivatives(kernel, args), derivatives(reference, exact), bounds, strict=True):
        assert all(t.abs().max() > 0 for t in true)
        assert max(relative(f, t) for f, t in zip(found, true, strict=True)) <= bound


@pytest.mark.parametrize(("op", "backend"), [p for p in DIFFERENTIABLE if set(dtypes_of(*p.values)) >= HALF])
@pytest.mark.parametrize("dtype", sorted(HALF, key=str), ids=["bf16", "fp16"])
def test_half_precision_is_within_the_declared_tolerance(op, backend, dtype):
    args, spec = example(op, dtype)
    kernel = kernels.get(op, backend, **spec)
    exact = tuple(a.double() if is_number(a) else a for a in args)
    with torch.no_grad():
        found, true = outputs(kernel(*args)), outputs(kernel(*exact))
    assert max(relative(f, t) for f, t in zip(found, true, strict=True) if is_number(t)) <= find(op).tolerance.low


@pytest.mark.parametrize(("op", "backend"), in_double(DIFFERENTIABLE))
def test_gradients_are_those_of_the_function_to_second_order(op, backend):
    args, spec = example(op)
    function, numbers = smooth(kernels.get(op, backend, **spec), with_gradients(args))
    assert gradcheck(function, numbers, fast_mode=True)
    assert gradgradcheck(function, numbers, fast_mode=True)


@pytest.mark.parametrize(("op", "backend"), BACKENDS)
def test_autocast_changes_neither_the_operation_nor_its_precision(op, backend):
    args, spec = example(op, narrow(op))
    kernel = kernels.get(op, backend, **spec)
    plain = outputs(kernel(*args))
    with torch.autocast("cpu", torch.bfloat16):
        cast = outputs(kernel(*args))
    for p, c in zip(plain, cast, strict=True):
        torch.testing.assert_close(c, p, rtol=0, atol=0)


@pytest.mark.slow
@pytest.mark.parametrize("op", OPS)
def test_a_compiled_model_may_call_it(op):
    args, spec = example(op)
    kernel = kernels.get(op, "reference", **spec)
    torch._dynamo.reset()

    def model(*args):
        return [2 * t for t in outputs(kernel(*args))]

    compiled = torch.compile(model, fullgraph=find(op).traceable)
    for found, true in zip(compiled(*args), outputs(kernel(*args)), strict=True):
        torch.testing.assert_close(found, 2 * true)


@pytest.mark.parametrize("op", OPS)
def test_tensors_on_two_devices_are_refused(op):
    args, spec = example(op)
    places = [i for i, a in enumerate(args) if isinstance(a, Tensor)]
    if len(places) > 1:
        args = [a.to("meta") if i == places[-1] else a for i, a in enumerate(args)]
        with pytest.raises(UserError, match="move them to one device"):
            kernels.get(op, "reference", **spec)(*args)


@pytest.mark.parametrize("op", OPS)
def test_the_cost_is_that_of_a_call_and_grows_with_it(op):
    args, spec = example(op)
    cost = find(op).cost(find(op).reference(*args, **spec), *args, **spec)
    assert cost.flop > 0
    assert cost.bytes >= sum(a.numel() * a.element_size() for a in args if is_number(a))
    narrowed, spec = example(op, narrow(op))
    half = find(op).cost(find(op).reference(*narrowed, **spec), *narrowed, **spec)
    assert half.flop == cost.flop
    assert half.bytes < cost.bytes


@pytest.mark.parametrize("op", OPS)
def test_examples_are_the_same_each_time_and_differ_by_seed(op):
    first, again, other = (example(op, seed=seed)[0] for seed in (0, 0, 1))
    numbers = [i for i, a in enumerate(first) if is_number(a)]
    assert all(torch.equal(first[i], again[i]) for i in numbers)
    assert not any(torch.equal(first[i], other[i]) for i in numbers[:1])
