"""The product of multivectors, blade-major: the bilinear map of Clifford networks (arXiv:2305.11141, arXiv:2305.18415)."""

import torch
from jaxtyping import Float
from torch import Tensor

from ..errors import UserError
from ..geometry.clifford import Signature, blades, product_table, product_terms
from .compiled import Compiled, no_compiler
from .geometric_native import Forms
from .geometric_terms import LEFT, OUT, RIGHT, unrolled
from .native import native_backend
from .registry import Backend, Cost, Op, plain, traffic
from .triton import backend

GENERATORS = 5  # how many the unrolled product takes: 4^5 terms compile in reasonable time, 4^6 do not


def geometric_product(
    x: Float[Tensor, "blades *rest"], y: Float[Tensor, "blades *rest"], *, signature: Signature
) -> Float[Tensor, "blades *rest"]:
    """The product x y in the algebra G(p, q, r) of `signature`, for each element of the trailing axes.

    The first axis holds the 2^(p+q+r) blades in the order of `erlangen.geometry.clifford`: (16, nodes, channels) in
    projective geometric algebra, signature (3, 0, 1), and (2^n, ...) in G(n, 0, 0), signature (n, 0, 0).
    """
    return torch.einsum("ijk,i...,j...->k...", product_table(signature, x.dtype, x.device), x, y)


class Unrolled:
    """The unrolled product and its two gradients, which are all that derivatives of any order need.

    Each is compiled on its own, at its first use, for flat rows, so that one compilation serves any number of axes.
    """

    def __init__(self, signature: Signature):
        self.forms = tuple(Compiled(unrolled(signature, place)) for place in (LEFT, RIGHT, OUT))

    def __call__(self, x: Tensor, y: Tensor) -> Tensor:
        rows = x.unsqueeze(-1).flatten(1), y.unsqueeze(-1).flatten(1)
        if torch.compiler.is_compiling() or x.numel() == 0:
            return self.forms[OUT](*rows).view_as(x)
        return Form.apply(self.forms, OUT, *rows).view_as(x)


class Form(torch.autograd.Function):
    """A multilinear sum without the factor at `place`; its gradients are the same sum without another factor.

    `forms` has a `Compiled` for each place, which takes the factors at all others in rising order.
    """

    @staticmethod
    def forward(ctx, forms, place, *factors):
        ctx.forms, ctx.place = forms, place
        ctx.save_for_backward(*factors)
        return forms[place].run(*factors)

    @staticmethod
    def backward(ctx, gradient):
        places = range(len(ctx.forms))
        given = [place for place in places if place != ctx.place]
        factors = dict(zip(given, ctx.saved_tensors, strict=True)) | {ctx.place: gradient}
        gradients = [
            Form.apply(ctx.forms, place, *(factors[other] for other in places if other != place)) if needed else None
            for place, needed in zip(given, ctx.needs_input_grad[2:], strict=True)
        ]
        return None, None, *gradients


def too_many(signature: Signature) -> str | None:
    n = sum(signature)
    return (
        f"{4**n} products of blades are too many to unroll; at most {GENERATORS} generators" if n > GENERATORS else None
    )


def check(x: Tensor, y: Tensor, *, signature: Signature) -> None:
    count = len(blades(signature))
    if x.ndim == 0 or x.shape != y.shape or x.shape[0] != count:
        raise UserError(
            f"geometric_product: x {tuple(x.shape)} and y {tuple(y.shape)}; "
            f"G{signature} has {count} blades, give both as ({count}, ...) of one shape"
        )


def cost(out: Tensor, x: Tensor, y: Tensor, *, signature: Signature) -> Cost:
    """A multiplication and an addition for each term."""
    elements = x.numel() // len(blades(signature))
    return Cost(2 * len(product_terms(signature)) * elements, traffic(out, x, y))


def example(dtype, device, seed, *, signature=(3, 0, 1), nodes=6, channels=4):
    g = torch.Generator().manual_seed(seed)
    x, y = torch.randn(2, len(blades(signature)), nodes, channels, generator=g, dtype=torch.float64)
    return (x.to(device, dtype), y.to(device, dtype)), {"signature": signature}


OP = Op(
    reference=geometric_product,
    backends={
        "native": native_backend(lambda signature: Forms(signature).forms[OUT], refuses=too_many),
        "compiled": Backend(Unrolled, missing=no_compiler, refuses=too_many),
        "reference": Backend(plain(geometric_product), device=None),
        "triton": backend("geometric_product", refuses=too_many),
    },
    check=check,
    cost=cost,
    example=example,
)
