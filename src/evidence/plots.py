"""Figures of what runs measured, as they could stand in a paper.

matplotlib is imported only when a figure is drawn, and drawn without pyplot: neither a backend nor anyone's settings change.
Every function takes data and where the PNG goes, a path or a file in memory. Colours are Okabe and Ito's, which stay
apart for colour-blind readers.
"""

import logging
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float

from ..runs.folder import RunFolder, write_bytes
from ..runs.metrics_csv import read_metrics

log = logging.getLogger("erlangen")

PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
INK, QUIET = "#222222", "#8A8A8A"
STYLE = {
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.labelsize": 9,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#E6E6E6",
    "grid.linewidth": 0.7,
    "xtick.color": INK,
    "ytick.color": INK,
    "text.color": INK,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "lines.linewidth": 1.6,
    "hatch.linewidth": 0.6,
}
Destination = Path | BytesIO


@contextmanager
def drawing(where: Destination, width: float, height: float, rows: int = 1, columns: int = 1) -> Iterator[np.ndarray]:
    """Axes (rows, columns) of a figure of so many inches, saved on leaving."""
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")
        yield figure.subplots(rows, columns, squeeze=False)
        file = BytesIO() if isinstance(where, Path) else where
        figure.savefig(file, dpi=160, format="png")
    if isinstance(where, Path):
        write_bytes(where, file.getvalue())


def learning_curve(
    curves: Mapping[str, pd.DataFrame], monitor: str, unit: str, better: str, where: Destination
) -> None:
    """Training loss and validation metric against the steps of the optimiser.

    Args:
        curves: label -> the table of metrics.csv, e.g. one for each seed.
        monitor, unit, better: the validation metric; its best value is marked.
    """
    names = {
        "train/loss": "training loss",
        f"val/{monitor}": with_unit(f"validation {monitor}", unit),
    }
    names = {name: label for name, label in names.items() if any(len(series(table, name)) for table in curves.values())}
    with drawing(where, 3.6 * len(names), 2.9, 1, len(names)) as axes:
        for axis, (name, label) in zip(axes[0], names.items(), strict=True):
            for color, (run, table) in zip(colors(len(curves)), curves.items(), strict=True):
                values = series(table, name)
                if name == "train/loss":
                    draw_loss(axis, values, color, run)
                elif len(values):
                    draw_score(axis, values, color, run, better)
            finish_curve(axis, label)


def series(table: pd.DataFrame, name: str) -> pd.DataFrame:
    return table[table["name"] == name].sort_values("step")


def draw_loss(axis: Any, loss: pd.DataFrame, color: str, label: str) -> None:
    """The values as they are, faint, under their running mean where there are many."""
    window = len(loss) // 25
    if window < 2:
        axis.plot(loss["step"], loss["value"], color=color, marker="o", markersize=2.5, label=label)
        return
    axis.plot(loss["step"], loss["value"], color=color, alpha=0.25, linewidth=0.8)
    axis.plot(loss["step"], loss["value"].rolling(window, center=True, min_periods=1).mean(), color=color, label=label)


def draw_score(axis: Any, score: pd.DataFrame, color: str, label: str, better: str) -> None:
    best = score.loc[score["value"].idxmin() if better == "lower" else score["value"].idxmax()]
    label = f"{label}, best {best['value']:.4g}"
    dots = {"marker": "o", "markersize": 2.5} if len(score) <= 40 else {}
    axis.plot(score["step"], score["value"], color=color, label=label, **dots)
    axis.plot(best["step"], best["value"], "*", color=color, markersize=11, markeredgecolor="white", zorder=3)


def finish_curve(axis: Any, label: str) -> None:
    axis.set_xlabel("optimiser step")
    axis.set_ylabel(label)
    axis.set_xlim(left=0)
    axis.locator_params(axis="x", nbins=5)
    axis.xaxis.set_major_formatter("{x:,.0f}")
    axis.legend()
    values = np.concatenate([line.get_ydata() for line in axis.lines])
    if values.min() > 0 and values.max() / values.min() > 10:
        axis.set_yscale("log")


@dataclass(frozen=True)
class Parity:
    """Predictions of one target against the truth, over the test samples."""

    name: str
    unit: str
    predicted: Float[np.ndarray, " samples"]
    true: Float[np.ndarray, " samples"]


