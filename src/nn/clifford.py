"""Layers on multivectors that commute with the Pin group of a Clifford algebra G(p, q, r), r being 0 or 1.

An odd versor u acts as x -> u x^ u^-1, x^ being the grade involution, an even one as u x u^-1. Multivectors are blade-major,
(blades, rows, channels), in the order of `erlangen.geometry.clifford`. Sources: GATr (arXiv:2305.18415) for projective
algebra, Clifford group equivariant networks (arXiv:2305.11141) for the others.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import gelu

from .. import kernels
from ..errors import UserError
from ..geometry.clifford import Signature, blades, dual, grades, squares, undual
from ..kernels import Kernels


class CliffordLinear(nn.Module):
    """The linear maps that commute with the Pin group: a matrix a grade, and with a null generator e0 one for e0 <x>_g.

    (arXiv:2305.18415, eq. 4: 9 matrices in G(3, 0, 1).) Weights are uniform with variance 1 / (3 inputs), divided among the
    terms that reach a grade. A bias is a scalar; `shift` is where it starts.

    Args:
        signature: (p, q, r).
        channels, out: multivectors before and after.
        bias: whether the scalar components have one.
        gain: factor of the initial weights.
        shift: initial value of the bias.
    """

    def __init__(
        self, signature: Signature, channels: int, out: int, bias: bool = True, gain: float = 1.0, shift: float = 0.0
    ):
        super().__init__()
        if signature[2] > 1:
            raise UserError(f"CliffordLinear: G{signature} has more than one null generator")
        basis, grade = blades(signature), grades(signature)
        bound = gain / math.sqrt(channels)
        top = len(squares(signature))
        self.weight = nn.Parameter(torch.empty(top + 1, channels, out).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.full((out,), shift)) if bias else None
        self.register_buffer("grade", torch.tensor(grade), persistent=False)
        self.null_weight = None
        if signature[2]:
            # e0 comes first, so that e0 times a blade without it is the blade with it, sign +
            ideal = [blade for blade in basis if 0 in blade]
            self.null_weight = nn.Parameter(torch.empty(top, channels, out).uniform_(-bound, bound))
            self.register_buffer("ideal", torch.tensor([basis.index(b) for b in ideal]), persistent=False)
            self.register_buffer("finite", torch.tensor([basis.index(b[1:]) for b in ideal]), persistent=False)
            self.register_buffer("finite_grade", torch.tensor([len(b) - 1 for b in ideal]), persistent=False)

    def forward(self, x: Float[Tensor, "blades rows channels"]) -> Float[Tensor, "blades rows out"]:
        y = torch.bmm(x, self.weight[self.grade])
        if self.null_weight is not None:
            y = y.index_add(0, self.ideal, torch.bmm(x[self.finite], self.null_weight[self.finite_grade]).to(y.dtype))
        if self.bias is not None:
            y = torch.cat([y[:1] + self.bias, y[1:]])
        return y


def blade_signs(signature: Signature, like: Tensor) -> Float[Tensor, "blades"]:
    """<b~ b>_0 of each basis blade b: the product of its generators' squares."""
    square = squares(signature)
    return like.new_tensor([math.prod(square[i] for i in blade) for blade in blades(signature)])


def inner_product(
    x: Float[Tensor, "blades *rest"], y: Float[Tensor, "blades *rest"], signature: Signature
) -> Float[Tensor, "*rest"]:
    """<x~ y>_0, which every versor of unit length leaves as it is."""
    return torch.einsum("b...,b...,b->...", x, y, blade_signs(signature, x))


def layer_norm(
    x: Float[Tensor, "blades rows channels"], signature: Signature, epsilon: float = 0.01
) -> Float[Tensor, "blades rows channels"]:
    """x / sqrt(mean over channels of <x~ x>), the mean being at least epsilon (arXiv:2305.18415, section 3.2).

    The bound is large, because components that do not enter the norm are divided by it too.
    """
    square = inner_product(x, x, signature).mean(-1, keepdim=True)
    return x * square.clamp(min=epsilon).rsqrt()


def gated_gelu(x: Float[Tensor, "blades rows channels"]) -> Float[Tensor, "blades rows channels"]:
    """GELU(<x>_0) x: a multivector's scalar component is its gate (arXiv:2305.18415, section 3.2)."""
    return gelu(x[:1], approximate="tanh") * x


class Bilinear(nn.Module):
    """Products of pairs of multivectors: geometric ones, and joins (arXiv:2305.18415, eq. 6).

    The join is the dual of the outer product of duals. Its sign depends on the orientation of space, which an odd versor
    turns over; the pseudoscalar part of a reference multivector, e_123 in projective algebra, turns along with it.

    Args:
        choice: which backends run the geometric product.
        signature: (p, q, 1).
    """

    def __init__(self, choice: Kernels, signature: Signature):
        super().__init__()
        self.signature, (p, q, r) = signature, signature
        if r != 1:
            raise UserError(f"Bilinear: joins need an algebra with one null generator, and G{signature} has {r}")
        self.geometric_product = kernels.get("geometric_product", choice, signature=signature)
        self.outer_product = kernels.get("geometric_product", choice, signature=(0, 0, p + q + r))
        self.volume = blades(signature).index(tuple(range(1, p + q + r)))

    def product(
        self, x: Float[Tensor, "blades rows channels"], y: Float[Tensor, "blades rows channels"]
    ) -> Float[Tensor, "blades rows channels"]:
        return self.geometric_product(x, y)

    def join(
        self,
        x: Float[Tensor, "blades rows channels"],
        y: Float[Tensor, "blades rows channels"],
        reference: Float[Tensor, "blades rows 1"],
    ) -> Float[Tensor, "blades rows channels"]:
        duals = dual(x, self.signature), dual(y, self.signature)
        return reference[self.volume] * undual(self.outer_product(*duals), self.signature)
