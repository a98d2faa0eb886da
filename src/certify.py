"""erlangen certify: the symmetries and gradients that a paper promises, measured.

Each promised symmetry is measured as max |f(gx) - g f(x)| over a batch and several random group elements g, in units of
the spread of f over the batch, before training and after it, in float64, float32 and bfloat16 (autocast). Energies are
compared with their forces by central differences in float64. A classifier of point clouds is also tested on turned clouds,
and a network on grids of the sphere on coarser and finer ones.
"""

import argparse
import contextlib
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.table import Table
from torch import Tensor

from .ase_calculator import ENERGIES
from .datamodules.base import DataModule
from .errors import UserError
from .evidence.grids import draw_resolutions, error_by_resolution, has_grid
from .evidence.robustness import accuracy_by_angle, draw_robustness
from .models.paper import Paper
from .nn.gradient import ForcesFromEnergy
from .runs.assemble import build_data, build_paper
from .runs.config import compose_config, resolved
from .runs.console import console
from .runs.folder import write_json
from .runs.loading import load_run
from .runs.pairing import check_pair
from .tasks.point_classification import PointClassification
from .tasks.symmetry import Symmetry, cast, symmetry_error

LIMITS = {"float64": 1e-8, "float32": 1e-4}
"""What an exact symmetry may show by rounding. bfloat16 is measured and has no limit: it depends on depth and width."""
PRECISIONS = {"float64": torch.float64, "float32": torch.float32, "bfloat16": torch.float32}
STEP, SLOPE_LIMIT = 1e-3, 1e-4
"""Half the step of the central differences, in the unit of the positions; what their own error, about STEP^2, stays below."""


FIGURES = {
    "accuracy by angle": ("robustness.png", draw_robustness),
    "error by resolution": ("resolution.png", draw_resolutions),
}
"""Curves of a run's certificate, and how they are drawn."""


def certify(paper: Paper, batch: Any, draws: int, seed: int = 0) -> list[dict[str, Any]]:
    """Every promise of a paper measured on a batch: rows of {element, target, precision, error, limit, holds}."""
    rows = []
    for precision, dtype in PRECISIONS.items():
        network = paper.to(dtype).eval()
        for symmetry in paper.symmetries:
            left_out = 0 if precision == "float64" else math.ceil(symmetry.ties * batch.num_graphs)
            with autocast(precision, batch):
                moved = cast(batch, paper.spec, dtype)
                errors = worst_errors(network, moved, symmetry, draws, seed, left_out)
                all_errors = worst_errors(network, moved, symmetry, draws, seed, 0) if left_out else errors
            limit = limit_of(symmetry, precision)
            for target, error in errors.items():
                rows.append(
                    {
                        "element": symmetry.element,
                        "promise": symmetry.kind,
                        "target": target,
                        "precision": precision,
                        "error": error,
                        "limit": limit,
                        "holds": None if limit is None else error <= limit,
                        "left_out": left_out,
                        "error_of_all": all_errors[target],
                    }
                )
    paper.to(torch.float32)
    return rows + list(gradient_rows(paper, batch, seed))


def worst_errors(
    network: Paper, batch: Any, symmetry: Symmetry, draws: int, seed: int, left_out: int
) -> dict[str, float]:
    """The largest error of each target over so many random elements, without the worst samples of each."""
    generator = torch.Generator().manual_seed(seed)
    found = [symmetry_error(network, batch, network.spec, symmetry.element, generator, left_out) for _ in range(draws)]
    return {target: max(draw[target] for draw in found) for target in found[0]}


def autocast(precision: str, batch: Any) -> contextlib.AbstractContextManager:
    if precision != "bfloat16":
        return contextlib.nullcontext()
    return torch.autocast(batch.pos.device.type, dtype=torch.bfloat16)


def limit_of(symmetry: Symmetry, precision: str) -> float | None:
    """The largest error that keeps the promise; None where nothing was promised."""
    if symmetry.kind == "learned" or precision not in LIMITS:
        return None
    return LIMITS[precision] if symmetry.kind == "exact" else symmetry.bound


