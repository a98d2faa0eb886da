"""Softmax over the edges that arrive at each node: the weights of graph attention."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..errors import UserError
from .compiled import Compiled, no_compiler
from .registry import Backend, Cost, Op, traffic
from .segment import check_segments


def segment_softmax(
    logits: Float[Tensor, "edges heads"], index: Int[Tensor, " edges"], size: int
) -> Float[Tensor, "edges heads"]:
    """exp(logit) over the sum of exp(logit) in its segment, head by head.

    Rows may come in any order. A logit of -inf masks its edge: weight 0, even if its segment has no other edge.
    """
    return _normalized(logits, _segment_top(logits, index, size), index, size)


def _normalized(logits: Tensor, top: Tensor, index: Tensor, size: int) -> Tensor:
    """`top` (size, heads) is subtracted lest exp overflows; it cancels."""
    weight = torch.exp(logits - top[index])
    total = torch.zeros_like(top).index_add(0, index, weight)
    return weight / total.masked_fill(total == 0, 1)[index]


def _segment_top(logits: Tensor, index: Tensor, size: int) -> Tensor:
    """The largest logit of each segment and head (size, heads); 0 where none is finite."""
    start = logits.new_full((size, logits.shape[1]), -torch.inf)
    top = start.scatter_reduce(0, index.unsqueeze(1).expand_as(logits), logits.detach(), "amax")
    return top.masked_fill(top == -torch.inf, 0)


class CompiledSoftmax:
    """Maximum by torch's own kernels, which Inductor does not generate, and the rest compiled.

    The gradient is written out, since it needs the output alone: p (g - sum over the segment of p g).
    """

    def __init__(self):
        self.normalized = Compiled(_normalized)
        self.pullback = Compiled(_pullback)

    def __call__(self, logits: Tensor, index: Tensor, size: int) -> Tensor:
        if torch.compiler.is_compiling() or logits.numel() == 0:
            return segment_softmax(logits, index, size)
        return _Softmax.apply(self, logits, index, size)

    def forward(self, logits: Tensor, index: Tensor, size: int) -> Tensor:
        """The weights, outside of autograd."""
        top = _sorted_top if _reduces_by_runs(logits, index) else _segment_top
        return self.normalized.run(logits, top(logits, index, size), index, size)


def _pullback(gradient: Tensor, weight: Tensor, index: Tensor, size: int) -> Tensor:
    product = gradient * weight
    return product - weight * product.new_zeros(size, weight.shape[1]).index_add(0, index, product)[index]


class _Softmax(torch.autograd.Function):
    @staticmethod
    def forward(ctx, compiled, logits, index, size):
        ctx.compiled, ctx.size = compiled, size
        weight = compiled.forward(logits, index, size)
        ctx.save_for_backward(weight, index)
        return weight

    @staticmethod
    def backward(ctx, gradient):
        weight, index = ctx.saved_tensors
        return None, ctx.compiled.pullback(gradient, weight, index, ctx.size), None, None


def _reduces_by_runs(logits: Tensor, index: Tensor) -> bool:
    """On a CPU, few heads and sorted edges: there reducing run by run is twice as fast as scattering (measured)."""
    return logits.device.type == "cpu" and logits.shape[1] <= 16 and bool((index[1:] >= index[:-1]).all())


def _sorted_top(logits: Tensor, index: Tensor, size: int) -> Tensor:
    rowptr = torch.searchsorted(index, torch.arange(size + 1, dtype=index.dtype, device=index.device))
    top = torch.segment_reduce(logits.detach(), "max", offsets=rowptr, initial=-torch.inf)
    return top.masked_fill(top == -torch.inf, 0)


def check(logits: Tensor, index: Tensor, size: int) -> None:
    check_segments(logits, index, size)
    if logits.ndim != 2:
        raise UserError(f"segment_softmax: logits {tuple(logits.shape)}; give (edges, heads)")


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
    backends={"compiled": Backend(CompiledSoftmax, missing=no_compiler)},
    check=check,
    cost=cost,
    example=example,
)
