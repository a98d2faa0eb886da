"""What grade_squares and grade_scale share: the loops in C over the blades of a grade."""

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ..geometry.clifford import Signature, grades, squares
from ..geometry.tables import constant_table
from .native import call


@constant_table
def grade_of(signature: Signature) -> np.ndarray:
    """(blades,): the grade of each."""
    return np.array(grades(signature))


@constant_table
def bounds(signature: Signature) -> np.ndarray:
    """(grades + 1,): where the blades of each grade begin, and their number."""
    return np.searchsorted(grades(signature), np.arange(len(squares(signature)) + 2))


def products(
    x: Float[Tensor, "blades *rest"],
    y: Float[Tensor, "blades *rest"],
    signs: Float[Tensor, "blades"],
    signature: Signature,
) -> Float[Tensor, "grades *rest"]:
    """The sum of signs x y over the blades of each grade."""
    out = x.new_empty(len(squares(signature)) + 1, *x.shape[1:])
    call("grades_of_products", x, y, signs, _bounds(signature, x), out, len(out), x[0].numel())
    return out


def scaled(
    x: Float[Tensor, "blades *rest"],
    factor: Float[Tensor, "grades *rest"],
    signs: Float[Tensor, "blades"],
    signature: Signature,
) -> Float[Tensor, "blades *rest"]:
    """signs x, times the factor of each blade's grade."""
    out = torch.empty_like(x)
    call("scaled_by_grade", x, factor, signs, _bounds(signature, x), out, len(factor), x[0].numel())
    return out


def _bounds(signature: Signature, like: Tensor) -> Tensor:
    return bounds(signature, dtype=torch.int64, device=like.device)
