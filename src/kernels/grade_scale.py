"""A multivector with each grade multiplied by a number of its own: gates and norms of Clifford networks (arXiv:2305.11141)."""

import torch
from jaxtyping import Float
from torch import Tensor

from ..errors import UserError
from ..geometry.clifford import Signature, blades, squares
from .grades import grade_of, products, scaled
from .native import native
from .registry import Cost, Op, traffic


def grade_scale(
    x: Float[Tensor, "blades *rest"], factor: Float[Tensor, "grades *rest"], *, signature: Signature
) -> Float[Tensor, "blades *rest"]:
    """The sum over grades a of factor_a <x>_a, in the algebra G(p, q, r)."""
    return factor.index_select(0, grade_of(signature, dtype=torch.int64, device=x.device)) * x


def forward(x, factor, *, signature):
    return scaled(x, factor, x.new_ones(len(x)), signature), ()


def backward(gradient, args, _, *, signature):
    x, factor = args
    ones = x.new_ones(len(x))
    return [scaled(gradient, factor, ones, signature), products(gradient, x, ones, signature)]


def check(x: Tensor, factor: Tensor, *, signature: Signature) -> None:
    count, grades = len(blades(signature)), len(squares(signature)) + 1
    if x.ndim == 0 or len(x) != count or factor.shape != (grades, *x.shape[1:]):
        raise UserError(
            f"grade_scale: x {tuple(x.shape)} and factor {tuple(factor.shape)}; G{signature} has {count} blades of {grades} "
            f"grades, give ({count}, ...) and ({grades}, ...)"
        )


def cost(out: Tensor, x: Tensor, factor: Tensor, *, signature: Signature) -> Cost:
    return Cost(x.numel(), traffic(out, x, factor))


def example(dtype, device, seed, *, signature=(2, 1, 0), rows=6, channels=4):
    g = torch.Generator().manual_seed(seed)
    sizes = len(blades(signature)), len(squares(signature)) + 1
    args = (torch.randn(size, rows, channels, generator=g, dtype=torch.float64) for size in sizes)
    return tuple(a.to(device, dtype) for a in args), {"signature": signature}


OP = Op(
    reference=grade_scale,
    backends={"native": native(grade_scale, forward, backward)},
    check=check,
    cost=cost,
    example=example,
)
