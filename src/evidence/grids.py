"""How far a network that computes on grids of the sphere is from equivariance, against the grids' resolution."""

from typing import Any

import torch

from ..models.paper import Paper
from ..runs.assemble import build_paper
from ..tasks.symmetry import Symmetry, cast, symmetry_error
from .plots import PALETTE, Destination, drawing

MORE = (0, 2, 4, 8, 16)
"""Grids of so many points more, along each of both angles, than degree lmax needs."""
FLOOR = 1e-16
"""What a logarithmic axis shows of an error that is zero."""


def has_grid(paper: Paper) -> bool:
    """Whether rotations are kept but for a grid of the sphere, and how fine it is can be said."""
    return paper.grid is not None and any(turning(symmetry) for symmetry in paper.symmetries)


def turning(symmetry: Symmetry) -> bool:
    return symmetry.element == "rotation" and symmetry.kind == "approximate"


@torch.no_grad()
def error_by_resolution(paper: Paper, config: dict[str, Any], batch: Any, draws: int) -> list[dict[str, int | float]]:
    """The error under rotations, in units of the outputs' spread, of the same weights on coarser and finer grids; float64.

    Args:
        paper: one that `has_grid`.
        config: what it was built from.
        batch: samples to measure on.
        draws: rotations; the worst counts, over all targets.

    Returns:
        Rows of {resolution, error, bound}: the promised bound at this resolution.
    """
    options, batch, rows = config["model"], cast(batch, paper.spec, torch.float64), []
    least = 2 * options["lmax"] + 1
    for resolution in sorted({*(least + more for more in MORE), options[paper.grid] or least}):
        other = build_paper(config | {"model": options | {paper.grid: resolution}}, paper.spec).double().eval()
        other.load_state_dict(paper.state_dict())
        generator = torch.Generator().manual_seed(0)
        errors = [symmetry_error(other, batch, other.spec, "rotation", generator) for _ in range(draws)]
        (promise,) = filter(turning, other.symmetries)
        worst = max(error for draw in errors for error in draw.values())
        rows.append({"resolution": resolution, "error": worst, "bound": promise.bound})
    return rows


def draw_resolutions(curves: dict[str, list[dict[str, int | float]]], where: Destination) -> None:
    """Error against resolution, one line a stage of training, and the promised bound."""
    with drawing(where, 4.2, 3.0) as axes:
        axis = axes[0, 0]
        for color, (label, rows) in zip(PALETTE, curves.items(), strict=False):
            errors = [max(row["error"], FLOOR) for row in rows]
            axis.plot([row["resolution"] for row in rows], errors, marker="o", markersize=3.5, color=color, label=label)
        rows = next(iter(curves.values()))
        bounds = [row["bound"] for row in rows]
        axis.plot([row["resolution"] for row in rows], bounds, color="black", linestyle="--", label="bound")
        axis.set_yscale("log")
        axis.set_xlabel("points of the grid along each angle")
        axis.set_ylabel("error under rotations / spread")
        axis.legend()
