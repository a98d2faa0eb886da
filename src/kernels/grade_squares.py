"""The square of each grade of a multivector: what layers know that treat each grade by itself (arXiv:2305.11141)."""

import torch
from jaxtyping import Float
from torch import Tensor

from ..errors import UserError
from ..geometry.clifford import Signature, blade_squares, blades, squares
from .grades import grade_of, products, scaled
from .native import native
from .registry import Cost, Op, traffic


def grade_squares(x: Float[Tensor, "blades *rest"], *, signature: Signature) -> Float[Tensor, "grades *rest"]:
    """<<x>_a~ <x>_a>_0 for each grade a, in the algebra G(p, q, r); negative where generators square to -1."""
    signs = blade_squares(signature, dtype=x.dtype, device=x.device)
    grade = grade_of(signature, dtype=torch.int64, device=x.device)
    terms = signs.view(-1, *[1] * (x.ndim - 1)) * x * x
    return x.new_zeros(len(squares(signature)) + 1, *x.shape[1:]).index_add(0, grade, terms)


def forward(x, *, signature):
    return products(x, x, blade_squares(signature, dtype=x.dtype, device=x.device), signature), ()


def backward(gradient, args, _, *, signature):
    (x,) = args
    return [scaled(x, gradient, 2 * blade_squares(signature, dtype=x.dtype, device=x.device), signature)]


def check(x: Tensor, *, signature: Signature) -> None:
    count = len(blades(signature))
    if x.ndim == 0 or len(x) != count:
        raise UserError(f"grade_squares: x {tuple(x.shape)}; G{signature} has {count} blades, give ({count}, ...)")


def cost(out: Tensor, x: Tensor, *, signature: Signature) -> Cost:
    return Cost(2 * x.numel(), traffic(out, x))


def example(dtype, device, seed, *, signature=(2, 1, 0), rows=6, channels=4):
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(len(blades(signature)), rows, channels, generator=g, dtype=torch.float64)
    return (x.to(device, dtype),), {"signature": signature}


OP = Op(
    reference=grade_squares,
    backends={"native": native(grade_squares, forward, backward)},
    check=check,
    cost=cost,
    example=example,
)
