"""How papers learn, beside each other: validation scores at equal steps of the optimiser."""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from ..runs.folder import RunFolder
from .collect import Group, Table
from .plots import PALETTE, Destination, colors, drawing, finish_curve, run_curve, series, with_unit

DASHES = ("-", "--", ":")
"""Of lines that share a colour."""
LABEL_WIDTH = 80
"""Characters of a line of the legend."""


@dataclass(frozen=True)
class Curve:
    """A group of runs: the smallest, mean and greatest score over its seeds, by step.

    Attributes:
        label: of the group.
        scores: columns step, low, mean, high; only steps at which every seed was validated.
    """

    label: str
    scores: pd.DataFrame


def curves_of(table: Table, monitor: str) -> list[Curve]:
    """One for every group that chose its checkpoints by this metric and was validated twice or more."""
    groups = [group for group in table.groups if group.first["monitor"] == monitor]
    curves = [Curve(group.label, over_seeds(group, monitor)) for group in groups]
    return [curve for curve in curves if len(curve.scores) > 1]


def over_seeds(group: Group, monitor: str) -> pd.DataFrame:
    """The scores of a group's runs; none where a run kept no curve."""
    tables = [run_curve(RunFolder(run.path)) for run in group.runs]
    if any(table is None for table in tables):
        return pd.DataFrame(columns=["step", "low", "mean", "high"])
    seeds = [series(table, f"val/{monitor}").drop_duplicates("step").set_index("step")["value"] for table in tables]
    joined = pd.concat(seeds, axis=1, join="inner").sort_index()
    scores = pd.DataFrame({"low": joined.min(axis=1), "mean": joined.mean(axis=1), "high": joined.max(axis=1)})
    return scores.reset_index()


def learning_curves(curves: Sequence[Curve], monitor: str, unit: str, better: str, where: Destination) -> None:
    """Means over seeds as lines, and what lies between the seeds as bands; names below, as they may be long."""
    labels = [textwrap.fill(curve.label, LABEL_WIDTH, subsequent_indent="  ") for curve in curves]
    lines = sum(label.count("\n") + 1 for label in labels)
    with drawing(where, 5.4, 3.0 + 0.17 * lines) as axes:
        axis = axes[0, 0]
        for place, (color, label, curve) in enumerate(zip(colors(len(curves)), labels, curves, strict=True)):
            dashes = DASHES[place // len(PALETTE) % len(DASHES)]
            steps, low, mean, high = (curve.scores[name] for name in ("step", "low", "mean", "high"))
            axis.plot(steps, mean, dashes, color=color, label=label)
            axis.fill_between(steps, low, high, color=color, alpha=0.2)
        finish_curve(axis, with_unit(f"validation {monitor}", unit))
        axis.get_legend().remove()
        axis.figure.legend(loc="outside lower left")
        if better == "higher":  # an accuracy ends near 100: there is nothing to see on a logarithmic axis
            axis.set_yscale("linear")
