"""The product of multivectors with a weight for each triple of grades: the bilinear layer of Clifford group equivariant
networks (arXiv:2305.11141), blade-major."""

from collections import defaultdict
from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ..errors import UserError
from ..geometry.clifford import Signature, blades, grade_paths, grades, product_terms
from ..geometry.tables import constant_table
from .compiled import Compiled, no_compiler
from .geometric_product import Form
from .geometric_product import too_many as too_many_to_write_out
from .native import native
from .registry import Backend, Cost, Op, plain, traffic
from .weighted_native import backward, forward

BLOCK = 2**16
"""How many numbers of a multivector array are worked on at a time."""
GENERATORS = 4
"""How many the unrolled product takes: with their weights 4^5 terms take more than three minutes to compile."""


def weighted_geometric_product(
    x: Float[Tensor, "blades rows channels"],
    y: Float[Tensor, "blades rows channels"],
    weight: Float[Tensor, "paths channels"],
    *,
    signature: Signature,
) -> Float[Tensor, "blades rows channels"]:
    """sum over (a, b, c) of weight[(a, b, c)] <<x>_a <y>_b>_c, channel by channel, in the algebra G(p, q, r).

    <.>_a is the part of grade a; `erlangen.geometry.clifford.grade_paths` lists the triples. It commutes with the Pin group,
    since each of its terms does.
    """
    right, factors, _ = _factors(weight, signature, "out", "right")
    out = torch.zeros_like(x)
    for blade in range(len(x)):
        out = out + x[blade] * factors[blade] * y.index_select(0, right[blade])
    return out


def _factors(weight: Float[Tensor, "paths channels"], signature: Signature, at: str, to: str) -> tuple[Tensor, ...]:
    """For each left blade and each blade `at` ("right" or "out") the one that it leads `to`, the factor, and the path.

    The factors, signs times weights, have the shape (left, at, 1, channels); where there is no term they are 0.
    """
    index, path = _tables(signature, at, to, dtype=torch.int64, device=weight.device)
    signs = _signs(signature, at, dtype=weight.dtype, device=weight.device)
    return index, (signs[..., None] * weight[path]).unsqueeze(2), path


@constant_table
def _tables(signature: Signature, at: str, to: str) -> np.ndarray:
    """(2, left, at): the third blade of each term, and its path; 0 where there is none."""
    size, path = len(blades(signature)), _path_of(signature)
    table = np.zeros((2, size, size), dtype=np.int64)
    for term in product_terms(signature):
        table[:, term.left, getattr(term, at)] = getattr(term, to), path(term)
    return table


@constant_table
def _signs(signature: Signature, at: str) -> np.ndarray:
    """(left, at): the signs of those terms."""
    size = len(blades(signature))
    table = np.zeros((size, size))
    for term in product_terms(signature):
        table[term.left, getattr(term, at)] = term.sign
    return table


def _path_of(signature: Signature) -> Callable:
    number = {path: i for i, path in enumerate(grade_paths(signature))}
    grade = grades(signature)
    return lambda term: number[grade[term.left], grade[term.right], grade[term.out]]


LEFT, RIGHT, OUT, WEIGHT = range(4)  # the four places of a term: left factor, right factor, product, weight


def unrolled(signature: Signature, place: int = OUT) -> Callable:
    """The sum of sign * weight * left * right * out over all terms, differentiated by the factor at `place`.

    It maps the factors at the other places, in their order, to what stands there. Terms of one weight are added up first.
    """
    path = _path_of(signature)
    first, second = (other for other in (LEFT, RIGHT, OUT) if other != place) if place != WEIGHT else (LEFT, RIGHT)
    terms: dict = defaultdict(lambda: defaultdict(list))
    for term in product_terms(signature):
        key = (path(term), term.out) if place == WEIGHT else (term[place], path(term))
        terms[key[0]][key[1]].append((term[first], term[second], term.sign > 0))
    plan = tuple(tuple((key, tuple(group)) for key, group in terms[place].items()) for place in sorted(terms))

    def form(a, b, c):
        """c: the weights (paths, channels), or where the place is theirs the products' factors (blades, rows, channels)."""
        a, b, c = a.unbind(0), b.unbind(0), c.unbind(0)
        out = []
        for groups in plan:
            total = torch.zeros_like(a[0])
            for key, group in groups:
                part = torch.zeros_like(a[0])
                for i, j, positive in group:
                    part = part + a[i] * b[j] if positive else part - a[i] * b[j]
                total = total + part * c[key]
            out.append(total)
        stacked = torch.stack(out)
        return stacked.sum(1) if place == WEIGHT else stacked

    return form


