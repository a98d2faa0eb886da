"""The pictures of a report, drawn in memory from run folders."""

import base64
from collections.abc import Callable
from functools import partial
from io import BytesIO

from ..runs.folder import RunFolder
from .collect import Group, Row, Table
from .curves import curves_of, learning_curves
from .plots import (
    Bar,
    Bars,
    Point,
    learning_curve,
    measured_beside_published,
    parity,
    run_curve,
    run_parity,
    score_against_speed,
)
from .render import Picture

DRAWN = {
    "retrieval": "what is retrieved",
    "rotation": "predicted against true rotations",
    "trajectories": "embeddings while the input turns",
}
"""Pictures that a self-supervised run drew itself (runs.pictures), for which its folder does not hold enough."""


def table_pictures(table: Table) -> list[Picture]:
    """Measured beside published, score against speed, and for each group its learning curves and a parity plot."""
    pictures = [picture("Measured beside published", lambda file: measured_beside_published(bar_panels(table), file))]
    pictures += speed_pictures(table)
    pictures += curve_pictures(table)
    for group in table.groups:
        pictures += group_pictures(group)
    return pictures


def picture(caption: str, draw: Callable[[BytesIO], None]) -> Picture:
    file = BytesIO()
    draw(file)
    return caption, base64.b64encode(file.getvalue()).decode()


def bar_panels(table: Table) -> list[Bars]:
    metrics = {row.metric: row.unit for row in table.rows}
    return [
        Bars(metric, unit, [bar(row) for row in table.rows if row.metric == metric]) for metric, unit in metrics.items()
    ]


def bar(row: Row) -> Bar:
    """A published value in another unit has no place on the axis."""
    label, measured = "\n".join([row.group.paper, *row.group.settings]), row.measured
    if row.standing is None or row.standing.published.unit != row.unit:
        return Bar(label, measured.mean, measured.std)
    published, comparable = row.standing.published, row.standing.comparable
    verified = published.confidence == "verified"
    return Bar(label, measured.mean, measured.std, published.value, comparable, verified)


def speed_pictures(table: Table) -> list[Picture]:
    """One for each metric that chose checkpoints, and device; speeds on different devices do not compare."""
    kinds = {
        (group.first["monitor"], group.first["better"], group.first["device"]): None
        for group in table.groups
        if group.values("train_samples_per_second")
    }
    return [speed_picture(table, *kind) for kind in kinds]


def speed_picture(table: Table, monitor: str, better: str, device: str) -> Picture:
    rows = [row for row in table.rows if row.metric == monitor]
    points = []
    for row in rows:
        speeds = row.group.values("train_samples_per_second")
        if not speeds or row.group.first["device"] == device:
            speed = sum(speeds) / len(speeds) if speeds else None
            points.append(Point(row.group.label, row.measured.mean, row.measured.std, speed))
    unit = rows[0].unit
    return picture(
        "Accuracy against throughput", lambda file: score_against_speed(points, monitor, unit, better, device, file)
    )


def curve_pictures(table: Table) -> list[Picture]:
    """One for each metric that chose checkpoints of two groups or more."""
    monitors = {group.first["monitor"]: group.first["better"] for group in table.groups}
    found = {monitor: curves_of(table, monitor) for monitor in monitors}
    units = {row.metric: row.unit for row in table.rows}
    return [
        picture(
            "Learning curves at equal steps: means over seeds, and the seeds' span",
            partial(learning_curves, curves, monitor, units.get(monitor, ""), monitors[monitor]),
        )
        for monitor, curves in found.items()
        if len(curves) > 1
    ]


def group_pictures(group: Group) -> list[Picture]:
    folders = {f"seed {run.result['seed']}": RunFolder(run.path) for run in group.runs}
    found = []
    curves = {label: table for label, folder in folders.items() if (table := run_curve(folder)) is not None}
    if curves:
        monitor, better = group.first["monitor"], group.first["better"]
        unit = group.metrics().get(monitor, "")
        found.append(
            picture(f"{group.label}: learning curves", lambda file: learning_curve(curves, monitor, unit, better, file))
        )
    panels = run_parity(RunFolder(group.runs[0].path))
    if panels:
        found.append(
            picture(
                f"{group.label}: predicted against true, seed {group.first['seed']}", lambda file: parity(panels, file)
            )
        )
    return found + [
        (f"{group.label}: {words}, seed {group.first['seed']}", base64.b64encode(path.read_bytes()).decode())
        for name, words in DRAWN.items()
        if (path := group.runs[0].path / "plots" / f"{name}.png").exists()
    ]
