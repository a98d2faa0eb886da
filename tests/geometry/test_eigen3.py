"""The closed form against spectra that are known, of all degeneracies, and against LAPACK."""

import pytest
import torch

from erlangen.geometry.eigen3 import least_eigenvectors
from erlangen.geometry.rotations import random_rotations

SPECTRA = [
    (1, 2, 3),
    (-3, -2, 7),
    (0, 1, 1),
    (1, 2, 2 + 1e-9),
    (1, 1 + 1e-6, 2),
    (1, 1 + 1e-7, 1 + 2e-7),
    (1e-30, 2e-30, 5e-30),
    (1e20, 2e20, 9e20),
]
MULTIPLE = [(0, 0, 0), (1, 1, 1), (1, 1, 2), (0, 0, 5), (-4, -4, -1)]
"""Of these the smallest is a multiple eigenvalue."""


def planted(spectrum: tuple[float, ...], dtype: torch.dtype = torch.float64) -> tuple[torch.Tensor, torch.Tensor]:
    """500 matrices of this spectrum, turned at random, and the eigenvector of the first eigenvalue."""
    turns = random_rotations(500, generator=torch.Generator().manual_seed(0))
    matrices = (turns * torch.tensor(spectrum, dtype=torch.float64)) @ turns.mT
    return ((matrices + matrices.mT) / 2).to(dtype), turns[..., 0].to(dtype)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("spectrum", [*SPECTRA, *MULTIPLE])
def test_values_and_vectors_solve_the_eigenvalue_equation(spectrum: tuple[float, ...], dtype: torch.dtype) -> None:
    matrices, _ = planted(spectrum, dtype)
    values, vectors = least_eigenvectors(matrices)
    scale, rounding = max(map(abs, spectrum)) or 1, 20 * torch.finfo(dtype).eps
    expected = torch.tensor(spectrum, dtype=dtype).expand(500, 3)
    torch.testing.assert_close(values / scale, expected / scale, rtol=0, atol=rounding)
    torch.testing.assert_close(vectors.norm(dim=1), torch.ones(500, dtype=dtype), rtol=0, atol=rounding)
    residual = (matrices @ vectors[..., None])[..., 0] - spectrum[0] * vectors
    assert (residual / scale).abs().max() < rounding


@pytest.mark.parametrize("spectrum", SPECTRA)
def test_the_vector_is_as_good_as_the_gap_allows(spectrum: tuple[float, ...]) -> None:
    matrices, true = planted(spectrum)
    sine = torch.linalg.cross(least_eigenvectors(matrices)[1], true).norm(dim=1).max()
    lapack = torch.linalg.cross(torch.linalg.eigh(matrices).eigenvectors[..., 0], true).norm(dim=1).max()
    assert sine < 3 * lapack
    gap = (spectrum[1] - spectrum[0]) / max(map(abs, spectrum))
    assert sine < 20 * torch.finfo(torch.float64).eps / gap


def test_no_matrices_give_no_vectors() -> None:
    values, vectors = least_eigenvectors(torch.zeros(0, 3, 3))
    assert values.shape == vectors.shape == (0, 3)
