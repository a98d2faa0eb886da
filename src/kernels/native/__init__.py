"""Backends in C, for loops on a CPU that torch's operations and its compiler leave slow.

All files of this folder are compiled together, once for each dtype, by the system's C compiler at the first call of an
operation, for the processor at hand; what comes out is kept in the user's cache. So are loops that Python writes out for one
spec. A function is written for numbers of the type `real`, and `call` runs it with tensors as pointers.
"""

import ctypes
import functools
import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...errors import UserError
from ..registry import Backend

REAL = {torch.float32: "float", torch.float64: "double"}
FLAGS = ("-O3", "-std=gnu11", "-shared", "-fPIC", "-fno-math-errno", "-fno-trapping-math")
FOLDER = Path(__file__).parent
EXTRAS = (("-march=native", "-fopenmp"), ("-mcpu=native", "-fopenmp"), ("-march=native",), ())
"""What compilers have or lack; the first that works is taken."""


def native(*functions: Callable, **restrictions: Any) -> Backend:
    """The backend `native` of an operation, for CPUs, of the functions that `Native` takes."""
    return native_backend(lambda **spec: Native(*functions, **spec), **restrictions)


def native_backend(build: Callable, **restrictions: Any) -> Backend:
    """The same, of what `build` makes of a spec."""
    return Backend(build, ("cpu",), tuple(REAL), missing=no_compiler, **restrictions)


def no_compiler() -> str | None:
    """What this machine lacks, or None."""
    return None if compiler() else "no C compiler; install gcc or clang"


def compiler() -> str | None:
    return next(filter(None, map(shutil.which, filter(None, [os.environ.get("CC"), "cc", "gcc", "clang"]))), None)


class Native:
    """An operation with its spec bound.

    Args:
        reference: what it computes; a compiler traces it in place of this.
        forward: (arguments, **spec) -> (outputs, tensors to save); only the first output may be differentiated.
        backward: (gradient, arguments, saved tensors, **spec) -> gradients by the tensors among the arguments; None will do for
            those that do not require one.
        pullback: as `backward`, by differentiable operations, for second derivatives; without it, they are the reference's.
            (The output is among the saved tensors where it is needed.)
    """

    def __init__(
        self,
        reference: Callable,
        forward: Callable,
        backward: Callable,
        pullback: Callable | None = None,
        **spec: Any,
    ):
        self.reference = functools.partial(reference, **spec)
        self.forward = functools.partial(forward, **spec)
        self.backward = functools.partial(backward, **spec)
        self.pullback = functools.partial(pullback, **spec) if pullback else self._by_reference

    def __call__(self, *args: Any) -> Any:
        differentiable = torch.is_grad_enabled()
        wanted = empty = False
        for a in args:
            if isinstance(a, Tensor):
                wanted |= differentiable and a.requires_grad
                empty |= a.numel() == 0
        if empty or torch.compiler.is_compiling():
            return self.reference(*args)
        return _Differentiable.apply(self, *args) if wanted else self.run(args)[0]

    def run(self, args: Sequence[Any]) -> tuple[Any, tuple[Tensor, ...]]:
        """Without a graph: what is called here is not asked for derivatives, or is inside of what is."""
        return self.forward(*[a.contiguous() if isinstance(a, Tensor) else a for a in args])

    def _by_reference(self, gradient: Tensor, args: Sequence[Any], _: Sequence[Tensor]) -> list[Tensor | None]:
        out = self.reference(*args)
        tensors = [a for a in args if isinstance(a, Tensor)]
        wanted = [t for t in tensors if t.requires_grad]
        by = torch.autograd.grad(
            out[0] if isinstance(out, tuple) else out, wanted, gradient, create_graph=True, allow_unused=True
        )
        found = iter(by)
        return [next(found) if t.requires_grad else None for t in tensors]