def parity(panels: Sequence[Parity], where: Destination) -> None:
    """Predicted against true, as a density, one panel a target."""
    columns = min(len(panels), 4)
    rows = -(-len(panels) // columns)
    with drawing(where, 3.1 * columns + 0.5, 2.9 * rows, rows, columns) as axes:
        for axis, panel in zip(axes.flat, panels, strict=False):
            draw_parity(axis, panel, len(panels) == 1)
        for axis in axes.flat[len(panels) :]:
            axis.remove()


def draw_parity(axis: Any, panel: Parity, alone: bool) -> None:
    from matplotlib.colors import LinearSegmentedColormap, LogNorm

    both = np.concatenate([panel.predicted, panel.true])
    low, high = float(both.min()), float(both.max())
    pad = 0.04 * (high - low or 1.0)
    box = (low - pad, high + pad)
    shades = LinearSegmentedColormap.from_list("ink", ["#A6C8E4", "#0072B2", "#00263D"])
    bins = int(np.clip(np.sqrt(panel.true.size), 30, 64))
    counts, x, y = np.histogram2d(panel.true, panel.predicted, bins, (box, box))
    density = axis.pcolormesh(x, y, np.ma.masked_equal(counts.T, 0), norm=LogNorm(1, max(counts.max(), 2)), cmap=shades)
    axis.axline((low, low), slope=1, color=PALETTE[1], linewidth=1, zorder=3)
    axis.set(xlim=box, ylim=box, aspect="equal")
    axis.set_xlabel(with_unit(f"true {panel.name}", panel.unit))
    axis.set_ylabel(with_unit(f"predicted {panel.name}", panel.unit))
    axis.locator_params(nbins=5)
    error = np.abs(panel.predicted.astype(np.float64) - panel.true).mean()
    unit = f" {pretty(panel.unit)}" if panel.unit else ""
    axis.text(
        0.04,
        0.96,
        f"MAE {error:.4g}{unit}\n{panel.true.size:,} samples",
        transform=axis.transAxes,
        va="top",
        fontsize=8,
    )
    if alone:  # beside many panels, scales would take more room than they tell
        axis.figure.colorbar(density, ax=axis, label="samples", shrink=0.8, pad=0.02, format="{x:,.0f}")


@dataclass(frozen=True)
class Bar:
    """One paper's measured value (and deviation over seeds), and what was published, if anything and how surely."""

    label: str
    measured: float
    deviation: float | None = None
    published: float | None = None
    comparable: bool = False
    verified: bool = True


@dataclass(frozen=True)
class Bars:
    """One metric of all papers on one split."""

    metric: str
    unit: str
    bars: Sequence[Bar]


def measured_beside_published(panels: Sequence[Bars], where: Destination) -> None:
    """Horizontal bars, measured over published; hatched where the two are not comparable."""
    columns = min(len(panels), 3)
    rows = -(-len(panels) // columns)
    lines = max(sum(map(height, panel.bars)) for panel in panels)
    with drawing(where, max(5.4, 3.6 * columns), rows * (0.27 * lines + 1.0), rows, columns) as axes:
        for axis, panel in zip(axes.flat, panels, strict=False):
            draw_bars(axis, panel)
        for axis in axes.flat[len(panels) :]:
            axis.remove()
        add_legend(axes[0, 0], panels)


def height(bar: Bar) -> float:
    """What it takes, in widths of a bar: both values and a gap, or the lines of its label."""
    return max(1.6 + (bar.published is not None), 0.6 * bar.label.count("\n") + 1.0)


def draw_bars(axis: Any, panel: Bars) -> None:
    place, ticks = 0.0, []
    for bar in panel.bars:
        first = place
        axis.barh(place, bar.measured, 0.85, color=PALETTE[0], xerr=bar.deviation, ecolor=INK, capsize=2.5)
        reach = math.copysign(bar.deviation or 0.0, bar.measured)
        write_value(axis, place, bar.measured + reach, f"{bar.measured:.4g}")
        ticks.append((place + 0.5 * (bar.published is not None), bar.label))
        if bar.published is not None:
            place += 1
            look = (
                {"color": PALETTE[1]}
                if bar.comparable
                else {"facecolor": "white", "edgecolor": PALETTE[1], "hatch": "////"}
            )
            axis.barh(place, bar.published, 0.85, **look)
            trust = "" if bar.verified else " (recollected)"
            write_value(axis, place, bar.published, f"{bar.published:.4g}{trust}")
        place = first + height(bar)
    axis.set_yticks(*zip(*ticks, strict=True))
    axis.tick_params(axis="y", length=0)
    axis.grid(visible=False, axis="y")
    axis.spines["left"].set_visible(False)
    axis.invert_yaxis()
    axis.margins(x=0.16)
    axis.locator_params(axis="x", nbins=5)
    axis.set_xlabel(with_unit(f"test {panel.metric}", panel.unit))


def write_value(axis: Any, place: float, end: float, words: str) -> None:
    """Beyond the end of a bar, which for a negative value is on its left."""
    side, offset = ("left", 4) if end >= 0 else ("right", -4)
    axis.annotate(words, (end, place), (offset, 0), textcoords="offset points", ha=side, va="center", fontsize=8)


def add_legend(axis: Any, panels: Sequence[Bars]) -> None:
    """Explains the bars that occur."""
    from matplotlib.patches import Patch

    published = [bar for panel in panels for bar in panel.bars if bar.published is not None]
    handles = [Patch(color=PALETTE[0], label="measured")]
    if any(bar.comparable for bar in published):
        handles.append(Patch(color=PALETTE[1], label="published"))
    if not all(bar.comparable for bar in published):
        words = "published, not comparable"
        handles.append(Patch(facecolor="white", edgecolor=PALETTE[1], hatch="////", label=words))
    axis.figure.legend(handles=handles, loc="outside upper left", ncols=len(handles))


@dataclass(frozen=True)
class Point:
    """One paper's speed and score; without a speed (a floor that is not trained) it is a line."""

    label: str
    score: float
    deviation: float | None
    speed: float | None


def score_against_speed(
    points: Sequence[Point], metric: str, unit: str, better: str, device: str, where: Destination
) -> None:
    """Test metric against training throughput on one device."""
    from matplotlib.ticker import LogLocator, NullFormatter

    with drawing(where, 5.0, 3.4) as axes:
        axis = axes[0, 0]
        moving = [point for point in points if point.speed is not None]
        for color, point in zip(colors(len(moving)), moving, strict=True):
            axis.errorbar(point.speed, point.score, yerr=point.deviation, fmt="o", color=color, markersize=7, capsize=3)
            axis.annotate(point.label, (point.speed, point.score), (8, 4), textcoords="offset points", fontsize=8)
        for point in points:
            if point.speed is None:
                axis.axhline(point.score, color=QUIET, linestyle="--", linewidth=1)
                axis.annotate(
                    point.label,
                    (0.01, point.score),
                    (0, 3),
                    ("axes fraction", "data"),
                    "offset points",
                    color=QUIET,
                    fontsize=8,
                )
        axis.set_xscale("log")
        speeds = [point.speed for point in moving]
        axis.set_xlim(min(speeds) / 1.8, max(speeds) * 2.6)
        axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.xaxis.set_major_formatter("{x:,.0f}")
        axis.xaxis.set_minor_formatter(NullFormatter())
        axis.margins(y=0.18)
        if min(point.score for point in points) >= 0:
            axis.set_ylim(bottom=max(0, axis.get_ylim()[0]))
        axis.set_xlabel(f"training throughput [samples/s]\n{device}")
        axis.set_ylabel(with_unit(f"test {metric}", unit) + f", {better} is better")


def colors(count: int) -> list[str]:
    return [PALETTE[i % len(PALETTE)] for i in range(count)]


def with_unit(words: str, unit: str) -> str:
    return f"{words} [{pretty(unit)}]" if unit else words


def pretty(unit: str) -> str:
    """Powers and Bohr radii as one writes them: a0^2 becomes a₀²."""
    return re.sub(r"\^(-?\d+)", r"$^{\1}$", unit.replace("a0", "$a_0$")).replace("$$", "")


def plot_run(folder: RunFolder) -> list[Path]:
    """Draws a finished run into its plots/ and returns the files: learning_curve.png, parity.png.

    What a run has no data for is left out (a closed form has no learning curve). A figure that cannot be drawn is a warning
    in the log and no more: by then the result is safe on the disk, and a run must not fail for a picture.
    """
    return draw_all(folder, {"learning_curve": draw_run_curve, "parity": draw_run_parity})


def draw_all(folder: RunFolder, figures: Mapping[str, Callable[[RunFolder, Path], bool]]) -> list[Path]:
    """The figures that could be drawn into a run's plots/, each by its name; a function says False where it has nothing."""
    drawn = []
    for name, draw in figures.items():
        path = folder.path / "plots" / f"{name}.png"
        try:
            path.parent.mkdir(exist_ok=True)
            if draw(folder, path):
                drawn.append(path)
        except Exception as error:  # whatever matplotlib, a full disk or a damaged file may raise
            path.unlink(missing_ok=True)  # no half of a figure
            log.warning("%s was not drawn (%s: %s)", path, type(error).__name__, error)
    return drawn


def draw_run_curve(folder: RunFolder, where: Destination) -> bool:
    """False where there is nothing to draw."""
    result, table = folder.result, run_curve(folder)
    if table is None:
        return False
    unit = result["metrics"].get(f"val/{result['monitor']}", {}).get("unit", "")
    learning_curve({f"seed {result['seed']}": table}, result["monitor"], unit, result["better"], where)
    return True


def run_curve(folder: RunFolder) -> pd.DataFrame | None:
    """What was logged on the way, None for a run that had no way (fewer than two points of each)."""
    path = folder.path / "metrics.csv"
    table = read_metrics(path) if path.exists() else None
    names = ("train/loss", f"val/{folder.result['monitor']}")
    return None if table is None or all(len(series(table, name)) < 2 for name in names) else table


def draw_run_parity(folder: RunFolder, where: Destination) -> bool:
    """False where no real number of a whole sample was predicted."""
    panels = run_parity(folder)
    if panels:
        parity(panels, where)
    return bool(panels)


def run_parity(folder: RunFolder) -> list[Parity]:
    path = folder.path / "test.npz"
    if not path.exists():
        return []
    with np.load(path, allow_pickle=False) as file:
        table = {name: file[name] for name in file.files}
    names = [name.removeprefix("predicted_") for name in table if name.startswith("predicted_")]
    units = {name: folder.result["metrics"].get(f"test/mae_{name}", {}).get("unit", "") for name in names}
    return [
        Parity(name, units[name], table[f"predicted_{name}"], table[f"true_{name}"])
        for name in names
        if table[f"predicted_{name}"].ndim == 1 and np.issubdtype(table[f"true_{name}"].dtype, np.floating)
    ]
