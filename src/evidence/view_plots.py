"""Figures of what a representation of views knows: what is retrieved with it, and how it moves when its input turns."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from .plots import INK, PALETTE, QUIET, Destination, colors, drawing

Picture = Float[np.ndarray, "channels height width"]


@dataclass(frozen=True)
class Shown:
    """A picture with what is written under it, and whether it is what was asked for (None: it is what was asked with)."""

    picture: Picture
    caption: str
    right: bool | None = None


def retrieved(rows: Sequence[Sequence[Shown]], headings: Sequence[str], right: str, where: Destination) -> None:
    """One query a row, what it found to the right of it.

    Args:
        rows: as many pictures each as there are headings.
        headings: of the columns.
        right: what a green frame says.
    """
    with drawing(where, 1.25 * len(headings), 1.5 * len(rows) + 0.5, len(rows), len(headings)) as axes:
        axes[0, 0].figure.suptitle(f"Green: {right}", fontsize=8)
        for axis, heading in zip(axes[0], headings, strict=True):
            axis.set_title(heading, fontsize=8)
        for axis, shown in zip(axes.flat, [shown for row in rows for shown in row], strict=True):
            axis.imshow(shown.picture.transpose(1, 2, 0).clip(0, 1), interpolation="nearest")
            axis.set(xticks=[], yticks=[])
            axis.set_xlabel(shown.caption, fontsize=7, labelpad=2)
            axis.grid(visible=False)
            frame = {None: QUIET, True: PALETTE[2], False: PALETTE[1]}[shown.right]
            for spine in axis.spines.values():
                spine.set(visible=True, color=frame, linewidth=1 if shown.right is None else 2.5)


@dataclass(frozen=True)
class Path2D:
    """How one object's embedding moves while its input turns, in the plane in which it moves most.

    Args:
        measured: at every step, in units of the deviation of all embeddings.
        predicted: what a paper that acts on its latent space expects from the first step and the turn.
        frames: some of the pictures, in order.
    """

    measured: Float[np.ndarray, "steps 2"]
    predicted: Float[np.ndarray, "steps 2"] | None
    frames: Sequence[Picture]


def trajectories(
    parts: dict[str, Sequence[Path2D]], degrees: Float[np.ndarray, " steps"], words: str, where: Destination
) -> None:
    """One row a part of the representation, one column an object; colours are degrees, dashes the prediction.

    Args:
        parts: the paths of every part, of the same objects.
        degrees: of every step.
        words: what turns about what.
    """
    columns = len(next(iter(parts.values())))
    # a full turn ends with the colour that it began with
    colours = "twilight" if degrees[-1] - degrees[0] == 360 else "viridis"
    with drawing(where, 2.5 * columns + 0.7, 2.35 * len(parts) + 1.4, len(parts) + 1, columns) as axes:
        axes[0, 0].get_gridspec().set_height_ratios([0.9, *[2.35] * len(parts)])
        for axis, path in zip(axes[0], next(iter(parts.values())), strict=True):
            strip = np.concatenate([frame.transpose(1, 2, 0) for frame in path.frames], 1)
            axis.imshow(strip.clip(0, 1), interpolation="nearest")
            axis.set_axis_off()
        for row, (part, paths) in zip(axes[1:], parts.items(), strict=True):
            reach = 1.08 * max(float(np.abs(values).max()) for path in paths for values in both(path))
            for axis, path in zip(row, paths, strict=True):
                points = draw_path(axis, path, degrees, colours)
                axis.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal")
                axis.locator_params(nbins=5)
            row[0].set_ylabel(f"{part}\nsecond direction")
        for axis in axes[-1]:
            axis.set_xlabel("first direction")
        axes[0, 0].figure.colorbar(points, ax=axes[1:], label="turn [degrees]", shrink=0.7, pad=0.02)
        axes[0, 0].figure.suptitle(f"Embeddings while {words}, in deviations over all views", fontsize=9)


def both(path: Path2D) -> list[np.ndarray]:
    return [path.measured] if path.predicted is None else [path.measured, path.predicted]


def draw_path(axis: Any, path: Path2D, degrees: Float[np.ndarray, " steps"], colours: str) -> Any:
    x, y = path.measured.T
    axis.plot(x, y, color=QUIET, linewidth=0.8, zorder=1, label="measured")
    points = axis.scatter(x, y, c=degrees, cmap=colours, s=18, zorder=2)
    if path.predicted is not None:
        axis.plot(*path.predicted.T, color=colors(2)[1], linestyle="--", linewidth=1.3, zorder=3, label="predicted")
        axis.legend(loc="upper left", handlelength=1.6)
    axis.plot(x[0], y[0], marker="o", markersize=8, markerfacecolor="none", markeredgecolor=INK, zorder=4)
    return points
