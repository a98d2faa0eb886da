"""Time against degree, drawn."""

from collections.abc import Sequence
from pathlib import Path

from ..evidence.plots import PALETTE, drawing
from .case import MODES, Case
from .measure import Row

MARKERS = "osD^vPX"


def times_against_degree(measured: Sequence[tuple[Case, Sequence[Row]]], where: Path) -> bool:
    """Microseconds an edge (or row) of each competitor against L, a panel for each title; False where no case has a degree.

    Ours are drawn solid, others dashed.
    """
    cases = [(case, rows) for case, rows in measured if case.lmax is not None]
    titles = list(dict.fromkeys(case.title for case, _ in cases))
    if not titles:
        return False
    mode = MODES[min(1, max(case.orders for case, _ in cases))]
    with drawing(where, 3.4 * len(titles) + 1.8, 3.4, 1, len(titles)) as axes:
        names = list(dict.fromkeys(row.competitor.name for _, rows in cases for row in rows))
        for axis, title in zip(axes[0], titles, strict=True):
            for place, name in enumerate(names):
                points = [
                    (case.lmax, 1e6 * row.median(mode) / case.rows, row.competitor.ours)
                    for case, rows in cases
                    for row in rows
                    if case.title == title and row.competitor.name == name and row.median(mode)
                ]
                if points:
                    degrees, times, ours = zip(*points, strict=True)
                    style = {"linestyle": "-" if ours[0] else "--", "marker": MARKERS[place % 7], "markersize": 4}
                    axis.plot(degrees, times, label=name, color=PALETTE[place % 7], **style)
            axis.set(yscale="log", xlabel="L", title=f"{cases[0][0].op} {title}".strip())
            axis.set_xticks(sorted({case.lmax for case, _ in cases}))
        axes[0][0].set_ylabel(f"{mode}, microseconds a row")
        labels = {}
        for axis in axes[0]:
            handles, texts = axis.get_legend_handles_labels()
            labels |= dict(zip(texts, handles, strict=True))
        axes[0][-1].legend(labels.values(), labels.keys(), loc="center left", bbox_to_anchor=(1, 0.5))
    return True
