"""What is compared: one computation at one size, and everyone who can do it."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any

import torch
from torch import Tensor

from .. import kernels
from ..kernels import Cost, Tolerance
from ..kernels.compiled import no_compiler
from ..kernels.registry import find

MODES = ("forward", "forward + backward", "double backward")


@dataclass(frozen=True)
class Competitor:
    """One way to compute a case.

    build     makes the callable, from native arguments to a native result; not timed.
    prepare   takes the case's arguments to native ones (another layout), differentiably; not timed.
    restore   takes the native result to the case's layout; None where it is not the same function, which no gate can
              then check: `remark` says what is different.
    orders    the highest derivative that can be taken.
    gated     the highest derivative that is compared with the reference.
    paths     couplings (l1, l2, l3) that it reaches, and `weights` its independent weights, where not the case's own.
    """

    name: str
    build: Callable[[], Callable]
    prepare: Callable[..., tuple] = lambda *args: args
    restore: Callable[[Any], Any] | None = lambda out: out
    orders: int = 2
    gated: int = 2
    paths: int | None = None
    weights: int | None = None
    remark: str = ""
    ours: bool = False


@dataclass(frozen=True)
class Case:
    """A computation at one size.

    reference     reference(*args) in any dtype: called in double precision it is what all are compared with.
    wrt           which arguments derivatives are taken by; all of real or complex numbers by default.
    orders        derivatives to measure: 2 with double backward, 0 forward alone.
    compare       compare(found, true) -> error, where that is not max |found - true| / max |true|.
    auto          the competitor that `kernels=auto` takes.
    rows          edges or rows, by which times of cases of different size are divided to be drawn in one plot.
    """

    op: str
    size: str
    args: tuple
    reference: Callable | None
    competitors: list[Competitor]
    auto: str
    lmax: int | None = None
    wrt: tuple[int, ...] | None = None
    orders: int = 2
    tolerance: Tolerance = Tolerance()
    cost: Callable[[Any], Cost] | None = None
    compare: Callable[[Any, Any], float] | None = None
    paths: int | None = None
    weights: int | None = None
    title: str = ""
    rows: int = 1

    @property
    def name(self) -> str:
        return f"{self.op}{f' {self.title}' if self.title else ''}, {self.size}"

    @cached_property
    def leaves(self) -> tuple[int, ...]:
        """The places of the arguments that derivatives are taken by."""
        numbers = tuple(i for i, a in enumerate(self.args) if is_number(a))
        return numbers if self.wrt is None else self.wrt

    @property
    def exact(self) -> tuple:
        """The arguments in double precision."""
        wide = {torch.complex64: torch.complex128}
        return tuple(a.to(wide.get(a.dtype, torch.float64)) if is_number(a) else a for a in self.args)

    def without_data(self) -> "Case":
        """For tables and plots, once it has been measured."""
        return replace(self, args=(), reference=None, competitors=[], cost=None, compare=None)

    def modes(self, competitor: Competitor) -> tuple[str, ...]:
        return MODES[: min(self.orders, competitor.orders) + 1]


def is_number(value: Any) -> bool:
    return isinstance(value, Tensor) and (value.is_floating_point() or value.is_complex())


@dataclass(frozen=True)
class Scale:
    """How large the cases are: `quick` ones for tests and a first look, else for a CPU or a GPU."""

    device: str
    quick: bool = False

    def pick(self, quick: Any, cpu: Any, cuda: Any) -> Any:
        return quick if self.quick else cuda if self.device == "cuda" else cpu


def op_case(op: str, scale: Scale, sizes: dict[str, Any], rivals: list[Competitor] | None = None, **more: Any) -> Case:
    """A case of an operation's example at these sizes: all of its backends that can run, and `rivals`."""
    dtype = find(op).dtypes[1]
    args, spec = more.pop("given", None) or find(op).example(dtype, scale.device, 0, **sizes)
    orders = more.setdefault("orders", 2 if find(op).differentiable else 0)
    backends = usable(op, scale.device, dtype, orders, spec)
    ours = [Competitor(name, partial(kernels.get, op, name, order=orders, **spec), ours=True) for name in backends]
    auto = backends[0]
    ours.sort(key=lambda competitor: competitor.name != "reference")
    defaults = {
        "size": ", ".join(f"{name} {value}" for name, value in sizes.items()),
        "tolerance": find(op).tolerance,
        "cost": lambda out: find(op).cost(out, *args, **spec),
    }
    return Case(
        op=op,
        args=args,
        reference=partial(find(op).reference, **spec),
        competitors=[*ours, *(rivals or [])],
        auto=auto,
        **(defaults | more),
    )


def usable(op: str, device: str, dtype: torch.dtype, orders: int, spec: dict[str, Any]) -> list[str]:
    """Backends that can serve such a call on this machine, the one that `auto` takes first."""
    candidates = find(op).candidates
    return [name for name in find(op).ranked(spec) if candidates[name].unusable(device, dtype, orders, spec) is None]


def torch_compiled(competitor: Competitor) -> list[Competitor]:
    """The competitor through torch.compile, which has no second derivatives; none where nothing can be compiled.

    `fullgraph` makes it an error, which the row then shows, if any of it stays eager.
    """
    if no_compiler() is not None:
        return []

    def build():
        return torch.compile(competitor.build(), fullgraph=True, dynamic=False)

    return [replace(competitor, name=f"{competitor.name}, compiled", build=build, orders=min(1, competitor.orders))]
