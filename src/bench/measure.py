"""One case measured: numerics first, then time, memory and the share of what the machine could do."""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch._dynamo.utils import counters

from ..kernels import Cost, traffic
from .case import MODES, Case, Competitor, is_number
from .machine import Machine
from .timing import Times, peak_bytes, repeated

Recorder = Callable[[Callable[[], Any]], Callable[[], Any]]


@dataclass
class Measured:
    """A competitor in one mode. `error` is None where there is nothing to compare with.

    first_call   seconds of the call in which tables are made and code is compiled; `cached` if the compiled code was
                 found on disk instead.
    graph        the replay of the call as a CUDA graph; `no_graph` says in a line why there is none on a GPU.
    """

    first_call: float
    cached: bool
    error: float | None = None
    tolerance: float | None = None
    times: Times | None = None
    peak: int = 0
    share: float | None = None  # floor / median
    graph: Times | None = None
    no_graph: str = ""

    @property
    def passed(self) -> bool:
        """Whether the numerics gate holds; a comparison with NaN fails."""
        return self.error is None or self.error <= self.tolerance

    def to_dict(self) -> dict[str, Any]:
        times = {name: found.to_dict() for name in ("times", "graph") if (found := getattr(self, name)) is not None}
        return {**asdict(self), **times, "passed": self.passed}


@dataclass
class Row:
    """All that was measured of one competitor; `failure` says in a line why it could not run."""

    competitor: Competitor
    modes: dict[str, Measured] = field(default_factory=dict)
    failure: str = ""

    def median(self, mode: str) -> float | None:
        measured = self.modes.get(mode)
        return measured.times.median if measured and measured.times else None


def measure(case: Case, machine: Machine, repetitions: int, record: Recorder | None = None) -> list[Row]:
    """Rows of all competitors: each is built and checked in every mode, then all are timed together, mode by mode.

    Args:
        record: what records a call as a graph; what it gives is timed too.
    """
    torch._dynamo.reset()  # its limit of recompilations counts over a process
    expected = _expected(case)
    rows, calls = [], {}
    for competitor in case.competitors:
        row = Row(competitor)
        rows.append(row)
        try:
            calls[competitor.name] = _checked(case, row, expected)
        except (RuntimeError, NotImplementedError, torch._dynamo.exc.TorchDynamoException) as error:
            row.failure = f"{type(error).__name__}: {first_line(error)}"
    floors = _floors(case, machine)
    for mode in MODES[: case.orders + 1]:
        ready = {name: modes[mode] for name, modes in calls.items() if mode in modes}
        times = repeated(ready, repetitions)
        for row in rows:
            if row.competitor.name in times:
                measured = row.modes[mode]
                measured.times = times[row.competitor.name]
                measured.peak = peak_bytes(ready[row.competitor.name])
                if mode in floors:
                    measured.share = floors[mode] / measured.times.median
        if record is not None:
            measured = {row.competitor.name: row.modes[mode] for row in rows if row.competitor.name in ready}
            _time_graphs(record, ready, measured, repetitions)
    return rows


def _time_graphs(
    record: Recorder, calls: dict[str, Callable[[], Any]], measured: dict[str, Measured], repetitions: int
) -> None:
    """Times the calls once more, as graphs; one that cannot be recorded says why."""
    replays = {}
    for name, call in calls.items():
        try:
            replays[name] = record(call)
        except RuntimeError as error:
            measured[name].no_graph = first_line(error)
    for name, times in repeated(replays, repetitions).items():
        measured[name].graph = times


def _expected(case: Case) -> dict[str, list]:
    """What the reference gives in double precision, in every mode."""
    competitor = Competitor("reference", lambda: case.reference)
    return {mode: _comparable(case, competitor, case.reference, mode, case.exact) for mode in case.modes(competitor)}


def _checked(case: Case, row: Row, expected: dict[str, list]) -> dict[str, Callable[[], Any]]:
    """Builds a competitor, compares it in every mode with what is expected, and gives the calls to be timed."""
    competitor, calls = row.competitor, {}
    start = time.perf_counter()
    function = competitor.build()
    native = _native(case, competitor)
    for mode in case.modes(competitor):
        call = _call(function, native, mode)
        hits = counters["inductor"]["fxgraph_cache_hit"]
        call()
        row.modes[mode] = Measured(time.perf_counter() - start, counters["inductor"]["fxgraph_cache_hit"] > hits)
        if competitor.restore is not None and MODES.index(mode) <= competitor.gated:
            found = _comparable(case, competitor, function, mode, case.args)
            row.modes[mode].error = max(_error(case, *pair) for pair in zip(found, expected[mode], strict=True))
            row.modes[mode].tolerance = tolerance(case, mode)
        calls[mode] = call
        start = time.perf_counter()
    return calls