def gradient_rows(paper: Paper, batch: Any, seed: int) -> Iterator[dict[str, Any]]:
    """Forces against central differences of their energy: relative error along a random direction, in float64.

    Forces that have a head of their own are measured, and no gradient is promised.
    """
    pairs = [(target.gradient_of, target.name) for target in paper.spec.targets if target.gradient_of]
    if not pairs:
        pairs = [(target.name, None) for target in paper.spec.targets if target.name in ENERGIES]
    if not pairs:
        return
    paper = paper.to(torch.float64).eval()
    batch = cast(batch, paper.spec, torch.float64)
    direction = torch.randn(batch.pos.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    for energy, forces in pairs:
        slope = -(force_of(paper, batch, energy, forces) * direction).sum()
        difference = (
            energy_at(paper, batch, energy, STEP * direction) - energy_at(paper, batch, energy, -STEP * direction)
        ) / (2 * STEP)
        error = float((slope - difference).abs() / difference.abs().clamp(min=1e-12))
        promised = forces is None or isinstance(paper.network, ForcesFromEnergy)
        yield {
            "element": "force = -gradient" if forces else "energy is smooth",
            "promise": "exact" if promised else "learned",
            "target": forces or energy,
            "precision": "float64",
            "error": error,
            "limit": SLOPE_LIMIT if promised else None,
            "holds": error <= SLOPE_LIMIT if promised else None,
        }
    paper.to(torch.float32)


def force_of(paper: Paper, batch: Any, energy: str, forces: str | None) -> Tensor:
    """The predicted forces, or the negative gradient of the predicted energy where no forces are predicted."""
    if forces:
        return paper(batch)[forces].detach()
    batch = batch.clone()
    batch.pos = batch.pos.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(paper(batch)[energy].sum(), batch.pos)
    return -gradient


@torch.no_grad()
def energy_at(paper: Paper, batch: Any, energy: str, shift: Tensor) -> Tensor:
    moved = batch.clone()
    moved.pos = batch.pos + shift
    return paper(moved)[energy].sum()


def certify_run(what: list[str], samples: int, draws: int) -> tuple[dict[str, Any], Path | None]:
    """The certificate of a run (before and after training), or of a fresh paper given by `model=… data=…`.

    Returns:
        The certificate and the run's folder, None for a fresh paper.
    """
    if len(what) == 1 and "=" not in what[0]:
        paper, config = load_run(what[0])
        datamodule = build_data(config)
        fresh = build_paper(config, paper.spec)
        stages, folder = {"before training": fresh, "after training": paper}, Path(what[0])
    else:
        cfg, choices = compose_config(what)
        config = resolved(cfg, choices)
        check_pair(config)
        datamodule = build_data(config)
        stages, folder = {"before training": build_paper(config, datamodule.spec)}, None
    batch = sample_batch(datamodule, samples)
    rows = {stage: certify(paper, batch, draws) for stage, paper in stages.items()}
    certificate = {"samples": samples, "draws": draws, "rows": rows}
    if any(has_grid(paper) for paper in stages.values()):
        curves = {stage: error_by_resolution(paper, config, batch, draws) for stage, paper in stages.items()}
        certificate["error by resolution"] = curves
    if isinstance(datamodule.task, PointClassification) and folder is not None:
        curves = {stage: accuracy_by_angle(paper, datamodule) for stage, paper in stages.items()}
        certificate["accuracy by angle"] = curves
    return certificate, folder


def sample_batch(datamodule: DataModule, samples: int) -> Any:
    """The first samples of the test split."""
    dataset = datamodule.splits["test"]
    return dataset[np.arange(min(samples, len(dataset)))]


def certificate_tables(certificate: dict[str, Any]) -> Iterator[Table]:
    """One table a stage: a row for each element and target, a column for each precision; then curves."""
    for stage, rows in certificate["rows"].items():
        title = f"{stage}: error / spread, worst of {certificate['draws']} draws on {certificate['samples']} samples"
        table = Table(title=title, title_justify="left")
        table.add_column("promise")
        table.add_column("target")
        for precision in PRECISIONS:
            table.add_column(precision, justify="right")
        table.add_column("")
        for element, promise, target in dict.fromkeys((row["element"], row["promise"], row["target"]) for row in rows):
            mine = {row["precision"]: row for row in rows if (row["element"], row["target"]) == (element, target)}
            cells = [f"{mine[name]['error']:.1e}" if name in mine else "" for name in PRECISIONS]
            words = f"{promise}, but for ties" if any(row.get("left_out") for row in mine.values()) else promise
            table.add_row(f"{element} ({words})", target, *cells, verdict([row["holds"] for row in mine.values()]))
        table.caption, table.caption_justify = ties_told(rows), "left"
        yield table
    for stage, rows in certificate.get("error by resolution", {}).items():
        table = Table(title=f"{stage}: error under rotations / spread by resolution of the grid", title_justify="left")
        for column in ("grid", "error", "bound"):
            table.add_column(column, justify="right")
        for row in rows:
            table.add_row(f"{row['resolution']} x {row['resolution']}", f"{row['error']:.1e}", f"{row['bound']:.1e}")
        yield table


def ties_told(rows: list[dict[str, Any]]) -> str | None:
    """What was left out, and the error with it."""
    tied = [row for row in rows if row.get("left_out") and row["precision"] == "float32"]
    if not tied:
        return None
    return (
        f"but for ties: beside float64 without the {tied[0]['left_out']} worst, where rounding may decide which of two points "
        f"comes first; in float32 with them {max(row['error_of_all'] for row in tied):.1e}"
    )


def verdict(holds: list[bool | None]) -> str:
    if False in holds:
        return "[red]BROKEN[/]"
    return "[green]holds[/]" if True in holds else "measured"


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(
        "erlangen certify",
        description="Measure what a paper promises: symmetries by group element, forces against energy.",
    )
    parser.add_argument("what", nargs="+", help="a run's folder, or model=… data=… for a fresh paper")
    parser.add_argument("--samples", type=int, default=32, help="test samples to measure on")
    parser.add_argument("--draws", type=int, default=4, help="random group elements of each kind")
    options = parser.parse_args(arguments)
    certificate, folder = certify_run(options.what, options.samples, options.draws)
    for table in certificate_tables(certificate):
        console.print(table)
    if folder is not None and folder.is_dir():
        write_json(folder / "certificate.json", certificate)
        for name, (file, draw) in FIGURES.items():
            if curves := certificate.get(name):
                figure = folder / "plots" / file
                figure.parent.mkdir(exist_ok=True)
                draw(curves, figure)
                console.print(f"{name}: {figure}")
    broken = [row for rows in certificate["rows"].values() for row in rows if row["holds"] is False]
    if broken:
        raise UserError(f"{len(broken)} of the promises above are broken")
