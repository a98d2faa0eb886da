"""What an operation is: a readable reference, its faster backends, its cost and its tolerance, in one file of this folder.

A module of this folder that holds `OP = Op(...)` is an operation, and the module's name is the operation's name. Adding
an operation is adding a file; adding a backend is adding an entry to that file's `Op`. Neither changes this module.
"""

import functools
import importlib
import importlib.util
import inspect
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..errors import UserError

FLOATS = (torch.float64, torch.float32, torch.bfloat16, torch.float16)
COMPLEX = (torch.complex128, torch.complex64)


class Cost(NamedTuple):
    """The least that a call must do: arithmetic, and bytes moved if inputs are read once and outputs written once."""

    flop: int
    bytes: int


def traffic(*values: Any) -> int:
    """Bytes of all tensors in `values`, tuples of tensors included."""
    flat = [tensor for value in values for tensor in (value if isinstance(value, tuple) else (value,))]
    return sum(tensor.numel() * tensor.element_size() for tensor in flat if isinstance(tensor, Tensor))


@dataclass(frozen=True)
class Tolerance:
    """Largest error against the float64 reference, as max |error| / max |reference|."""

    forward: float = 2e-6
    gradient: float = 1e-5
    double: float = 1e-4
    low: float = 2e-2  # forward in bfloat16 and float16


class Support(NamedTuple):
    """Where a backend runs, up to which derivative, and why not on this machine (`reason` is None where it does).

    `device` is None for any device.
    """

    device: tuple[str, ...] | None
    dtypes: tuple[torch.dtype, ...]
    orders: int
    reason: str | None


@dataclass(frozen=True)
class Backend:
    """One implementation of an operation.

    build      build(**spec) gives a callable that takes the reference's other arguments, in its order. It runs once for
               each spec, device and dtype, at the first call: there tables are made and compilation starts.
    device     types of device it runs on; None means any.
    dtypes     of the floating (or complex) arguments.
    orders     the highest derivative that can be taken.
    requires   modules that must be installed.
    missing    missing() says what else this machine lacks, or None.
    refuses    refuses(**spec) says why it cannot serve a spec, or None.
    careful    it looks at the numbers itself, and needs no `check_values` of its operation before.
    pays       pays(**spec) says whether it is worth its place; where it is not, `auto` tries the others first.
    """

    build: Callable[..., Callable]
    device: tuple[str, ...] | None = ("cpu", "cuda")
    dtypes: tuple[torch.dtype, ...] = FLOATS
    orders: int = 2
    requires: tuple[str, ...] = ()
    missing: Callable[[], str | None] | None = None
    refuses: Callable[..., str | None] | None = None
    careful: bool = False
    pays: Callable[..., bool] | None = None

    def support(self) -> Support:
        """Where the backend runs, and what this machine lacks for it."""
        absent = [module for module in self.requires if importlib.util.find_spec(module) is None]
        reason = f"{' and '.join(absent)} not installed" if absent else None
        if reason is None and self.device == ("cuda",) and not torch.cuda.is_available():
            reason = "there is no CUDA device"
        if reason is None and self.missing is not None:
            reason = self.missing()
        return Support(self.device, self.dtypes, self.orders, reason)

    def unusable(self, device: str, dtype: torch.dtype, order: int, spec: Mapping[str, Any]) -> str | None:
        """Why the backend cannot run such a call, or None."""
        if self.device is not None and device not in self.device:
            return f"it runs on {' and '.join(self.device)}, not on {device}"
        if dtype not in self.dtypes:
            return f"it does {', '.join(map(short, self.dtypes))}, not {short(dtype)}"
        if order > self.orders:
            return f"it has derivatives up to order {self.orders}, and order {order} is asked for"
        reason = self.support().reason
        if reason is None and self.refuses is not None:
            reason = self.refuses(**spec)
        return reason


def plain(function: Callable) -> Callable[..., Callable]:
    """The `build` of a backend that is an ordinary function: bind the spec and keep the rest."""

    def build(**spec):
        return functools.partial(function, **spec) if spec else function

    return build


@dataclass(frozen=True)
class Op:
    """An operation: `reference(*arguments, **spec)` says what it computes, and all else is measured against it.

    backends        name -> Backend, the fastest first: `auto` takes the first that is usable, the reference if none is.
    check           check(*arguments, **spec) raises UserError for arguments that no backend takes; runs before each.
    check_values    the same of what only a look at all numbers shows; runs before backends that are not `careful`.
    cost            cost(output, *arguments, **spec) -> Cost.
    example         example(dtype, device, seed, **sizes) -> (arguments, spec): what tests and benchmarks run.
    tolerance       how far a backend may be from the reference in float64.
    differentiable  False where the output consists of indices.
    traceable       False where shapes depend on data: a compiled model then calls the operation outside of its graph.
    """

    reference: Callable
    cost: Callable[..., Cost]
    example: Callable[..., tuple[tuple, dict[str, Any]]]
    backends: Mapping[str, Backend] = field(default_factory=dict)
    check: Callable[..., None] | None = None
    check_values: Callable[..., None] | None = None
    tolerance: Tolerance = Tolerance()
    differentiable: bool = True
    traceable: bool = True
    dtypes: tuple[torch.dtype, ...] = FLOATS

    @functools.cached_property
    def candidates(self) -> dict[str, Backend]:
        """`backends`, then the reference, which runs on any device and has every derivative, unless it is listed."""
        reference = Backend(plain(self.reference), None, self.dtypes)
        return {**self.backends, "reference": self.backends.get("reference", reference)}

    def ranked(self, spec: Mapping[str, Any]) -> list[str]:
        """Names of the candidates in the order in which `auto` tries them for a spec."""
        return sorted(self.candidates, key=lambda name: not self._pays(name, spec))

    def _pays(self, name: str, spec: Mapping[str, Any]) -> bool:
        pays = self.candidates[name].pays
        return pays is None or pays(**spec)

    @functools.cached_property
    def arguments(self) -> dict[str, inspect.Parameter]:
        """The reference's arguments, spec included, in order."""
        return dict(inspect.signature(self.reference).parameters)


@functools.cache
def find(name: str) -> Op:
    """The operation `name`; UserError with the names that come close if there is none."""
    op = _load(name) if name in _modules() else None
    if op is None:
        close = get_close_matches(name, ops())
        hint = f"did you mean {' or '.join(close)}" if close else f"there are {', '.join(ops())}"
        raise UserError(f"kernels: there is no operation {name!r}; {hint}")
    return op


@functools.cache
def ops() -> tuple[str, ...]:
    """Names of all operations."""
    return tuple(name for name in _modules() if _load(name) is not None)


def _modules() -> list[str]:
    return sorted(module.name for module in pkgutil.iter_modules(importlib.import_module(__package__).__path__))


def _load(name: str) -> Op | None:
    return getattr(importlib.import_module(f"{__package__}.{name}"), "OP", None)


def short(dtype: torch.dtype) -> str:
    """`float32` for torch.float32."""
    return str(dtype).removeprefix("torch.")
