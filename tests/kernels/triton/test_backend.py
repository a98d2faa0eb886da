"""The backend `triton`: where it runs, why not, and that nobody pays for it unasked."""

import subprocess
import sys

import pytest
import torch
from kernels.triton.cases import QUICK

from erlangen import kernels
from erlangen.errors import UserError
from erlangen.kernels import triton as package
from erlangen.kernels.registry import find
from erlangen.kernels.triton import interpreted

OPS = [op for op, _ in QUICK]
INSTALLED = "triton not installed" not in str(kernels.available("wigner")["triton"].reason)
needs_triton = pytest.mark.skipif(not INSTALLED, reason="Triton is not installed")


def test_every_operation_with_the_backend_is_tested():
    assert sorted(op for op in kernels.ops() if "triton" in kernels.available(op)) == sorted(OPS)


@needs_triton
@pytest.mark.parametrize("op", OPS)
def test_the_choice_of_triton_runs_it_or_says_why_not(op):
    args, spec = example_on_cpu(op)
    for choice in (kernels.Kernels("triton"), kernels.Kernels(**{op: "triton"})):
        kernel = kernels.get(op, choice, **spec)
        if interpreted():
            kernel(*args)
            assert choice.ran == {op: "triton"}
        else:
            with pytest.raises(UserError, match=f"kernels.{op}=triton cannot run on cpu.*TRITON_INTERPRET=1"):
                kernel(*args)


@pytest.mark.parametrize("op", OPS)
def test_auto_prefers_the_reference_to_what_was_never_timed(op):
    order = list(find(op).candidates)
    assert order.index("reference") < order.index("triton")
    assert find(op).candidates["reference"].support().reason is None


@needs_triton
def test_support_says_what_is_missing(monkeypatch):
    support = kernels.available("so2_depthwise")["triton"]
    assert support.device == (("cpu", "cuda") if interpreted() else ("cuda",))
    assert (support.reason is None) == (interpreted() or torch.cuda.is_available())
    monkeypatch.setattr(package, "interpreted", lambda: False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert "there is no CUDA device, and Triton's interpreter" in kernels.available("so2_depthwise")["triton"].reason
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert kernels.available("so2_depthwise")["triton"].reason is None
    with pytest.raises(UserError, match="runs on cuda, not on cpu"):
        kernels.get("wigner", "triton", lmax=1)(torch.eye(3)[None])


def test_without_triton_the_reason_is_said(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert kernels.available("wigner")["triton"].reason == "triton not installed"


@needs_triton
def test_gates_are_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    backend = find("s2_activation").candidates["triton"]
    assert "gates need no grid" in backend.unusable("cuda", torch.float32, 0, {"lmax": 1, "kind": "gated"})
    pointwise = {"lmax": 1, "kind": "pointwise", "resolution": (2, 4)}
    assert backend.unusable("cuda", torch.float32, 2, pointwise) is None


def test_importing_kernels_imports_none_of_triton():
    code = """
import sys
from erlangen import kernels
kernels.ops(), [kernels.available(op) for op in kernels.ops()]
loaded = [name for name in sys.modules if name.startswith("erlangen.kernels.triton.")]
assert not loaded, loaded
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def example_on_cpu(op: str) -> tuple[tuple, dict]:
    return find(op).example(torch.float32, "cpu", 0, **dict(QUICK)[op])
