"""The geometric product: all blades of an element in registers, each term of the product one multiply-add."""

from collections.abc import Callable, Sequence
from functools import cache

import torch
import triton
import triton.language as tl
from torch import Tensor

from ...geometry.clifford import Signature, blades, product_terms
from ..geometric_terms import LEFT, OUT, RIGHT
from .launch import accumulator, jit, tuned


@tuned(
    {"BLOCK": 128, "num_warps": 4},
    {"BLOCK": 256, "num_warps": 4},
    {"BLOCK": 256, "num_warps": 8},
    {"BLOCK": 64, "num_warps": 2},
    key=["BLADES"],
)
@jit
def _kernel(first, second, out, n, TERMS: tl.constexpr, BLADES: tl.constexpr, ACC: tl.constexpr, BLOCK: tl.constexpr):
    """Rows are blades, and columns elements, of which a program takes BLOCK. TERMS[blade] are (i, j, sign)."""
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    live = at < n
    row = tl.cast(n, tl.int64)
    a, b = (), ()
    for i in tl.static_range(BLADES):
        a = a + (tl.load(first + i * row + at, live, 0).to(ACC),)
        b = b + (tl.load(second + i * row + at, live, 0).to(ACC),)
    for k in tl.static_range(BLADES):
        total = tl.zeros([BLOCK], ACC)
        for t in tl.static_range(len(TERMS[k])):
            product = a[TERMS[k][t][0]] * b[TERMS[k][t][1]]
            total = total + product if TERMS[k][t][2] > 0 else total - product
        tl.store(out + k * row + at, total.to(out.dtype.element_ty), live)


PLACES = (LEFT, RIGHT, OUT)


@cache
def _terms(signature: Signature, place: int) -> tuple[tuple[tuple[int, int, int], ...], ...]:
    """For each blade at `place` the terms that have it there: the blades at the other places in rising order, the sign."""
    first, second = (other for other in PLACES if other != place)
    return tuple(
        tuple((term[first], term[second], term.sign) for term in product_terms(signature) if term[place] == blade)
        for blade in range(len(blades(signature)))
    )


@torch.library.custom_op("erlangen::geometric_form", mutates_args=())
def _form(first: Tensor, second: Tensor, signature: Sequence[int], place: int) -> Tensor:
    """The sum of sign * left * right * out over all terms without the factor at `place`: (blades, n)."""
    first, second = first.contiguous(), second.contiguous()
    out = torch.empty_like(first)
    n = out.shape[1]
    if n:
        terms = _terms(tuple(signature), place)
        with torch.cuda.device_of(out):
            _kernel[lambda meta: (triton.cdiv(n, meta["BLOCK"]),)](
                first, second, out, n, TERMS=terms, BLADES=len(terms), ACC=accumulator(out.dtype)
            )
    return out


@_form.register_fake
def _(first, second, signature, place):
    return torch.empty_like(first, memory_format=torch.contiguous_format)


def _setup(ctx, inputs, output):
    first, second, ctx.signature, ctx.place = inputs
    ctx.save_for_backward(first, second)


def _backward(ctx, gradient):
    """A gradient is the same sum without another factor."""
    others = [place for place in PLACES if place != ctx.place]
    factors = dict(zip(others, ctx.saved_tensors, strict=True)) | {ctx.place: gradient}
    gradients = [
        _form(*(factors[p] for p in PLACES if p != place), ctx.signature, place) if needed else None
        for place, needed in zip(others, ctx.needs_input_grad[:2], strict=True)
    ]
    return *gradients, None, None


_form.register_autograd(_backward, setup_context=_setup)


def build(signature: Signature) -> Callable:
    def product(x: Tensor, y: Tensor) -> Tensor:
        return _form(x.unsqueeze(-1).flatten(1), y.unsqueeze(-1).flatten(1), list(signature), OUT).view_as(x)

    return product
