"""What `erlangen bench` prints: a table for each case, the goals, and the error of activations on grids."""

from collections.abc import Iterable, Sequence

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ..kernels.s2_activation import error_curve
from .case import MODES, Case, Competitor
from .goals import GOALS, Goal
from .machine import Machine
from .measure import Row
from .timing import Times

console = Console(highlight=False)
console.width = max(console.width, 180)  # a table that wraps its numbers shows nothing

SHORT = dict(zip(MODES, ("forward", "+ backward", "double"), strict=True))


def case_title(case: Case, machine: Machine, threads: int) -> str:
    return escape(f"{case.name}; {threads} thread{'s' * (threads > 1)}, {machine}")


def case_table(case: Case, rows: Sequence[Row]) -> Table:
    """Times in milliseconds with their interquartile range; errors against the reference in double precision.

    Times "as a graph" are of the mode that the ratios are of, recorded as a CUDA graph.
    """
    modes = MODES[: case.orders + 1]
    last = modes[min(1, case.orders)]
    table = _table()
    graphs = any(m.graph or m.no_graph for row in rows for m in row.modes.values())
    headings = [*(f"{SHORT[mode]} ms" for mode in modes), *["as a graph"] * graphs]
    headings += ["÷ auto", "error", "peak MB", "first call s", "% of floor"]
    for heading in ("", *headings, *(("paths", "weights", "us a path") if case.paths else ())):
        table.add_column(heading, justify="right" if heading else "left", no_wrap=True)
    table.add_column("", max_width=48)  # remarks, and why something failed
    ours = next(row for row in rows if row.competitor.name == case.auto).median(last)
    for row in rows:
        name = f"[bold]{row.competitor.name}[/]" if row.competitor.name == case.auto else row.competitor.name
        if row.failure:
            table.add_row(name, *[""] * (len(table.columns) - 2), f"[red]failed[/]: {escape(row.failure)}")
            continue
        found = [row.modes.get(mode) for mode in modes]
        cells = [_milliseconds(measured and measured.times) for measured in found]
        if graphs:
            cells.append(_milliseconds(found[modes.index(last)] and found[modes.index(last)].graph))
        seconds = row.median(last)
        cells.append(f"{seconds / ours:.2f}" if seconds and ours else "")
        cells.append(_errors(row))
        peak = row.modes[modes[0] if seconds is None else last].peak
        cells.append(f"{peak / 1e6:,.1f}" if peak else "-")
        cells.append(_first_call(row))
        cells.append(" ".join(f"{100 * m.share:.0f}" for m in row.modes.values() if m.share is not None))
        if case.paths:
            cells += _per_path(case, row.competitor, seconds)
        table.add_row(name, *cells, _remark(case, row))
    return table


def _table() -> Table:
    """Without a title, which would be broken to the table's width."""
    return Table(header_style="bold", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))


def _milliseconds(times: Times | None) -> str:
    if times is None:
        return "-"
    digits = 3 if times.median < 1e-3 else 2 if times.median < 0.1 else 0
    return f"{1e3 * times.median:.{digits}f} ±{1e3 * times.iqr:.{digits}f}"


def _errors(row: Row) -> str:
    """Of each mode, green within its tolerance; a dash where there is nothing to compare."""
    shown = (
        "-" if m.error is None else f"[{'green' if m.passed else 'bold red'}]{m.error:.0e}[/]"
        for m in row.modes.values()
    )
    return " ".join(shown)


def _first_call(row: Row) -> str:
    total = sum(m.first_call for m in row.modes.values())
    if total < 0.5:
        return "-"
    return f"{total:.1f}{' cached' * any(m.cached for m in row.modes.values())}"


def _per_path(case: Case, competitor: Competitor, seconds: float | None) -> list[str]:
    paths = competitor.paths or case.paths
    weights = case.weights if competitor.weights is None else competitor.weights
    return [str(paths), f"{weights:,}", f"{1e6 * seconds / paths:.1f}" if seconds else "-"]


def _remark(case: Case, row: Row) -> str:
    few = min((m.times.repetitions for m in row.modes.values() if m.times), default=20)
    parts = [row.competitor.remark, "auto" * (row.competitor.name == case.auto)]
    parts.append("[yellow]noisy[/]" * any(m.times.noisy for m in row.modes.values() if m.times))
    parts.append(f"n = {few}" * (few < 20))
    parts += {f"no graph: {escape(m.no_graph)}" for m in row.modes.values() if m.no_graph}
    return ", ".join(part for part in parts if part)


def goals_table(measured: Iterable[tuple[Case, Sequence[Row]]]) -> Table | None:
    """Every goal that the measured cases have, or None."""
    table = _table()
    for column in ("case", "against", "mode", "goal", "measured", ""):
        table.add_column(column, justify="right" if column in ("goal", "measured") else "left")
    for case, rows in measured:
        gate = all(m.passed for row in rows if row.competitor.name == case.auto for m in row.modes.values())
        for goal in (goal for goal in GOALS if goal.concerns(case)):
            sign = "<=" if goal.at_most else ">="
            ratio = goal.measured(case, rows)
            found, verdict = ("-", "not measured") if ratio is None else (f"{ratio:.2f}", _verdict(goal, ratio, gate))
            table.add_row(escape(case.name), goal.baseline, goal.mode, f"{sign} {goal.target:g}", found, verdict)
    return table if table.row_count else None


def _verdict(goal: Goal, ratio: float, gate: bool) -> str:
    """A goal is met only by right numbers."""
    if not gate:
        return "[bold red]wrong numbers[/]"
    return "[green]met[/]" if goal.met(ratio) else "[yellow]missed[/]"


def resolution_table(degrees: Iterable[int], function: str = "silu") -> Table:
    """The equivariance error of a pointwise activation against the resolution of its grid."""
    table = _table()
    for column in ("L", "grid", "error", "declared bound", ""):
        table.add_column(column, justify="right" if column else "left")
    for lmax in degrees:
        grids = [(n * lmax + 1, 2 * n * lmax + 1) for n in (1, 2, 3, 4, 6)]
        for grid, (error, bound) in error_curve(lmax, grids, function).items():
            verdict = "[green]below[/]" if error <= bound else "[bold red]above[/]"
            table.add_row(str(lmax), f"{grid[0]} x {grid[1]}", f"{error:.1e}", f"{bound:.1e}", verdict)
    return table
