"""What a report says, before it is known whether a terminal, Markdown or HTML shows it."""

import math
import os
from dataclasses import dataclass, field
from typing import Literal

from .collect import FLOORS, Group, Row, Run, Standing, Table, floor_of
from .compare import Comparison
from .statistics import Summary

Tone = Literal["plain", "quiet", "warning"]


@dataclass(frozen=True)
class Line:
    """One line of a cell; quiet ones explain or must not be mistaken for a result."""

    text: str
    tone: Tone = "plain"


Cell = list[Line]


@dataclass
class Section:
    """A titled table with notes below it. A row starts a new block where `breaks` says so."""

    title: str
    columns: list[str]
    rows: list[list[Cell]]
    numeric: frozenset[int] = frozenset()
    breaks: frozenset[int] = frozenset()
    notes: list[str] = field(default_factory=list)

    def note(self, text: str) -> str:
        """The mark of a note; the same text gets the same mark."""
        if text not in self.notes:
            self.notes.append(text)
        return f"[{self.notes.index(text) + 1}]"


def table_section(table: Table, only_published: bool = False) -> Section:
    """One table of measured beside published: every metric of every group, or those of which something was published."""
    rows = tuple(row for row in table.rows if row.standing or not only_published)
    with_floor = any(row.to_floor is not None for row in rows)
    columns = ["paper", "metric", "measured", "published", *(["÷ floor"] if with_floor else [])]
    columns += ["parameters", "samples/s", "wall time"]
    numeric = frozenset(range(2, len(columns))) - {3}
    title = f"{table.title}\nmeasured beside published" if only_published else table.title
    section = Section(title, columns, [], numeric, block_starts(rows))
    for row in rows:
        ratio = [text("" if row.to_floor is None else f"{row.to_floor:.2f}")] if with_floor else []
        section.rows.append(
            [
                paper_cell(row.group, section),
                text(named(row.metric, row.unit)),
                measured_cell(row.measured),
                published_cell(row.standing, section),
                *ratio,
                *cost_cells(row.group),
            ]
        )
    if with_floor:
        section.notes.append(floor_note(table))
    if any(row.standing and not row.standing.comparable for row in rows):
        section.notes.append(
            "(in brackets): published, for orientation only; it is not comparable with what was measured"
        )
    section.notes.append(cost_note(table))
    return section


def floor_note(table: Table) -> str:
    """What a ratio to the floor is of."""
    floor = floor_of(table.groups).paper
    return f"÷ floor: measured over {floor} ({FLOORS[floor]}), on the same split"


def cost_note(table: Table) -> str:
    """What throughput and time are of, and on which devices."""
    devices = sorted({run.result["device"] for group in table.groups for run in group.runs})
    return f"samples/s in training, wall time of a run: on {'; '.join(devices)}"


def block_starts(rows: tuple[Row, ...]) -> frozenset[int]:
    """Where another metric begins."""
    return frozenset(i for i in range(1, len(rows)) if rows[i].metric != rows[i - 1].metric)


def text(content: str) -> Cell:
    return [Line(content)]


def named(metric: str, unit: str) -> str:
    return f"{metric} [{unit}]" if unit else metric


def paper_cell(group: Group, section: Section) -> Cell:
    mixed = group.disagreements()
    mark = " " + section.note(f"its seeds ran with different {' and '.join(mixed)}") if mixed else ""
    return [Line(group.paper + mark), *(Line(setting, "quiet") for setting in group.settings)]


def measured_cell(summary: Summary) -> Cell:
    if summary.std is None:
        return [Line(number(summary.mean)), Line("n = 1", "quiet")]
    places = decimals(summary.std)
    low, high = (fixed(value, places) for value in (summary.low, summary.high))
    return [
        Line(f"{fixed(summary.mean, places)} ± {fixed(summary.std, places)}"),
        Line(f"n = {summary.n}", "quiet"),
        Line(f"95% {low} to {high}", "quiet"),
    ]