class Unrolled:
    """The unrolled product and its three gradients, which are all that derivatives of any order need."""

    def __init__(self, signature: Signature):
        self.forms = tuple(Compiled(unrolled(signature, place)) for place in (LEFT, RIGHT, OUT, WEIGHT))

    def __call__(self, x: Tensor, y: Tensor, weight: Tensor) -> Tensor:
        if torch.compiler.is_compiling() or x.numel() == 0:
            return self.forms[OUT](x, y, weight)
        return Form.apply(self.forms, OUT, x, y, weight)


class Blocked(torch.autograd.Function):
    """The reference on few rows at a time, so that all of it stays in the cache; gradients recompute rather than save."""

    @staticmethod
    def forward(ctx, x, y, weight, signature):
        ctx.save_for_backward(x, y, weight)
        ctx.signature = signature
        right, factors, _ = _factors(weight, signature, "out", "right")
        out = torch.zeros_like(x)
        for a, b, total in zip(*map(_blocks, (x, y, out)), strict=True):
            for blade in range(len(x)):
                total.addcmul_(factors[blade] * b.index_select(0, right[blade]), a[blade])
        return out

    @staticmethod
    def backward(ctx, gradient):
        if torch.is_grad_enabled():  # somebody will differentiate the gradients, which the reference's can be
            wanted = [x for x, needed in zip(ctx.saved_tensors, ctx.needs_input_grad, strict=False) if needed]
            out = weighted_geometric_product(*ctx.saved_tensors, signature=ctx.signature)
            found = iter(torch.autograd.grad(out, wanted, gradient, create_graph=True))
            return *(next(found) if needed else None for needed in ctx.needs_input_grad[:3]), None
        x, y, weight = ctx.saved_tensors
        right, factors, path = _factors(weight, ctx.signature, "out", "right")
        out, turned, _ = _factors(weight, ctx.signature, "right", "out")
        signs = _signs(ctx.signature, "out", dtype=x.dtype, device=x.device)
        by_x, by_y, by_weight = map(torch.zeros_like, (x, y, weight))
        for a, b, g, to_a, to_b in zip(*map(_blocks, (x, y, gradient, by_x, by_y)), strict=True):
            for blade in range(len(x)):
                other = b.index_select(0, right[blade]) * g
                to_a[blade] = (other * factors[blade]).sum(0)
                to_b.addcmul_(turned[blade] * g.index_select(0, out[blade]), a[blade])
                by_weight.index_add_(0, path[blade], signs[blade][:, None] * (other * a[blade]).sum(1))
        return by_x, by_y, by_weight, None


def _blocks(x: Float[Tensor, "blades rows channels"]) -> tuple[Tensor, ...]:
    return x.split(max(1, BLOCK // max(1, x.shape[0] * x.shape[2])), dim=1)


def _blocked(*, signature: Signature) -> Callable:
    return lambda x, y, weight: Blocked.apply(x, y, weight, signature)


def _too_many(signature: Signature) -> str | None:
    n = sum(signature)
    if n <= GENERATORS:
        return None
    return f"{4**n} products of blades are too many to unroll; at most {GENERATORS} generators"


def check(x: Tensor, y: Tensor, weight: Tensor, *, signature: Signature) -> None:
    count, paths = len(blades(signature)), len(grade_paths(signature))
    if x.ndim != 3 or x.shape != y.shape or x.shape[0] != count or weight.shape != (paths, x.shape[2]):
        raise UserError(
            f"weighted_geometric_product: x {tuple(x.shape)}, y {tuple(y.shape)} and weight {tuple(weight.shape)}; "
            f"G{signature} has {count} blades and {paths} paths, give ({count}, rows, channels) twice and "
            f"({paths}, channels)"
        )


def cost(out: Tensor, x: Tensor, y: Tensor, weight: Tensor, *, signature: Signature) -> Cost:
    """A multiplication and an addition for each term, and the weights."""
    blade, path = len(blades(signature)), len(grade_paths(signature))
    return Cost(2 * (len(product_terms(signature)) + path) * x.numel() // blade, traffic(out, x, y, weight))


def example(dtype, device, seed, *, signature=(3, 0, 0), rows=6, channels=4):
    g = torch.Generator().manual_seed(seed)
    x, y = torch.randn(2, len(blades(signature)), rows, channels, generator=g, dtype=torch.float64)
    weight = torch.randn(len(grade_paths(signature)), channels, generator=g, dtype=torch.float64)
    return tuple(tensor.to(device, dtype) for tensor in (x, y, weight)), {"signature": signature}


OP = Op(
    reference=weighted_geometric_product,
    backends={
        "native": native(weighted_geometric_product, forward, backward, refuses=too_many_to_write_out),
        "compiled": Backend(Unrolled, missing=no_compiler, refuses=_too_many),
        "blocked": Backend(_blocked, device=("cpu",)),
        "reference": Backend(plain(weighted_geometric_product), device=None),
    },
    check=check,
    cost=cost,
    example=example,
)
