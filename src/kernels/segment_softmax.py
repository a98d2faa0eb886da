"""Softmax over the edges that arrive at each node: the weights of graph attention."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..errors import UserError
from .compiled import Compiled, no_compiler
from .native import call, native
from .registry import Backend, Cost, Op, plain, traffic
from .segment import check_range, check_segments
from .triton import backend


def segment_softmax(
    logits: Float[Tensor, "edges heads"], index: Int[Tensor, " edges"], size: int
) -> Float[Tensor, "edges heads"]:
    """exp(logit) over the sum of exp(logit) in its segment, head by head.

    Rows may come in any order. A logit of -inf masks its edge: weight 0, even if its segment has no other edge.
    """
    return _normalized(logits, _segment_top(logits, index, size), index, size)


def _normalized(logits: Tensor, top: Tensor, index: Tensor, size: int) -> Tensor:
    """`top` (size, heads) is subtracted lest exp overflows; it cancels."""
    weight = torch.exp(logits - top.index_select(0, index))
    total = torch.zeros_like(top).index_add(0, index, weight)
    return weight / total.masked_fill(total == 0, 1).index_select(0, index)


def _segment_top(logits: Tensor, index: Tensor, size: int) -> Tensor:
    """The largest logit of each segment and head (size, heads); 0 where none is finite."""
    start = logits.new_full((size, logits.shape[1]), -torch.inf)
    top = start.scatter_reduce(0, index.long().unsqueeze(1).expand_as(logits), logits.detach(), "amax")
    return top.masked_fill(top == -torch.inf, 0)


def _pullback(gradient: Tensor, weight: Tensor, index: Tensor, size: int) -> Tensor:
    """p (g - sum over the segment of p g), which needs the weights p alone."""
    product = gradient * weight
    total = product.new_zeros(size, weight.shape[1]).index_add(0, index, product)
    return product - weight * total.index_select(0, index)


class _Softmax(torch.autograd.Function):
    """Forward and pullback of `implementation`; the weights are all that is saved."""

    @staticmethod
    def forward(ctx, implementation, logits, index, size):
        ctx.implementation, ctx.size = implementation, size
        weight = implementation.forward(logits.detach(), index, size)
        ctx.save_for_backward(weight, index)
        return weight

    @staticmethod
    def backward(ctx, gradient):
        weight, index = ctx.saved_tensors
        return None, ctx.implementation.backward(gradient, weight, index, ctx.size), None, None


class CompiledSoftmax:
    """Maximum by torch's own kernel, since Inductor generates none, and the rest compiled."""

    def __init__(self):
        self.normalized, self.pullback = Compiled(_normalized), Compiled(_pullback)

    def __call__(self, logits: Tensor, index: Tensor, size: int) -> Tensor:
        if torch.compiler.is_compiling() or logits.numel() == 0:
            return segment_softmax(logits, index, size)
        return _Softmax.apply(self, logits, index, size)

    def forward(self, logits: Tensor, index: Tensor, size: int) -> Tensor:
        """The weights."""
        return self.normalized.run(logits, _segment_top(logits, index, size), index, size)

    def backward(self, gradient: Tensor, weight: Tensor, index: Tensor, size: int) -> Tensor:
        """The gradient of the logits, differentiable itself."""
        return self.pullback(gradient, weight, index, size)


def forward(logits, index, size):
    out = torch.empty_like(logits)
    if call("segment_softmax", logits, index.long(), out, *logits.shape, size):
        check_values(logits, index, size)
    return out, (out,)


def backward(gradient, args, saved):
    (weight,), (_, index, size) = saved, args
    by_logits = torch.empty_like(weight)
    call("segment_softmax_backward", gradient, weight, index.long(), by_logits, *weight.shape, size)
    return [by_logits, None]


def pullback(gradient, args, saved):
    (weight,), (_, index, size) = saved, args
    return [_pullback(gradient, weight, index, size), None]


def check(logits: Tensor, index: Tensor, size: int) -> None:
    check_segments(logits, index, size)
    if logits.ndim != 2:
        raise UserError(f"segment_softmax: logits {tuple(logits.shape)}; give (edges, heads)")


def check_values(logits: Tensor, index: Tensor, size: int) -> None:
    check_range("segment_softmax", "index", index, size)


def checked(logits: Tensor, index: Tensor, size: int) -> Tensor:
    """The reference, for where the loops that look at indices themselves do not run."""
    check_values(logits, index, size)
    return segment_softmax(logits, index, size)


def cost(out: Tensor, logits: Tensor, index: Tensor, size: int) -> Cost:
    """Comparison, subtraction, exponential (counted as one), addition and division for each logit."""
    return Cost(5 * logits.numel(), traffic(out, logits, index))


def example(dtype, device, seed, *, nodes=40, degree=6, heads=4):
    g = torch.Generator().manual_seed(seed)
    index = torch.randint(nodes, (nodes * degree,), generator=g).sort().values
    logits = 3 * torch.randn(nodes * degree, heads, generator=g, dtype=torch.float64)
    return (logits.to(device, dtype), index.to(device), nodes), {}


OP = Op(
    reference=segment_softmax,
    backends={
        "native": native(checked, forward, backward, pullback, careful=True),
        "compiled": Backend(CompiledSoftmax, missing=no_compiler),
        "reference": Backend(plain(segment_softmax), device=None),
        "triton": backend("segment_softmax"),
    },
    check=check,
    check_values=check_values,
    cost=cost,
    example=example,
)
