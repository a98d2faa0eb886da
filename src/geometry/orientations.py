"""A number of directions, spread over the sphere as evenly as charges that repel each other (Thomson's problem)."""

import numpy as np
import torch
from jaxtyping import Float
from scipy.optimize import minimize
from torch import Tensor

from ..errors import UserError
from .tables import constant_table


def spread_directions(
    count: int, dtype: torch.dtype = torch.float64, device: torch.device | str = "cpu"
) -> Float[Tensor, "count 3"]:
    """Unit vectors at a local minimum of the Coulomb energy; 4, 6 and 12 are the corners of Platonic solids.

    They are always the same ones: the minimum that a spiral of points falls into. UserError for fewer than one.
    """
    if count < 1:
        raise UserError(f"spread_directions: {count} directions; give at least 1")
    return _directions(count, dtype=dtype, device=device).clone()


@constant_table
def _directions(count: int) -> np.ndarray:
    place = np.arange(count) + 0.5
    azimuth, height = np.pi * (1 + np.sqrt(5)) * place, 1 - 2 * place / count
    radius = np.sqrt(1 - height**2)
    spiral = np.stack([radius * np.cos(azimuth), height, radius * np.sin(azimuth)], -1)
    options = {"maxiter": 10_000, "ftol": 1e-16, "gtol": 1e-10}
    found = minimize(_energy, spiral.ravel(), jac=True, method="L-BFGS-B", options=options).x.reshape(-1, 3)
    return found / np.linalg.norm(found, axis=-1, keepdims=True)


def _energy(flat: np.ndarray) -> tuple[float, np.ndarray]:
    """The sum of 1 / distance over pairs of points projected to the sphere, and its gradient."""
    points = flat.reshape(-1, 3)
    norm = np.linalg.norm(points, axis=-1, keepdims=True)
    unit = points / norm
    offset = unit[:, None] - unit[None]
    distance = np.linalg.norm(offset, axis=-1)
    np.fill_diagonal(distance, np.inf)
    force = -(offset / distance[..., None] ** 3).sum(1)
    gradient = (force - (force * unit).sum(-1, keepdims=True) * unit) / norm
    return float((1 / distance).sum() / 2), gradient.ravel()
