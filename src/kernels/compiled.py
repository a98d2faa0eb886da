"""A compiled backend from a reference: torch.compile for the function and for each of its derivatives."""

import inspect
import os
import shutil
import sysconfig
import types
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..errors import UserError
from .registry import Backend


def compiled(function: Callable, *, device: tuple[str, ...] = ("cpu", "cuda"), **options: Any) -> Backend:
    """The backend `compiled` of an operation whose reference can be traced whole (no data-dependent shapes).

    `function` maps tensors and static arguments to a tensor or a tuple of tensors; its derivatives come from
    torch.func.vjp and are compiled on their own, when they are first asked for, so that they recompute rather than
    save, and close under differentiation to any order (torch.compile alone refuses second derivatives).
    """

    def build(**spec):
        return Compiled(_bind(function, spec))

    return Backend(build, device=device, missing=no_compiler, **options)


def no_compiler() -> str | None:
    """What torch.compile lacks on this machine, or None. CPU code needs a C++ compiler and Python's headers."""
    if torch._dynamo.config.disable or os.environ.get("TORCH_COMPILE_DISABLE") == "1":
        return "torch.compile is switched off"
    if not any(map(shutil.which, [os.environ.get("CXX", "g++"), "clang++"])):
        return "no C++ compiler; install g++"
    if not Path(sysconfig.get_path("include"), "Python.h").exists():
        return "Python's headers are not installed"
    return None


class Compiled:
    """`function`, compiled at the first call with symbolic shapes, and differentiable to any order.

    Nothing is defined by `def` in code that is traced: an import hook that checks types would wrap it there.
    Empty arguments go to `function` itself: there is nothing to compute, and each zero size would cost a compilation.
    Raises UserError where torch.compile gives up, which by itself it does in silence.
    """

    def __init__(self, function: Callable):
        self.function = function
        self.ran = 0  # calls of compiled code
        self._pullbacks: dict[tuple, Compiled] = {}
        self._compiled = torch.compile(_copy(function), backend=self._inductor, fullgraph=True, dynamic=True)

    def __call__(self, *args: Any) -> Any:
        if torch.compiler.is_compiling() or any(isinstance(a, Tensor) and a.numel() == 0 for a in args):
            return self.function(*args)
        if torch.is_grad_enabled() and any(isinstance(a, Tensor) and a.requires_grad for a in args):
            return _Differentiable.apply(self, *args)
        return self.run(*args)

    def run(self, *args: Any) -> Any:
        """Run the compiled code, outside of autograd and autocast. Uniform strides save recompilations."""
        device = next(a.device.type for a in args if isinstance(a, Tensor))
        args = [a.detach().contiguous() if isinstance(a, Tensor) else a for a in args]
        before = self.ran
        try:
            with torch.no_grad(), torch.autocast(device, enabled=False):
                out = self._compiled(*args)
        except torch._dynamo.exc.FailOnRecompileLimitHit:
            limit = torch._dynamo.config.recompile_limit
            raise UserError(
                f"compiled: more than {limit} kinds of arguments for one kernel; name another backend"
            ) from None
        if self.ran == before:
            raise UserError("compiled: torch.compile ran a kernel without compiling it; name another backend")
        return out

    def pullback(self, wanted: tuple[int, ...], outputs: int, is_tuple: bool) -> "Compiled":
        """The vector-Jacobian product: (cotangents, arguments) -> gradients of the arguments at the places `wanted`."""
        key = (wanted, outputs, is_tuple)
        if key not in self._pullbacks:
            self._pullbacks[key] = Compiled(_pullback(self.function, *key))
        return self._pullbacks[key]

    def _inductor(self, graph: torch.fx.GraphModule, inputs: list) -> Callable:
        code = torch._dynamo.lookup_backend("inductor")(graph, inputs)

        def counted(*args):
            self.ran += 1
            return code(*args)

        return counted


class _Differentiable(torch.autograd.Function):
    """Calls compiled code forward, and its compiled pullback, itself differentiable, backward."""

    @staticmethod
    def forward(ctx, compiled, *args):
        ctx.compiled = compiled
        ctx.rest = [None if isinstance(a, Tensor) else a for a in args]
        ctx.places = [i for i, a in enumerate(args) if isinstance(a, Tensor)]
        ctx.save_for_backward(*(args[i] for i in ctx.places))
        out = compiled.run(*args)
        ctx.is_tuple = isinstance(out, tuple)
        return out

    @staticmethod
    def backward(ctx, *cotangents):
        args = _replaced(ctx.rest, ctx.places, ctx.saved_tensors)
        wanted = tuple(i for i in range(len(args)) if ctx.needs_input_grad[i + 1])
        gradients = ctx.compiled.pullback(wanted, len(cotangents), ctx.is_tuple)(*cotangents, *args)
        return (None, *_replaced([None] * len(args), wanted, gradients))


def _pullback(function: Callable, wanted: tuple[int, ...], outputs: int, is_tuple: bool) -> Callable:
    def pullback(*cotangents_and_args):
        cotangents, args = cotangents_and_args[:outputs], cotangents_and_args[outputs:]
        _, pull = torch.func.vjp(
            lambda *values: function(*_replaced(args, wanted, values)), *(args[place] for place in wanted)
        )
        return pull(cotangents if is_tuple else cotangents[0])

    return pullback


def _replaced(args: Sequence, places: Sequence[int], values: Sequence) -> list:
    args = list(args)
    for place, value in zip(places, values, strict=True):
        args[place] = value
    return args


def _bind(function: Callable, spec: dict[str, Any]) -> Callable:
    def bound(*args):
        return function(*args, **spec)

    return bound


def _copy(function: Callable) -> Callable:
    """The same function with code of its own: Dynamo counts recompilations per code object, however many share it."""
    function = inspect.unwrap(function)
    return types.FunctionType(
        function.__code__.replace(),
        function.__globals__,
        function.__name__,
        function.__defaults__,
        function.__closure__,
    )
