"""The convolution kernel of a diagonal state space: sums of geometric series, as S4D computes it.

Gu, Gupta, Goel, Re, "On the Parameterization and Initialization of Diagonal State Space Models" (arXiv:2206.11893),
section 3.3.
"""

import math

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from ..errors import UserError
from .registry import COMPLEX, Backend, Cost, Op, plain, traffic


def vandermonde(
    coefficient: Complex[Tensor, "heads roots"], exponent: Complex[Tensor, "heads roots"], length: int
) -> Float[Tensor, "heads length"]:
    """K[h, l] = 2 Re sum over n of coefficient[h, n] exp(l exponent[h, n]), for l = 0 ... length - 1.

    The roots stand for conjugate pairs, hence twice the real part. In S4D the exponent is the step times A.
    """
    step = torch.arange(length, device=exponent.device, dtype=exponent.real.dtype)
    powers = torch.exp(exponent.unsqueeze(-1) * step)
    return 2 * torch.einsum("hn,hnl->hl", coefficient, powers).real


def two_level(
    coefficient: Complex[Tensor, "heads roots"], exponent: Complex[Tensor, "heads roots"], length: int
) -> Float[Tensor, "heads length"]:
    """The same with l = a width + b: exp(l z) = exp(a width z) exp(b z), two tables of about sqrt(length) powers each.

    Then the sum over roots is a product of real matrices, (a, 2 roots) by (2 roots, b).
    """
    width = math.isqrt(max(length - 1, 0)) + 1
    high_re, high_im = _powers(exponent, width * torch.arange(-(-length // width), device=exponent.device))
    low_re, low_im = _powers(exponent, torch.arange(width, device=exponent.device))
    c_re, c_im = coefficient.real.unsqueeze(1), coefficient.imag.unsqueeze(1)
    high = torch.cat([c_re * high_re - c_im * high_im, c_re * high_im + c_im * high_re], -1)
    low = torch.cat([low_re, -low_im], -1)
    return 2 * torch.bmm(high, low.transpose(1, 2)).flatten(1)[:, :length]


def _powers(exponent: Tensor, step: Tensor) -> tuple[Tensor, Tensor]:
    """Real and imaginary part of exp(step exponent), (heads, steps, roots).

    The phase is reduced in float64: a rounded angle of thousands of radians would be the largest error of all.
    """
    real, imaginary = exponent.real.unsqueeze(1), exponent.imag.unsqueeze(1)
    size = torch.exp(real * step.to(real.dtype).view(-1, 1))
    phase = torch.remainder(imaginary.double() * step.view(-1, 1), 2 * math.pi).to(real.dtype)
    return size * torch.cos(phase), size * torch.sin(phase)


def check(coefficient: Tensor, exponent: Tensor, length: int) -> None:
    if coefficient.shape != exponent.shape or coefficient.ndim != 2:
        raise UserError(
            f"vandermonde: coefficient {tuple(coefficient.shape)} and exponent {tuple(exponent.shape)}; "
            "give both as (heads, roots)"
        )
    if not (coefficient.is_complex() and exponent.is_complex()):
        raise UserError("vandermonde: coefficient and exponent must be complex")
    if length < 0:
        raise UserError(f"vandermonde: length={length}; give the number of steps")


def cost(out: Tensor, coefficient: Tensor, exponent: Tensor, length: int) -> Cost:
    """The matrix product of the two-level form, two real multiplications and additions for each root and step."""
    return Cost(4 * coefficient.numel() * length, traffic(out, coefficient, exponent))


def example(dtype, device, seed, *, heads=3, roots=4, length=37):
    """S4D-Lin: A = -1/2 + i pi n, steps between 1e-3 and 1e-1."""
    g = torch.Generator().manual_seed(seed)
    coefficient = torch.randn(heads, roots, generator=g, dtype=torch.complex128)
    step = 10 ** (-1 - 2 * torch.rand(heads, 1, generator=g, dtype=torch.float64))
    exponent = step * torch.complex(
        torch.full((roots,), -0.5, dtype=torch.float64), math.pi * torch.arange(roots, dtype=torch.float64)
    )
    return (coefficient.to(device, dtype), exponent.to(device, dtype), length), {}


OP = Op(
    reference=vandermonde,
    backends={"two_level": Backend(plain(two_level), device=None, dtypes=COMPLEX)},
    check=check,
    cost=cost,
    example=example,
    dtypes=COMPLEX,
)
