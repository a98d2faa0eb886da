"""Functions of hyperbolic geometry in floating point: of squared lengths, analytic at zero, in float32 or better."""

from collections.abc import Callable
from functools import wraps
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import FunctionCtx

FARTHEST = 30.0
"""Arguments of sinh and cosh are cut here: of numbers like e^30, three can still be multiplied in float32."""


def wide(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """The function, computed in float32 for tensors of half precision; the result has the first tensor's dtype."""

    @wraps(function)
    def run(*arguments: Any, **options: Any) -> Tensor:
        dtype = next(value.dtype for value in arguments if isinstance(value, Tensor))
        result = function(*map(widened, arguments), **{name: widened(value) for name, value in options.items()})
        return result.to(dtype)

    return run


def widened(value: Any) -> Any:
    half = isinstance(value, Tensor) and value.dtype in (torch.float16, torch.bfloat16)
    return value.float() if half else value


def root(z: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """sqrt(z), with a gradient of zero where z is zero (or below, by rounding): it is that of a length at the origin."""
    return z.clamp_min(torch.finfo(z.dtype).eps ** 2).sqrt()


class Asinh(torch.autograd.Function):
    @staticmethod
    def forward(ctx: FunctionCtx, r: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        ctx.save_for_backward(r)
        square = r * r
        return square.div_((square + 1).sqrt_().add_(1)).add_(r).log1p_()

    @staticmethod
    def backward(ctx: FunctionCtx, gradient: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        (r,) = ctx.saved_tensors
        return gradient * (r * r + 1).rsqrt()


def asinh(r: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """asinh(r) of r >= 0, by a logarithm: torch's own is ten times slower on a CPU."""
    return Asinh.apply(r)


def sinhc(z: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """sinh(r) / r of z = r^2, with r cut at `FARTHEST`."""
    r = root(z)
    return r.clamp_max(FARTHEST).sinh() / r


def tanhc(z: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """tanh(r) / r of z = r^2."""
    r = root(z)
    return r.tanh() / r


def asinhc(z: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """asinh(r) / r of z = r^2."""
    r = root(z)
    return asinh(r) / r


def atanhc(z: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """atanh(r) / r of z = r^2 < 1; from the last number below 1 on, what it is there."""
    r = root(z).clamp_max(1 - torch.finfo(z.dtype).eps)
    return r.atanh() / r
