"""A compiled backend from a reference: torch.compile for the function and for each of its derivatives."""

import inspect
import os
import shutil
import sysconfig
import types
from collections.abc import Callable
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
        """Run the compiled code, outside of autograd. Uniform strides save recompilations."""
        args = [a.detach().contiguous() if isinstance(a, Tensor) else a for a in args]
        before = self.ran
        with torch.no_grad():
            out = self._compiled(*args)
        if self.ran == before:
            raise UserError("torch.compile ran a kernel eagerly; name another backend for it")
        return out

    def pullback(self, wanted: tuple[int, ...], outputs: int) -> "Compiled":
        """The vector-Jacobian product: (cotangents, arguments) -> gradients of the arguments at the places `wanted`."""
        key = (wanted, outputs)
        if key not in self._pullbacks:
            self._pullbacks[key] = Compiled(_pullback(self.function, wanted, outputs))
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
        return compiled.run(*args)

    @staticmethod
    def backward(ctx, *cotangents):
        args = list(ctx.rest)
        for i, tensor in zip(ctx.places, ctx.saved_tensors, strict=True):
            args[i] = tensor
        wanted = tuple(i for i in range(len(args)) if ctx.needs_input_grad[i + 1])
        gradients = ctx.compiled.pullback(wanted, len(cotangents))(*cotangents, *args)
        out = [None] * len(args)
        for i, gradient in zip(wanted, gradients, strict=True):
            out[i] = gradient
        return (None, *out)


def _pullback(function: Callable, wanted: tuple[int, ...], outputs: int) -> Callable:
    def pullback(*cotangents_and_args):
        cotangents, args = cotangents_and_args[:outputs], list(cotangents_and_args[outputs:])

        def of_wanted(*values):
            for place, value in zip(wanted, values, strict=True):
                args[place] = value
            return function(*args)

        _, pull = torch.func.vjp(of_wanted, *(args[place] for place in wanted))
        return pull(cotangents[0] if outputs == 1 else cotangents)

    return pullback


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