def first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [""])[0]


def tolerance(case: Case, mode: str) -> float:
    return (case.tolerance.forward, case.tolerance.gradient, case.tolerance.double)[MODES.index(mode)]


def _native(case: Case, competitor: Competitor) -> tuple:
    """The competitor's own arguments; leaves are those that depend on the case's leaves."""
    args = tuple(a.clone().requires_grad_() if i in case.leaves else a for i, a in enumerate(case.args))
    prepared = competitor.prepare(*args)
    return tuple(
        a.detach().contiguous().requires_grad_(a.requires_grad) if isinstance(a, Tensor) else a for a in prepared
    )


def _call(function: Callable, native: tuple, mode: str) -> Callable[[], Any]:
    """What is timed. Derivatives are those of a linear function of the result, and then of one of the gradients."""
    if mode == MODES[0]:

        @torch.no_grad()
        def forward():
            return function(*native)

        return forward
    leaves = [a for a in native if isinstance(a, Tensor) and a.requires_grad]
    cotangent = _random_like(_smooth(function(*native)))

    def backward():
        return torch.autograd.grad(_smooth(function(*native)), leaves, cotangent, allow_unused=True)

    if mode == MODES[1]:
        return backward
    directions = _random_like(leaves, seed=1)
    return lambda: _double(_smooth(function(*native)), leaves, cotangent, directions)


def _double(out: list[Tensor], leaves: list[Tensor], cotangent: list[Tensor], directions: list[Tensor]) -> list:
    """Gradients, by leaves and cotangent, of the gradients' inner products with fixed directions.

    The cotangent counts as a variable, for in a model it depends on everything.
    """
    cotangent = [c.detach().requires_grad_() for c in cotangent]
    gradients = torch.autograd.grad(out, leaves, cotangent, create_graph=True, allow_unused=True)
    pairs = [(g, d) for g, d in zip(gradients, directions, strict=True) if g is not None and g.requires_grad]
    outputs, weights = zip(*pairs, strict=True)
    return list(torch.autograd.grad(outputs, [*leaves, *cotangent], weights, allow_unused=True))


def _comparable(case: Case, competitor: Competitor, function: Callable, mode: str, args: tuple) -> list:
    """The result, gradients or second gradients in the case's own layout, from arguments in any precision."""
    if mode == MODES[0]:
        with torch.no_grad():
            return [competitor.restore(function(*competitor.prepare(*args)))]
    args = tuple(a.clone().requires_grad_() if i in case.leaves else a for i, a in enumerate(args))
    leaves = [args[i] for i in case.leaves]
    out = _smooth(competitor.restore(function(*competitor.prepare(*args))))
    cotangent = _random_like(out)
    if mode == MODES[1]:
        found = torch.autograd.grad(out, leaves, cotangent, allow_unused=True)
        like = leaves
    else:
        found = _double(out, leaves, cotangent, _random_like(leaves, seed=1))
        like = [*leaves, *cotangent]
    return [torch.zeros_like(t) if f is None else f for f, t in zip(found, like, strict=True)]


def _smooth(out: Any) -> list[Tensor]:
    """The parts of a result that have derivatives."""
    return [t for t in (out if isinstance(out, tuple) else (out,)) if is_number(t) and t.requires_grad]


def _random_like(tensors: list[Tensor], seed: int = 0) -> list[Tensor]:
    """The same random numbers in any precision."""
    g = torch.Generator().manual_seed(seed)
    wide = [torch.complex128 if t.is_complex() else torch.float64 for t in tensors]
    return [
        torch.randn(t.shape, generator=g, dtype=dtype).to(t.device, t.dtype)
        for t, dtype in zip(tensors, wide, strict=True)
    ]


def _error(case: Case, found: Any, true: Any) -> float:
    """max |error| / max |true|, unless the case has its own measure. Gradients that should vanish count absolutely.

    Of several results, the largest.
    """
    if case.compare is not None:
        return case.compare(found, true)
    if isinstance(true, tuple):
        return max(_error(case, f, t) for f, t in zip(found, true, strict=True) if is_number(t))
    scale = true.abs().max().item() if true.numel() else 0.0
    return ((found.to(true.dtype) - true).abs().max().item() if true.numel() else 0.0) / (scale or 1.0)


def _floors(case: Case, machine: Machine) -> dict[str, float]:
    """Seconds that the least arithmetic and traffic take: forward; with backward, three times the arithmetic, inputs
    read twice, gradients and result written, and the result's cotangent read."""
    if case.cost is None:
        return {}
    out = case.reference(*case.args)
    cost = case.cost(out)
    both = Cost(3 * cost.flop, 3 * cost.bytes - traffic(out))
    return {MODES[0]: machine.floor(cost), MODES[1]: machine.floor(both)}