class _Differentiable(torch.autograd.Function):
    @staticmethod
    def forward(ctx, native, *args):
        outputs, saved = native.run(args)
        ctx.native, ctx.rest = native, [None if isinstance(a, Tensor) else a for a in args]
        ctx.places = [i for i, a in enumerate(args) if isinstance(a, Tensor)]
        ctx.save_for_backward(*(args[i] for i in ctx.places), *saved)
        if isinstance(outputs, tuple):
            ctx.mark_non_differentiable(*outputs[1:])
        return outputs

    @staticmethod
    def backward(ctx, gradient, *_):
        args, saved = list(ctx.rest), ctx.saved_tensors
        for place, tensor in zip(ctx.places, saved, strict=False):
            args[place] = tensor
        saved = saved[len(ctx.places) :]
        if torch.is_grad_enabled():
            found = ctx.native.pullback(gradient, args, saved)
        else:
            args = [_contiguous(a) if isinstance(a, Tensor) else a for a in args]
            found = ctx.native.backward(gradient.contiguous(), args, saved)
        gradients = [None] * len(args)
        for place, value in zip(ctx.places, found, strict=True):
            gradients[place] = value
        return None, *gradients


def _contiguous(tensor: Tensor) -> Tensor:
    """As it is asked for in memory, still telling whether it requires a gradient."""
    return tensor if tensor.is_contiguous() else tensor.contiguous().requires_grad_(tensor.requires_grad)


def call(function: str, *args: Tensor | float | int | bool | None, source: str = "") -> int:
    """Run a C function: tensors and None are pointers, ints int64_t, floats double; the number of threads comes last.

    What it gives back, an int64_t, is nothing if the function is void.
    The first tensor's dtype is that of all numbers. The function is in this folder, or in `source`, a text that may include
    this folder's headers.
    """
    dtype = next(a.dtype for a in args if isinstance(a, Tensor))
    run = _function(function, dtype, source)
    if run.argtypes is None:
        run.argtypes, run.restype = [*map(_kind, args), ctypes.c_int64], ctypes.c_int64
    return run(*[a.data_ptr() if isinstance(a, Tensor) else a for a in args], torch.get_num_threads())


@functools.cache
def _function(name: str, dtype: torch.dtype, source: str) -> Any:
    return getattr(library(dtype, source), name)


def _kind(value: Any) -> type:
    if value is None or isinstance(value, Tensor):
        return ctypes.c_void_p
    return ctypes.c_double if isinstance(value, float) else ctypes.c_int64


@functools.cache
def library(dtype: torch.dtype, source: str = "") -> ctypes.CDLL:
    """The compiled functions of this folder or of `source`, for numbers of this dtype. Raises UserError if that fails."""
    name, texts = compiler(), [path.read_text() for path in sorted(FOLDER.glob("*.h" if source else "*.[ch]"))]
    version = subprocess.run([name, "--version"], capture_output=True, text=True, check=False).stdout
    parts = [version, _processor(), REAL[dtype], *FLAGS, *map(str, EXTRAS), *texts, source]
    path = _cache() / f"native-{hashlib.sha256(''.join(parts).encode()).hexdigest()[:16]}.so"
    if not path.exists():
        _compile(name, source, REAL[dtype], path)
    return ctypes.CDLL(str(path))


def _compile(name: str, source: str, real: str, path: Path) -> None:
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        made, text = Path(folder, path.name), Path(folder, "source.c")
        text.write_text(source)
        sources = [text] if source else sorted(FOLDER.glob("*.c"))
        for extra in EXTRAS:
            options = [*FLAGS, *extra, f"-I{FOLDER}", f"-DREAL={real}", f"-DREAL_IS_{real.upper()}"]
            command = [name, *options, *map(str, sources), "-lm", "-o", str(made)]
            result = subprocess.run(command, capture_output=True, text=True, check=False)
            if result.returncode == 0:
                made.replace(path)  # at once, since other processes look for it too
                return
    reason = next((line for line in result.stderr.splitlines() if "error" in line), f"exit {result.returncode}")
    raise UserError(f"native: {name} cannot compile {sources[0].name} ({reason}); use kernels=reference")


def _processor() -> str:
    """What decides which instructions there are: nodes of a cluster may share a cache."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    return next((line for line in lines if line.startswith(("flags", "Features"))), " ".join(os.uname()))


def _cache() -> Path:
    """A folder of the user's own that outlives the process, or one that does not where there is none to write to."""
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "erlangen")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return Path(tempfile.mkdtemp(prefix="erlangen-"))
    return folder if os.access(folder, os.W_OK) else Path(tempfile.mkdtemp(prefix="erlangen-"))
