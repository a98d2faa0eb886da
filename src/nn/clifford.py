"""Layers on multivectors that commute with the Pin group of a Clifford algebra G(p, q, r), r being 0 or 1.

An odd versor u acts as x -> u x^ u^-1, x^ being the grade involution, an even one as u x u^-1. Multivectors are blade-major,
(blades, rows, channels), in the order of `erlangen.geometry.clifford`. Sources: GATr (arXiv:2305.18415) for projective
algebra, Clifford group equivariant networks (arXiv:2305.11141) for the others.
"""

import math
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import gelu

from .. import kernels
from ..errors import UserError
from ..geometry.clifford import (
    Signature,
    blade_squares,
    blades,
    dual,
    grade_paths,
    grades,
    product_table,
    reverse,
    squares,
    undual,
)
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

    def forward(
        self, x: Float[Tensor, "blades rows channels"], scalars: Float[Tensor, "rows out"] | None = None
    ) -> Float[Tensor, "blades rows out"]:
        """`scalars` are added to the scalar components, as the bias is."""
        y = torch.bmm(x, self.weight.index_select(0, self.grade))
        if self.null_weight is not None:
            null_weight = self.null_weight.index_select(0, self.finite_grade)
            # in place, as what is added to below: y is new, and neither step needs it for a gradient
            y.index_add_(0, self.ideal, torch.bmm(x.index_select(0, self.finite), null_weight).to(y.dtype))
        for added in (self.bias, scalars):
            if added is not None:
                add_to_scalars(y, added)
        return y


def add_to_scalars(y: Float[Tensor, "blades rows channels"], added: Float[Tensor, "*#rows channels"]) -> None:
    """Adds to the scalar components, in place. (A slice's gradient is a tensor of zeros of all blades; this has none.)"""
    y.index_add_(0, torch.zeros(1, dtype=torch.long, device=y.device), added.to(y.dtype).expand_as(y[:1]))


def inner_product(
    x: Float[Tensor, "blades *rest"], y: Float[Tensor, "blades *rest"], signature: Signature
) -> Float[Tensor, "*rest"]:
    """<x~ y>_0, which every versor of unit length leaves as it is."""
    return torch.einsum("b...,b...,b->...", x, y, blade_squares(signature, dtype=x.dtype, device=x.device))


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


class GroupAction(nn.Module):
    """y_o = sum over channels i of w_oi a_oi x_i a_oi^-1: each a versor of its own, an isometry (arXiv:2302.06594).

    The versors are even elements of the algebra divided by their norm, rotations and translations. A sum of such actions
    commutes with no group. Scalars have a linear layer, the bias included.

    Args:
        signature: (p, q, r) with at most three generators, or four of which one is null: there alone every even element
            with a norm is a versor up to a factor.
        grades: of the blades that multivectors have here; an action leaves grades as they are.
        channels, out: multivectors before and after.
    """

    def __init__(self, signature: Signature, grades: tuple[int, ...], channels: int, out: int):
        super().__init__()
        if sum(signature) > 3 + signature[2] or signature[2] > 1:
            raise UserError(f"GroupAction: in G{signature} an even element need not be a versor; at most (3, 0, 1)")
        self.signature = signature
        basis, square = blades(signature), squares(signature)
        self.even = [i for i, blade in enumerate(basis) if len(blade) % 2 == 0]
        self.kept = [i for i, blade in enumerate(basis) if len(blade) in grades]
        self.weight = nn.Parameter(torch.empty(out, channels).uniform_(-(channels**-0.5), channels**-0.5))
        self.bias = nn.Parameter(torch.zeros(out)) if 0 in grades else None
        turns = torch.tensor([float(all(square[g] for g in basis[i])) for i in self.even])
        self.versor = nn.Parameter(torch.empty(out, channels, len(self.even)).uniform_(-1, 1) * turns)

    def versors(self) -> Float[Tensor, "out channels blades"]:
        """a / |a|: with a a~ = s + p e_0123, a times (1 - p / (2 s) e_0123) / sqrt(s), e_0123 squaring to 0."""
        table = product_table(self.signature, self.versor.dtype, self.versor.device)
        a = self.versor.new_zeros(*self.versor.shape[:2], len(table)).index_copy(
            2, torch.tensor(self.even, device=self.versor.device), self.versor
        )
        square = torch.einsum("oia,oib,abc->oic", a, self.reversed(a), table)
        scale = square[..., :1].clamp(min=1e-12)
        a = a * scale.rsqrt()
        if not self.signature[2]:
            return a
        return a - torch.einsum("oia,ac->oic", a, table[:, -1]) * square[..., -1:] / (2 * scale)

    def reversed(self, a: Float[Tensor, "out channels blades"]) -> Float[Tensor, "out channels blades"]:
        return reverse(a.permute(2, 0, 1), self.signature).permute(1, 2, 0)

    def actions(self) -> Float[Tensor, "out channels kept kept"]:
        """The matrix of each single x -> a x a^-1 on the blades of the grades here."""
        table, a = product_table(self.signature, self.versor.dtype, self.versor.device), self.versors()
        left = torch.einsum("oia,ajk->oijk", a, table[:, self.kept])
        right = torch.einsum("oib,kbl->oikl", self.reversed(a), table[:, :, self.kept])
        return (left @ right).mT

    def forward(self, x: Float[Tensor, "kept rows channels"]) -> Float[Tensor, "kept rows out"]:
        y = torch.einsum("oi,oilj,jri->lro", self.weight, self.actions(), x)
        if self.bias is not None:
            add_to_scalars(y, self.bias)
        return y


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


