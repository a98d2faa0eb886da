"""Nonlinearities on the sphere, whose values on the grid stay on the chip."""

from collections.abc import Callable

import torch
from torch import Tensor

from ..s2_activation import FUNCTIONS, analysis_matrix, synthesis_matrix
from .grid import grid


def build(lmax: int, kind: str, function: str = "silu", resolution: tuple[int, int] | None = None) -> Callable:
    def activation(x: Tensor, scalars: Tensor | None = None) -> Tensor:
        like = {"dtype": x.dtype, "device": x.device}
        synthesis, analysis = synthesis_matrix(*resolution, lmax, **like), analysis_matrix(*resolution, lmax, **like)
        if kind == "pointwise":
            return grid(x, None, None, synthesis, None, None, analysis.T, function, 0)
        rest = grid(x, None, None, synthesis, None, None, analysis[1:].T, function, 0)
        return torch.cat([FUNCTIONS[function](scalars), rest], 1)

    return activation
