"""What Triton's kernels are tested on: sizes that are no multiples of their blocks, in the interpreter and on a GPU."""

import pytest
import torch
from torch import Tensor

from erlangen.kernels.registry import find
from erlangen.kernels.triton import interpreted

DEVICE = "cpu" if interpreted() else "cuda"
# test_interpreter.py runs the tests that bear this mark in a process where Triton is interpreted.
ON_DEVICE = (
    [] if interpreted() else [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")]
)

EDGES = {"nodes": 5, "degree": 4}
SPEC = ("function", "normalize", "normalization")  # what examples do not choose
QUICK = [
    ("spherical_harmonics", {"edges": 19, "lmax": 3}),
    ("wigner", {"edges": 19, "lmax": 3}),
    ("rotate_gather", {**EDGES, "channels": 3, "lmax": 2, "mmax": 1}),
    ("rotate_scatter", {**EDGES, "channels": 3, "lmax": 2, "mmax": 1}),
    ("so2_conv", {**EDGES, "channels": 3, "lmax": 2, "mmax": 1}),
    ("so2_depthwise", {**EDGES, "channels": 3, "lmax": 1, "mmax": 1}),
    ("so2_depthwise_radial", {**EDGES, "channels": 17, "inputs": 5, "lmax": 1, "mmax": 1}),
    ("gaunt_product", {"rows": 5, "channels": 7, "lmax1": 2, "lmax2": 1, "lmax3": 3}),
    ("s2_activation", {"rows": 5, "channels": 7, "lmax": 2, "kind": "separable", "resolution": (4, 6)}),
    ("geometric_product", {"signature": (3, 0, 1), "nodes": 7, "channels": 19}),
    ("segment_sum", {"nodes": 4, "degree": 9, "channels": 3}),
    ("segment_softmax", {"nodes": 4, "degree": 9, "heads": 3}),
    ("segment_attention", {"nodes": 4, "degree": 9, "heads": 3, "channels": 5}),
]
THOROUGH = [
    ("spherical_harmonics", {"edges": 3, "lmax": 0, "normalization": "integral"}),
    ("spherical_harmonics", {"edges": 33, "lmax": 1, "normalize": False}),
    ("spherical_harmonics", {"edges": 5, "lmax": 5, "normalization": "norm", "normalize": False}),
    ("spherical_harmonics", {"edges": 67, "lmax": 8, "normalization": "integral"}),
    ("wigner", {"edges": 3, "lmax": 0}),
    ("wigner", {"edges": 33, "lmax": 1}),
    ("wigner", {"edges": 17, "lmax": 6}),
    ("rotate_gather", {"nodes": 2, "degree": 1, "channels": 131, "lmax": 1, "mmax": 0}),
    ("rotate_gather", {**EDGES, "channels": 5, "lmax": 4, "mmax": 4}),
    ("rotate_scatter", {"nodes": 2, "degree": 1, "channels": 131, "lmax": 1, "mmax": 0}),
    ("rotate_scatter", {**EDGES, "channels": 5, "lmax": 3, "mmax": 3}),
    ("so2_conv", {"nodes": 3, "degree": 3, "channels": 1, "lmax": 0, "mmax": 0}),
    ("so2_conv", {**EDGES, "channels": 5, "lmax": 3, "mmax": 3}),
    ("so2_conv", {"nodes": 2, "degree": 1, "channels": 131, "lmax": 1, "mmax": 0}),
    ("so2_depthwise", {"nodes": 3, "degree": 3, "channels": 1, "lmax": 0, "mmax": 0}),
    ("so2_depthwise", {**EDGES, "channels": 33, "lmax": 3, "mmax": 2}),
    ("so2_depthwise_radial", {**EDGES, "channels": 5, "inputs": 19, "lmax": 3, "mmax": 2}),
    ("gaunt_product", {"rows": 3, "channels": 40, "lmax1": 0, "lmax2": 1, "lmax3": 1}),
    ("gaunt_product", {"rows": 5, "channels": 3, "lmax1": 4, "lmax2": 3, "lmax3": 2}),
    ("s2_activation", {"rows": 3, "channels": 40, "lmax": 0, "kind": "pointwise", "resolution": (1, 1)}),
    (
        "s2_activation",
        {"rows": 2, "channels": 3, "lmax": 4, "kind": "pointwise", "resolution": (7, 11), "function": "gelu"},
    ),
    (
        "s2_activation",
        {"rows": 2, "channels": 3, "lmax": 2, "kind": "separable", "resolution": (4, 6), "function": "tanh"},
    ),
    ("geometric_product", {"signature": (3, 0, 0), "nodes": 2, "channels": 5}),
    ("geometric_product", {"signature": (1, 1, 1), "nodes": 1, "channels": 1}),
    ("geometric_product", {"signature": (0, 0, 0), "nodes": 2, "channels": 3}),
    ("segment_sum", {"nodes": 9, "degree": 3, "channels": 131}),
    ("segment_sum", {"nodes": 1, "degree": 70, "channels": 1}),
    ("segment_softmax", {"nodes": 9, "degree": 3, "heads": 19}),
    ("segment_softmax", {"nodes": 1, "degree": 70, "heads": 1}),
    ("segment_attention", {"nodes": 9, "degree": 3, "heads": 19, "channels": 17}),
    ("segment_attention", {"nodes": 2, "degree": 35, "heads": 1, "channels": 131}),
]


def name(case) -> str:
    op, sizes = case
    return "-".join([op, *(f"{key}={value}" for key, value in sizes.items() if key not in EDGES)])


def cases() -> list:
    return [pytest.param(*case, id=name(case)) for case in QUICK] + [
        pytest.param(*case, id=name(case), marks=pytest.mark.slow) for case in THOROUGH
    ]


def example(op: str, dtype: torch.dtype, sizes: dict) -> tuple[tuple, dict]:
    """Arguments on the device that is tested, and the spec."""
    named = {key: value for key, value in sizes.items() if key not in SPEC}
    args, spec = find(op).example(dtype, DEVICE, 0, **named)
    return args, spec | {key: value for key, value in sizes.items() if key in SPEC}


def is_number(value) -> bool:
    return isinstance(value, Tensor) and value.is_floating_point()


def derivatives(kernel, args: tuple) -> list[Tensor]:
    """The value, the gradients of a weighted square, and the gradients of their square, in float64."""
    args = tuple(a.clone().requires_grad_() if is_number(a) else a for a in args)
    numbers = [a for a in args if is_number(a)]
    out = kernel(*args)
    if not out.requires_grad:
        return [out]
    weight = torch.rand(out.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    first = torch.autograd.grad((weight.to(out) * out.square()).sum(), numbers, create_graph=True)
    second = torch.autograd.grad(sum(g.square().sum() for g in first), numbers)
    return [[t.detach().double() for t in part] for part in ([out], first, second)]


def relative(found: Tensor, true: Tensor) -> float:
    """max |error| / max |true|."""
    return ((found - true).abs().max() / true.abs().max().clamp_min(1e-30)).item()
