"""The squared length of all that a convolution sees of a map at once."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import conv2d

from ..errors import UserError
from .hyperbolic_rows import random_tensors
from .native import call, native
from .registry import Cost, Op, traffic


def window_squares(
    maps: Float[Tensor, "samples h w channels"], *, kernel: int, stride: int, padding: int
) -> Float[Tensor, "samples h_out w_out"]:
    """The sum of squares over every window of a convolution."""
    squares = maps.square().sum(3).unsqueeze(1)
    return conv2d(squares, maps.new_ones(1, 1, kernel, kernel), stride=stride, padding=padding).squeeze(1)


def forward(maps, *, kernel, stride, padding):
    size = [(length + 2 * padding - kernel) // stride + 1 for length in maps.shape[1:3]]
    out = maps.new_empty(len(maps), *size)
    call("window_squares", maps, out, *maps.shape, *size, kernel, stride, padding)
    return out, ()


def backward(gradient, args, saved, *, kernel, stride, padding):
    (maps,) = args
    by_maps = torch.empty_like(maps)
    call("window_squares_backward", gradient, maps, by_maps, *maps.shape, *gradient.shape[1:], kernel, stride, padding)
    return [by_maps]


def check(maps: Tensor, *, kernel: int, stride: int, padding: int) -> None:
    if maps.ndim != 4 or min(maps.shape[1:3]) + 2 * padding < kernel:
        raise UserError(
            f"window_squares: maps {tuple(maps.shape)} for windows of {kernel} with padding {padding}; "
            "give (samples, h, w, channels) of at least a window"
        )


def cost(out, maps, *, kernel, stride, padding) -> Cost:
    return Cost(2 * maps.numel() + kernel**2 * out.numel(), traffic(out, maps))


def example(dtype, device, seed, *, samples=2, channels=3, size=7):
    spec = {"kernel": 3, "stride": 2, "padding": 1}
    return tuple(random_tensors(seed, dtype, device, (samples, size, size, channels))), spec


OP = Op(
    reference=window_squares,
    backends={"native": native(window_squares, forward, backward)},
    check=check,
    cost=cost,
    example=example,
)
