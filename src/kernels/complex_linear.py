"""A complex linear map on real and imaginary parts: what mixes the rows +m and -m in the frame of an edge."""

import torch
from jaxtyping import Float
from torch import Tensor

from ..errors import UserError
from .registry import FLOATS, Backend, Cost, Op, plain, traffic


def complex_linear(
    x: Float[Tensor, "rows 2 channels_in"],
    real: Float[Tensor, "channels_in channels_out"],
    imaginary: Float[Tensor, "channels_in channels_out"],
) -> Float[Tensor, "rows 2 channels_out"]:
    """(x_0 + i x_1) (real + i imaginary): all linear maps of pairs of features that commute with turns of the pairs."""
    matrix = torch.cat([torch.cat([real, imaginary], 1), torch.cat([-imaginary, real], 1)])
    return (x.flatten(1) @ matrix).unflatten(1, (2, -1))


def with_three_products(x: Tensor, real: Tensor, imaginary: Tensor) -> Tensor:
    """With three products of matrices in the place of four: a d + b c = (a + b) (c + d) - a c - b d (Gauss)."""
    first, second = x.unbind(1)
    ac, bd, both = first @ real, second @ imaginary, (first + second) @ (real + imaginary)
    return torch.stack([ac - bd, both - ac - bd], 1)


def check(x: Tensor, real: Tensor, imaginary: Tensor) -> None:
    if x.ndim != 3 or x.shape[1] != 2:
        raise UserError(f"complex_linear: x {tuple(x.shape)}; give (rows, 2, channels), real and imaginary parts")
    if real.ndim != 2 or real.shape != imaginary.shape or real.shape[0] != x.shape[2]:
        raise UserError(
            f"complex_linear: weights {tuple(real.shape)}, {tuple(imaginary.shape)}; give both ({x.shape[2]}, channels out)"
        )


def cost(out: Tensor, x: Tensor, real: Tensor, imaginary: Tensor) -> Cost:
    """Three products of matrices; the sums around them are counted too."""
    rows, _, channels_in = x.shape
    channels_out = real.shape[1]
    flop = 6 * rows * channels_in * channels_out + rows * (channels_in + 3 * channels_out) + real.numel()
    return Cost(flop, traffic(out, x, real, imaginary))


def example(dtype, device, seed, *, rows=6, channels_in=5, channels_out=4):
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(rows, 2, channels_in, generator=g, dtype=torch.float64)
    real, imaginary = torch.randn(2, channels_in, channels_out, generator=g, dtype=torch.float64).unbind()
    return tuple(a.to(device, dtype) for a in (x, real, imaginary)), {}


OP = Op(
    reference=complex_linear,
    backends={"three": Backend(plain(with_three_products), device=("cpu",), dtypes=FLOATS[:2])},
    check=check,
    cost=cost,
    example=example,
)
