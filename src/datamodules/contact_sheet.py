"""One picture of a benchmark of clouds, images or views: a sample of every class, side by side."""

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


def image_sheet(pictures: Mapping[str, Float[np.ndarray, "views channels height width"]], path: Path) -> None:
    """Draws the views of each sample in a row behind its name; samples of one view stand side by side.

    Args:
        pictures: from 0 to 1, with one or three channels, by caption; the first COLUMNS views of each are drawn.
        path: of the picture.
    """
    from matplotlib.figure import Figure

    strips = {caption: np.concatenate([*views[:COLUMNS]], -1).transpose(1, 2, 0) for caption, views in pictures.items()}
    wide = next(iter(strips.values()))
    columns = max(1, COLUMNS * wide.shape[0] // wide.shape[1])
    rows = -(-len(strips) // columns)
    figure = Figure(figsize=(1.25 * COLUMNS, 1.45 * rows), dpi=120, layout="constrained")
    tiles = figure.subplots(rows, columns, squeeze=False).ravel()
    for tile in tiles:
        tile.axis("off")
    for tile, (caption, strip) in zip(tiles, strips.items(), strict=False):
        tile.imshow(strip.clip(0, 1), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        tile.set_title(caption, fontsize=8, loc="left", pad=2)
    figure.savefig(path)


def project(points: Float[np.ndarray, "points 3"]) -> Float[np.ndarray, "points 3"]:
    """Across and up in the picture, and the distance from the viewer, in parallel projection."""
    azimuth, elevation = VIEW
    toward = np.array([np.cos(elevation) * np.cos(azimuth), np.cos(elevation) * np.sin(azimuth), np.sin(elevation)])
    across = np.array([-np.sin(azimuth), np.cos(azimuth), 0])
    return points @ np.stack([across, np.cross(toward, across), -toward], -1)