class Grades(nn.Module):
    """What layers that treat each grade by itself share: a square and a factor of each.

    Args:
        choice: which backends run them.
        signature: (p, q, r).
    """

    def __init__(self, choice: Kernels, signature: Signature):
        super().__init__()
        self.count = len(squares(signature)) + 1
        self.grade_squares = kernels.get("grade_squares", choice, signature=signature)
        self.grade_scale = kernels.get("grade_scale", choice, signature=signature)


def smooth_root(square: Tensor) -> Tensor:
    """sqrt(|square|), with a gradient at 0: what it is there is 1e-4."""
    return (square.square() + 1e-16) ** 0.25


class GradeNorm(Grades):
    """<x>_a / (1 + sigmoid(s_a) (|<x>_a| - 1)): from half way to the norm on, a channel and grade learns how far it goes."""

    def __init__(self, choice: Kernels, signature: Signature, channels: int):
        super().__init__(choice, signature)
        self.share = nn.Parameter(torch.zeros(self.count, 1, channels))

    def forward(self, x: Float[Tensor, "blades rows channels"]) -> Float[Tensor, "blades rows channels"]:
        norm = 1 + torch.sigmoid(self.share) * (smooth_root(self.grade_squares(x)) - 1)
        return self.grade_scale(x, 1 / (norm + 1e-6))


class GradeSiLU(Grades):
    """sigmoid(w_a f_a + b_a) <x>_a, f_a the scalar itself at grade 0 and the square of <x>_a at any other."""

    def __init__(self, choice: Kernels, signature: Signature, channels: int):
        super().__init__(choice, signature)
        self.weight = nn.Parameter(torch.ones(self.count, 1, channels))
        self.bias = nn.Parameter(torch.zeros(self.count, 1, channels))

    def forward(self, x: Float[Tensor, "blades rows channels"]) -> Float[Tensor, "blades rows channels"]:
        invariants = torch.cat([x[:1], self.grade_squares(x)[1:]])
        return self.grade_scale(x, torch.sigmoid(self.weight * invariants + self.bias))


class ChannelNorm(Grades):
    """a_c x_c / mean over channels of |x|."""

    def __init__(self, choice: Kernels, signature: Signature, channels: int):
        super().__init__(choice, signature)
        self.scale = nn.Parameter(torch.ones(channels))

    def forward(self, x: Float[Tensor, "blades rows channels"]) -> Float[Tensor, "blades rows channels"]:
        norm = smooth_root(self.grade_squares(x).sum(0)).mean(-1, keepdim=True)
        return self.grade_scale(x, (self.scale / (norm + 1e-6)).expand(self.count, -1, -1))


class GeometricProductLayer(nn.Module):
    """(L x + P(x, norm(R x))) / sqrt(2): L and R linear, P the geometric product with a weight for each triple of grades."""

    def __init__(self, choice: Kernels, signature: Signature, channels: int):
        super().__init__()
        self.left = CliffordLinear(signature, channels, channels, gain=math.sqrt(3))
        self.right = CliffordLinear(signature, channels, channels, bias=False, gain=math.sqrt(3))
        self.norm = GradeNorm(choice, signature, channels)
        self.product = kernels.get("weighted_geometric_product", choice, signature=signature)
        scale = 1 / math.sqrt(len(squares(signature)) + 1)
        self.weight = nn.Parameter(scale * torch.randn(len(grade_paths(signature)), channels))

    def forward(self, x: Float[Tensor, "blades rows channels"]) -> Float[Tensor, "blades rows channels"]:
        return (self.left(x) + self.product(x, self.norm(self.right(x)), self.weight)) / math.sqrt(2)


class CliffordMLP(nn.Sequential):
    """So many times a linear map, SiLU, a geometric product layer and a norm.

    Args:
        choice: which backends run the geometric product.
        signature: (p, q, r).
        channels, hidden, out: multivectors before, between and after.
        layers: how many times.
    """

    def __init__(self, choice: Kernels, signature: Signature, channels: int, hidden: int, out: int, layers: int):
        widths = [channels, *[hidden] * (layers - 1), out]
        super().__init__(
            *(
                nn.Sequential(
                    CliffordLinear(signature, before, after, gain=math.sqrt(3)),
                    GradeSiLU(choice, signature, after),
                    GeometricProductLayer(choice, signature, after),
                    ChannelNorm(choice, signature, after),
                )
                for before, after in pairwise(widths)
            )
        )
