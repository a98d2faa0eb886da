"""Grids on the sphere: Gauss-Legendre in the colatitude, uniform in the azimuth, with exact quadrature up to a degree."""

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ..errors import UserError
from .checks import require_degree
from .spherical_harmonics import normalization_scales, spherical_harmonics
from .tables import constant_table


class S2Resolution(NamedTuple):
    """How many colatitudes and azimuths a grid has.

    The quadrature is exact for polynomials of degree up to 2 beta - 1 whose azimuthal orders stay below alpha.
    """

    beta: int
    alpha: int


def exact_resolution(degree: int, order: int | None = None) -> S2Resolution:
    """The smallest grid that integrates polynomials of this degree exactly, if |m| <= order (at most the degree) in them.

    Signals of degree L, truncated to |m| <= M, survive a round trip on `exact_resolution(2 * L, 2 * M)`; their
    pointwise product is projected exactly on `exact_resolution(3 * L, 3 * M)`.
    """
    order = degree if order is None else order
    if not 0 <= order <= degree:
        raise UserError(f"exact_resolution: need 0 <= order <= degree, got degree {degree} and order {order}")
    return S2Resolution(degree // 2 + 1, order + 1)


def grid_points(
    resolution: tuple[int, int], dtype: torch.dtype = torch.float64, device: torch.device | str = "cpu"
) -> Float[Tensor, "beta alpha 3"]:
    """The unit vectors of the grid; beta rises from the +y pole, and alpha from the +z half-plane towards +x."""
    return _points(*resolution, dtype=dtype, device=device).clone()


def grid_weights(
    resolution: tuple[int, int], dtype: torch.dtype = torch.float64, device: torch.device | str = "cpu"
) -> Float[Tensor, "beta alpha"]:
    """The quadrature weights of the grid: positive, and 4 pi in all."""
    return _weights(*resolution, dtype=dtype, device=device).clone()


def to_grid_matrix(
    resolution: tuple[int, int],
    lmax: int,
    mmax: int | None = None,
    normalization: str = "component",
    dtype: torch.dtype = torch.float64,
    device: torch.device | str = "cpu",
) -> Float[Tensor, "beta alpha components"]:
    """A with (A x)(point) = sum_lm x_lm Y_lm(point), for the components that `truncated_components` lists."""
    return _to_grid(*resolution, lmax, mmax, normalization, dtype=dtype, device=device).clone()


def from_grid_matrix(
    resolution: tuple[int, int],
    lmax: int,
    mmax: int | None = None,
    normalization: str = "component",
    dtype: torch.dtype = torch.float64,
    device: torch.device | str = "cpu",
) -> Float[Tensor, "components beta alpha"]:
    """B with x_lm = integral of f Y_lm / integral of Y_lm^2 by quadrature: the inverse of `to_grid_matrix`.

    Exact for f of degree d if the grid integrates degree d + lmax exactly (see `exact_resolution`).
    """
    return _from_grid(*resolution, lmax, mmax, normalization, dtype=dtype, device=device).clone()


def truncated_components(lmax: int, mmax: int | None = None) -> list[int]:
    """Where the components with |m| <= mmax stand among the (lmax + 1)^2, in rising order."""
    require_degree("truncated_components", lmax, mmax)
    mmax = lmax if mmax is None else mmax
    return [
        degree * (degree + 1) + m
        for degree in range(lmax + 1)
        for m in range(-min(degree, mmax), min(degree, mmax) + 1)
    ]


@constant_table
def _points(beta: int, alpha: int) -> np.ndarray:
    y, _ = _gauss_legendre(beta, alpha)
    azimuth = 2 * np.pi * np.arange(alpha) / alpha
    radius = np.sqrt(1 - y**2)
    x, z = radius[:, None] * np.sin(azimuth), radius[:, None] * np.cos(azimuth)
    return np.stack([x, np.broadcast_to(y[:, None], x.shape), z], -1)


@constant_table
def _weights(beta: int, alpha: int) -> np.ndarray:
    _, weights = _gauss_legendre(beta, alpha)
    return np.repeat(weights[:, None] * (2 * np.pi / alpha), alpha, 1)


def _gauss_legendre(beta: int, alpha: int) -> tuple[np.ndarray, np.ndarray]:
    if beta < 1 or alpha < 1:
        raise UserError(f"s2grid: a grid needs at least 1 x 1 points, got {beta} x {alpha}")
    y, weights = np.polynomial.legendre.leggauss(beta)
    return y[::-1], weights[::-1]


@constant_table
def _to_grid(beta: int, alpha: int, lmax: int, mmax: int | None, normalization: str) -> np.ndarray:
    kept = truncated_components(lmax, mmax)
    points = grid_points((beta, alpha))
    return spherical_harmonics(points, lmax, normalize=False, normalization=normalization)[..., kept].numpy()


@constant_table
def _from_grid(beta: int, alpha: int, lmax: int, mmax: int | None, normalization: str) -> np.ndarray:
    kept = truncated_components(lmax, mmax)
    scales = np.repeat(normalization_scales(lmax, normalization), 2 * np.arange(lmax + 1) + 1)[kept]
    values = _to_grid(beta, alpha, lmax, mmax, normalization).numpy()
    return np.moveaxis(values * grid_weights((beta, alpha)).numpy()[..., None], -1, 0) / (
        4 * np.pi * scales[:, None, None] ** 2
    )
