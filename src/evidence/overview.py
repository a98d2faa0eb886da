"""All that was measured on one split at a glance: papers against metrics, whichever are fewer stand across."""

import math
from dataclasses import dataclass

from .collect import Group, Row, Table
from .document import Cell, Line, Section, cost_cells, cost_note, decimals, fixed, floor_note, named, number, text
from .statistics import Summary

GAP = 2
"""Characters between two columns."""
LONGEST = 6
"""Places after the point beyond which a mean is written with an exponent."""
COSTS = ("parameters", "samples/s", "wall time")


@dataclass(frozen=True)
class Grid:
    """Cells by row and column; what stands over a column, and before a row."""

    columns: list[str]
    rows: list[Cell]
    cells: list[list[Cell]]

    def width(self, column: int) -> int:
        """How wide a column of numbers is; its heading has a word to a line."""
        lines = (line.text for row in self.cells for line in row[column])
        return GAP + max(map(len, [*self.columns[column].split(), *lines]))

    def pages(self, room: int) -> list[range]:
        """As few groups of neighbouring columns as fit into the room, about equally many in each."""
        pages = self.filled(room, len(self.columns))
        return self.filled(room, math.ceil(len(self.columns) / len(pages)))

    def filled(self, room: int, most: int) -> list[range]:
        """Each with as many columns as fit, one at least and `most` at most."""
        first = GAP + max(len(line.text) for head in self.rows for line in head)
        pages, start, used = [], 0, first
        for column in range(len(self.columns)):
            width = self.width(column)
            if column > start and (used + width > room or column - start == most):
                pages.append(range(start, column))
                start, used = column, first
            used += width
        return [*pages, range(start, len(self.columns))]

    def page(self, columns: range) -> list[list[Cell]]:
        """The rows that have something in these columns, with what stands before them."""
        rows = [(head, [row[column] for column in columns]) for head, row in zip(self.rows, self.cells, strict=True)]
        return [[head, *cells] for head, cells in rows if any(line.text for cell in cells for line in cell)]


def has_overview(table: Table) -> bool:
    """Whether there are papers and metrics enough to be lost in a list of all of both."""
    return len(table.groups) > 1 and len({row.metric for row in table.rows}) > 1


def overview_sections(table: Table, room: int) -> list[Section]:
    """Mean and deviation over seeds of every metric, what was published beneath it, and the cost.

    Args:
        table: what was measured.
        room: characters across; columns that do not fit make another section.
    """
    metrics = list(dict.fromkeys((row.metric, row.unit) for row in table.rows))
    found = {(row.group, row.metric): row for row in table.rows}
    across = len(table.groups) <= len(metrics)
    grid = by_paper(table.groups, metrics, found) if across else by_metric(table.groups, metrics, found)
    pages = grid.pages(room)
    sections = [
        Section(
            f"{table.title} · {count} of {len(pages)}" if len(pages) > 1 else table.title,
            ["metric" if across else "paper", *(grid.columns[column] for column in page)],
            grid.page(page),
            numeric=frozenset(range(1, len(page) + 1)),
        )
        for count, page in enumerate(pages, 1)
    ]
    sections[-1].notes += notes(table)
    return sections


def by_paper(groups: list[Group], metrics: list[tuple[str, str]], found: dict[tuple[Group, str], Row]) -> Grid:
    """A column for every group of runs."""
    grid = by_metric(groups, metrics, found)
    cells = [list(column) for column in zip(*grid.cells, strict=True)]
    return Grid([group.label for group in groups], [text(name) for name in grid.columns], cells)


def by_metric(groups: list[Group], metrics: list[tuple[str, str]], found: dict[tuple[Group, str], Row]) -> Grid:
    """A row for every group of runs."""
    heads = [[Line(group.paper), *(Line(setting, "quiet") for setting in group.settings)] for group in groups]
    cells = [
        [text(str(len(group.runs))), *(value_cell(found.get((group, name))) for name, _ in metrics), *cost_cells(group)]
        for group in groups
    ]
    return Grid(["seeds", *(named(*metric) for metric in metrics), *COSTS], heads, cells)


def value_cell(row: Row | None) -> Cell:
    """The mean, its deviation over seeds, its ratio to the floor and what was published, in brackets if not comparable."""
    if row is None:
        return []
    cell = text(mean_and_deviation(row.measured))
    if row.to_floor is not None:
        cell.append(Line(f"÷ floor {row.to_floor:.2f}", "quiet"))
    if row.standing is not None:
        value = f"{row.standing.published.value:g}"
        cell.append(Line(f"published {value}" if row.standing.comparable else f"({value})", "quiet"))
    return cell


def mean_and_deviation(summary: Summary) -> str:
    """To two digits of the deviation; the mean alone of one run."""
    mean, std = summary.mean, summary.std
    if std is None:
        return number(mean)
    places = decimals(std)
    return f"{mean:.1e} ± {std:.1e}" if places > LONGEST else f"{fixed(mean, places)} ± {fixed(std, places)}"


def notes(table: Table) -> list[str]:
    """What the cells do not say themselves."""
    found = [cost_note(table)]
    if any(row.standing and not row.standing.comparable for row in table.rows):
        found.insert(
            0,
            "(in brackets): published, for orientation only; it is not comparable with what was measured, as told below",
        )
    if any(row.to_floor is not None for row in table.rows):
        found.insert(0, floor_note(table))
    return found
