"""Checks of arguments that would otherwise go wrong in silence."""

from torch import Tensor

from ..errors import UserError


def require(name: str, tensor: Tensor, *trailing: int) -> None:
    """UserError unless `tensor` is floating and its shape ends in `trailing`; `name` says which argument of which function."""
    if tuple(tensor.shape[tensor.ndim - len(trailing) :]) != trailing or not tensor.is_floating_point():
        want = ", ".join(map(str, trailing))
        raise UserError(f"{name}: need a floating tensor (..., {want}), got {tensor.dtype} {tuple(tensor.shape)}")


def require_degree(name: str, lmax: int, mmax: int | None = None) -> None:
    """UserError unless 0 <= mmax <= lmax."""
    if lmax < 0:
        raise UserError(f"{name}: lmax must be >= 0, got {lmax}")
    if mmax is not None and not 0 <= mmax <= lmax:
        raise UserError(f"{name}: mmax must be from 0 to lmax = {lmax}, got {mmax}")
