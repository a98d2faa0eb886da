"""Loops in C: what they give does not depend on threads, and what a machine lacks is said in one line."""

import stat
from pathlib import Path

import pytest
import torch
from machine import needs_c

from erlangen import kernels
from erlangen.errors import UserError
from erlangen.kernels import native
from erlangen.kernels.registry import find

OPS = [op for op in kernels.ops() if "native" in find(op).candidates]

pytestmark = needs_c


@pytest.fixture(autouse=True)
def _fresh(tmp_path, monkeypatch):
    """A cache of the test's own, and nothing loaded before or after."""
    native.library.cache_clear()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    yield
    native.library.cache_clear()


def kept(folder: Path) -> list[Path]:
    return sorted((folder / "cache" / "erlangen").iterdir())


def results(op: str, threads: int) -> list[torch.Tensor]:
    """The first output and the gradients of an example of many rows, in single precision."""
    sizes = {"pixels": 3000} if op.startswith("hyperbolic") else {}
    args, spec = find(op).example(torch.float32, "cpu", 0, **sizes)
    args = [a.requires_grad_() if isinstance(a, torch.Tensor) and a.is_floating_point() else a for a in args]
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        out = kernels.get(op, "native", **spec)(*args)
        out = out[0] if isinstance(out, tuple) else out
        out.square().sum().backward()
    finally:
        torch.set_num_threads(before)
    return [out.detach(), *(a.grad for a in args if isinstance(a, torch.Tensor) and a.requires_grad)]


@pytest.mark.parametrize("op", OPS)
def test_threads_change_no_bit(op):
    for one, three in zip(results(op, 1), results(op, 3), strict=True):
        assert torch.equal(one, three)


@pytest.mark.parametrize("op", OPS)
def test_what_is_not_a_number_stays_so(op):
    """A diverging run must show as one, whatever the compiler thinks of NaN."""
    args, spec = find(op).example(torch.float32, "cpu", 0)
    args = [a.clone() if isinstance(a, torch.Tensor) else a for a in args]
    args[0][0] = torch.nan
    out = kernels.get(op, "native", **spec)(*args)
    assert (out[0] if isinstance(out, tuple) else out).isnan().any()


def test_one_compilation_serves_all_processes(tmp_path):
    native.library(torch.float32)
    (made,) = kept(tmp_path)
    first = made.stat().st_mtime_ns
    native.library.cache_clear()
    native.library(torch.float32)
    assert [path.stat().st_mtime_ns for path in kept(tmp_path)] == [first]
    native.library(torch.float64)
    assert len(kept(tmp_path)) == 2


def test_without_a_compiler_auto_takes_another_backend(monkeypatch):
    monkeypatch.setattr(native.shutil, "which", lambda name: None)
    args, spec = find("hyperbolic_sum").example(torch.float32, "cpu", 0)
    auto = kernels.get("hyperbolic_sum", **spec)
    auto(*args)
    assert auto.choice.ran == {"hyperbolic_sum": "reference"}
    with pytest.raises(UserError, match="no C compiler; install gcc or clang"):
        kernels.get("hyperbolic_sum", "native", **spec)(*args)


def test_a_compiler_that_fails_is_named(tmp_path, monkeypatch):
    broken = tmp_path / "cc"
    broken.write_text("#!/bin/sh\necho 'file.c:1: error: no such instruction' >&2\nexit 1\n")
    broken.chmod(broken.stat().st_mode | stat.S_IEXEC)
    monkeypatch.setenv("CC", str(broken))
    with pytest.raises(UserError, match=r"cc cannot compile .*no such instruction.*use kernels=reference"):
        native.library(torch.float32)


def test_a_cache_that_cannot_be_written_is_done_without(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert native.library(torch.float32)


@pytest.mark.parametrize(
    ("op", "sizes"),
    [
        ("gather_scale_scatter", {"nodes": 2000, "degree": 20, "channels": 64}),
        ("so2_depthwise", {"nodes": 100, "degree": 20, "channels": 64, "lmax": 2, "mmax": 2}),
    ],
)
def test_gradients_that_no_cache_holds_are_those_of_the_reference(op, sizes):
    args, spec = find(op).example(torch.float32, "cpu", 0, **sizes)
    args = [a.requires_grad_() if isinstance(a, torch.Tensor) and a.is_floating_point() else a for a in args]
    given = [a for a in args if isinstance(a, torch.Tensor) and a.requires_grad]
    assert max(a.numel() for a in given) * 4 > 2**23
    ours, true = (
        torch.autograd.grad(kernels.get(op, backend, **spec)(*args).square().sum(), given)
        for backend in ("native", "reference")
    )
    for mine, its in zip(ours, true, strict=True):
        torch.testing.assert_close(mine, its, atol=1e-5 * its.abs().max().item(), rtol=0)
