"""One picture of a point-cloud benchmark: a sample of every class, side by side."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from jaxtyping import Float

COLUMNS = 8
VIEW = (np.radians(-60), np.radians(20))
"""Azimuth and elevation of the viewer."""


def contact_sheet(clouds: Mapping[str, Float[np.ndarray, "points 3"]], path: Path) -> None:
    """Draws each cloud under its name, z upright, the nearer points the darker.

    Args:
        clouds: points by caption; each is scaled to fill its tile.
        path: of the picture, e.g. modelnet.png.
    """
    from matplotlib.figure import Figure

    rows = -(-len(clouds) // COLUMNS)
    figure = Figure(figsize=(1.6 * COLUMNS, 1.75 * rows), dpi=100, layout="constrained")
    tiles = figure.subplots(rows, COLUMNS, squeeze=False).ravel()
    for tile in tiles:
        tile.axis("off")
    for tile, (caption, points) in zip(tiles, clouds.items(), strict=False):
        across, up, depth = (project(points - points.mean(0)) / np.abs(points - points.mean(0)).max()).T
        order = depth.argsort()[::-1]  # far points first
        tile.scatter(across[order], up[order], c=depth[order], s=1.2, cmap="viridis", linewidths=0)
        tile.set(xlim=(-1.5, 1.5), ylim=(-1.5, 1.5), aspect="equal")
        tile.set_title(caption, fontsize=8)
    figure.savefig(path)


def project(points: Float[np.ndarray, "points 3"]) -> Float[np.ndarray, "points 3"]:
    """Across and up in the picture, and the distance from the viewer, in parallel projection."""
    azimuth, elevation = VIEW
    toward = np.array([np.cos(elevation) * np.cos(azimuth), np.cos(elevation) * np.sin(azimuth), np.sin(elevation)])
    across = np.array([-np.sin(azimuth), np.cos(azimuth), 0])
    return points @ np.stack([across, np.cross(toward, across), -toward], -1)
