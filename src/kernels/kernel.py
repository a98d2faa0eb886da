"""From the name of an operation to a callable that runs the backend which the config chose."""

import functools
import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ..errors import UserError
from .choice import Kernels
from .registry import Support, find, short


def get(op: str, backend: str | Kernels = "auto", *, order: int = 2, **spec: Any) -> "Kernel":
    """A callable for the operation `op`, with its spec (lmax and the like) bound.

    `backend` is the run's choice, or one backend's name. `order` is the highest derivative that will be taken where
    inputs require gradients: 2 for forces that are trained on, 1 is enough otherwise. Nothing is resolved, compiled or
    imported before the first call, so that a model can be built on a login node or the meta device.

        attention = kernels.get("segment_attention", choice)
        out = attention(logits, values, index, size)

    Raises UserError for an unknown operation, backend or spec.
    """
    choice = backend if isinstance(backend, Kernels) else Kernels(**{op: backend})
    return Kernel(op, choice, order, spec)


def available(op: str) -> dict[str, Support]:
    """{backend: where it runs, up to which derivative, and why not on this machine}, in the order `auto` tries them."""
    return {name: backend.support() for name, backend in find(op).candidates.items()}


class Kernel:
    """An operation with its spec and the choice of its backend; `kernels.get` makes it.

    The backend is resolved at the first call for each device, dtype and order of derivative. On the meta device the
    reference stands in, and only shapes come out. Under autocast the floating arguments are promoted to the widest of
    their dtypes and the operation itself runs as it is written.
    """

    def __init__(self, op: str, choice: Kernels, order: int, spec: dict[str, Any]):
        self.op, self.choice, self.order, self.spec = op, choice, order, spec
        unknown = spec.keys() - find(op).arguments.keys()
        if unknown:
            raise UserError(f"{op}: no argument {', '.join(sorted(unknown))}; it has {', '.join(find(op).arguments)}")
        try:
            hash(tuple(spec.values()))
        except TypeError:
            raise UserError(f"{op}: its spec {spec} must be made of numbers, strings and tuples") from None
        self._check = find(op).check
        self._differentiable = find(op).differentiable
        self._parameters = [p for name, p in find(op).arguments.items() if name not in spec]
        # One table for each order: Dynamo reads a table once a graph, and a network calls one kernel in both orders.
        self._resolved: dict[int, dict[tuple[str, torch.dtype], Callable]] = {0: {}, order: {}}
        # A model that is traced resolves once, as a constant. (Here, not as decorators: Dynamo is slow to import.)
        self._resolve = torch.compiler.assume_constant_result(self._resolver())
        if not find(op).traceable:
            self._run = torch.compiler.disable(self._run)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        args = self._positional(args, kwargs)
        device, dtype = self._common(args)
        if _autocast(device):
            args = tuple(a.to(dtype) if isinstance(a, Tensor) and a.is_floating_point() else a for a in args)
            with torch.autocast(device, enabled=False):
                return self._run(args, device, dtype)
        return self._run(args, device, dtype)

    def _run(self, args: tuple, device: str, dtype: torch.dtype) -> Any:
        if self._check is not None:
            self._check(*args, **self.spec)
        order = self._order(args)
        if torch.compiler.is_compiling() or (device, dtype) not in self._resolved[order]:
            self._resolve(device, dtype, order)
        return self._resolved[order][device, dtype](*args)

    def _positional(self, args: tuple, kwargs: dict[str, Any]) -> tuple:
        """The arguments in the reference's order, trailing ones that have defaults left out."""
        if not kwargs and len(args) == len(self._parameters):
            return args
        rest = list(self._parameters[len(args) :])
        while rest and rest[-1].name not in kwargs and rest[-1].default is not inspect.Parameter.empty:
            rest.pop()
        names = [p.name for p in rest]
        missing = [p.name for p in rest if p.name not in kwargs and p.default is inspect.Parameter.empty]
        if missing or kwargs.keys() - set(names) or len(args) > len(self._parameters):
            raise TypeError(f"{self.op} takes {', '.join(p.name for p in self._parameters)}")
        return (*args, *(kwargs.get(p.name, p.default) for p in rest))

    def _common(self, args: tuple) -> tuple[str, torch.dtype]:
        """The device and the floating dtype that all tensors share; UserError if they do not."""
        devices = {a.device for a in args if isinstance(a, Tensor)}
        if len(devices) > 1:
            places = ", ".join(sorted(map(str, devices)))
            raise UserError(f"{self.op}: its arguments are on {places}; move them to one device")
        dtypes = {a.dtype: None for a in args if isinstance(a, Tensor) and (a.is_floating_point() or a.is_complex())}
        if not dtypes:
            raise UserError(f"{self.op}: none of its arguments is a tensor of real or complex numbers")
        device = devices.pop().type
        if len(dtypes) > 1 and not _autocast(device):
            raise UserError(f"{self.op}: its arguments are {' and '.join(map(short, dtypes))}; give them one dtype")
        return device, functools.reduce(torch.promote_types, dtypes)

    def _order(self, args: tuple) -> int:
        graph = self._differentiable and torch.is_grad_enabled()
        return self.order if graph and any(isinstance(a, Tensor) and a.requires_grad for a in args) else 0

    def _resolver(self) -> Callable[[str, torch.dtype, int], bool]:
        def resolve(device, dtype, order):
            if (device, dtype) not in self._resolved[order]:
                backend = "reference" if device == "meta" else self._choose(device, dtype, order)
                self._resolved[order][device, dtype] = _build(
                    self.op, backend, device, dtype, tuple(sorted(self.spec.items()))
                )
            return True

        return resolve

    def _choose(self, device: str, dtype: torch.dtype, order: int) -> str:
        op = find(self.op)
        wanted = self.choice.backend(self.op)
        reasons = {}
        for name in op.ranked(self.spec) if wanted == "auto" else (wanted,):
            reasons[name] = op.candidates[name].unusable(device, dtype, order, self.spec)
            if reasons[name] is None:
                self.choice.record(self.op, name)
                return name
        why = "; ".join(f"{name}: {reason}" for name, reason in reasons.items())
        raise UserError(f"kernels.{self.op}={wanted} cannot run on {device} in {short(dtype)}: {why}")

    def __reduce__(self) -> tuple:
        """Copies and pickles resolve anew."""
        return Kernel, (self.op, self.choice, self.order, self.spec)

    def __repr__(self) -> str:
        return f"Kernel({', '.join([self.op, *(f'{name}={value}' for name, value in self.spec.items())])})"


def _autocast(device: str) -> bool:
    return device != "meta" and torch.is_autocast_enabled(device)


@functools.cache
def _build(op: str, backend: str, device: str, dtype: torch.dtype, spec: tuple[tuple[str, Any], ...]) -> Callable:
    """Layers that share an operation, spec, device and dtype share what was built and compiled for it."""
    chosen, check = find(op).candidates[backend], find(op).check_values
    run = chosen.build(**dict(spec))
    return run if check is None or chosen.careful else _After(functools.partial(check, **dict(spec)), run)


class _After:
    """A call after a check of its arguments."""

    def __init__(self, check: Callable, run: Callable):
        self.check, self.run = check, run

    def __call__(self, *args: Any) -> Any:
        self.check(*args)
        return self.run(*args)
