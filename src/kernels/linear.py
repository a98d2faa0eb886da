"""A linear layer, y = x W^T + b, which oneDNN may do faster on a CPU than the BLAS that torch calls.

One thread of a Zen 4 took a tenth to a fifth less time than torch's MKL for thousands of rows, and less with gradients (by
weights they stay torch's); for a few hundred rows nothing is gained. oneDNN makes code for every new number of rows, which
takes a millisecond or two.
"""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import linear as reference

from ..errors import UserError
from .registry import Backend, Cost, Op, plain, traffic


def linear(
    x: Float[Tensor, "*rows channels_in"],
    weight: Float[Tensor, "channels_out channels_in"],
    bias: Float[Tensor, " channels_out"] | None = None,
) -> Float[Tensor, "*rows channels_out"]:
    """x W^T + b."""
    return reference(x, weight, bias)


def with_onednn(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    if torch.compiler.is_compiling() or x.numel() == 0:
        return reference(x, weight, bias)
    return _OneDNN.apply(x, weight, bias)


class _OneDNN(torch.autograd.Function):
    """Derivatives are made of differentiable operations, so that there are some of any order."""

    @staticmethod
    def forward(ctx, x, weight, bias):
        ctx.save_for_backward(x, weight)
        # of parts of a larger matrix it would be a thousand times slower
        return torch.ops.mkldnn._linear_pointwise(x, weight.contiguous(), bias, "none", [], "")

    @staticmethod
    def backward(ctx, gradient):
        x, weight = ctx.saved_tensors
        by_x, by_weight, by_bias = ctx.needs_input_grad
        rows = gradient.reshape(-1, len(weight))
        return (
            with_onednn(gradient, weight.t()) if by_x else None,
            rows.t() @ x.reshape(-1, x.shape[-1]) if by_weight else None,
            rows.sum(0) if by_bias else None,
        )


def no_onednn() -> str | None:
    """What this build of torch lacks, or None."""
    has = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")
    return None if has else "this build of torch has no oneDNN"


def check(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> None:
    if weight.ndim != 2 or x.ndim < 1 or x.shape[-1] != weight.shape[1]:
        raise UserError(
            f"linear: x {tuple(x.shape)} and weight {tuple(weight.shape)}; give x (..., channels in) and weight "
            "(channels out, channels in)"
        )
    if bias is not None and bias.shape != weight.shape[:1]:
        raise UserError(f"linear: bias {tuple(bias.shape)} for {len(weight)} channels out; give ({len(weight)},)")


def cost(out: Tensor, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Cost:
    """A product of matrices."""
    return Cost(2 * x.numel() * len(weight), traffic(out, x, weight, bias))


def example(dtype, device, seed, *, rows=6, channels_in=5, channels_out=4):
    g = torch.Generator().manual_seed(seed)
    shapes = (rows, channels_in), (channels_out, channels_in), (channels_out,)
    return tuple(torch.randn(s, generator=g, dtype=torch.float64).to(device, dtype) for s in shapes), {}


OP = Op(
    reference=linear,
    backends={"onednn": Backend(plain(with_onednn), ("cpu",), (torch.float32,), missing=no_onednn)},
    check=check,
    cost=cost,
    example=example,
)