def published_cell(found: Standing | None, section: Section) -> Cell:
    """The value, plainly only where the run followed the published recipe on the whole benchmark."""
    if found is None:
        return []
    row = found.published
    value = f"{row.value:g} {row.unit}".strip()
    reasons = "; ".join(found.reasons)
    if found.departures:
        reasons += " " + section.note(f"recipe differs: {', '.join(found.departures)}")
    about = f"{row.where} {section.note(provenance(found))}"
    trust = (
        Line(row.confidence, "quiet") if row.confidence == "verified" else Line("recollected, unverified", "warning")
    )
    if found.comparable:
        return [Line(value), Line(about, "quiet"), trust]
    return [Line(f"({value})", "quiet"), Line(reasons, "warning"), Line(about, "quiet"), trust]


def provenance(found: Standing) -> str:
    row = found.published
    parts = [f"{row.paper} (arXiv:{row.arxiv})", row.variant, f"split {row.split}"]
    parts += [f"{row.origin} source: {row.where}", row.note]
    return "published: " + "; ".join(part for part in parts if part)


def cost_cells(group: Group) -> list[Cell]:
    """Parameters, throughput and time, means over the seeds; nothing where nothing was measured."""
    speed, wall = group.values("train_samples_per_second"), group.values("wall_time_seconds")
    return [
        text(f"{group.first['parameters']:,}"),
        text(f"{sum(speed) / len(speed):,.0f}" if speed else ""),
        text(duration(sum(wall) / len(wall)) if wall else ""),
    ]


def unfinished_section(runs: list[Run]) -> Section | None:
    """The runs that have no result to show, and why."""
    rows = [[text(where(run)), text(run.state), text(run.detail)] for run in runs]
    return Section("Runs that are in no table", ["run", "state", "what is known"], rows) if rows else None


def comparison_section(comparison: Comparison) -> Section:
    """Two runs on the same test samples."""
    rows = []
    for row in comparison.rows:
        d = row.difference
        places = decimals((d.high - d.low) / 4)
        verdict = comparison.verdict(row)
        rows.append(
            [
                text(named(row.metric, row.unit)),
                text(number(d.mean_a)),
                text(number(d.mean_b)),
                text(fixed(d.difference, places, sign=True)),
                text(f"{fixed(d.low, places, sign=True)} to {fixed(d.high, places, sign=True)}"),
                [Line(verdict, "plain" if d.decided else "quiet")],
            ]
        )
    n = comparison.rows[0].difference.n
    return Section(
        f"A = {where(comparison.a)}\nB = {where(comparison.b)}",
        ["metric", "A", "B", "difference", "95% interval", "verdict"],
        rows,
        numeric=frozenset({1, 2, 3, 4}),
        notes=[
            f"difference: A minus B; paired bootstrap over the same {n:,} test samples; it says nothing of other seeds",
            *comparison.remarks,
        ],
    )


def where(run: Run) -> str:
    """A run's folder, from here where that is shorter."""
    relative = os.path.relpath(run.path)
    return relative if len(relative) < len(str(run.path)) else str(run.path)


def number(value: float) -> str:
    """Four significant digits, never fewer than all before the point."""
    if not math.isfinite(value) or value == 0:
        return f"{value:g}"
    places = 3 - math.floor(math.log10(abs(value)))
    return f"{value:.3e}" if places > 8 else fixed(value, max(0, places))


def decimals(std: float) -> int:
    """Places after the point that show two digits of a deviation."""
    if not math.isfinite(std) or std <= 0:
        return 3
    return min(12, max(0, 1 - math.floor(math.log10(std))))


def fixed(value: float, places: int, sign: bool = False) -> str:
    return f"{value:{'+' if sign else ''},.{places}f}"


def duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes = seconds / 60
    return f"{minutes:.1f} min" if minutes < 90 else f"{minutes / 60:.1f} h"
