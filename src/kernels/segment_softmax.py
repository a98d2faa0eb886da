"""Softmax over the edges that arrive at each node: the weights of graph attention."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..errors import UserError
from .compiled import Compiled, no_compiler
from .registry import Backend, Cost, Op, plain, traffic
from .segment import check_range, check_segments, is_sorted, rowptr_of
from .triton import backend

FEW = 8  # heads up to which a CPU reduces run by run faster than it scatters (measured)


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
    start = logits.new_full((size, *logits.shape[1:]), -torch.inf)
    index = index if logits.ndim == 1 else index.unsqueeze(1).expand_as(logits)
    top = start.scatter_reduce(0, index, logits.detach(), "amax")
    return top.masked_fill(top == -torch.inf, 0)


def _top_of_runs(logits: Tensor, rowptr: Tensor) -> Tensor:
    """`_segment_top` where edges are sorted."""
    top = torch.segment_reduce(logits, "max", offsets=rowptr, initial=-torch.inf)
    return top.masked_fill_(top == -torch.inf, 0)


def _pullback(gradient: Tensor, weight: Tensor, index: Tensor, size: int) -> Tensor:
    """p (g - sum over the segment of p g), which needs the weights p alone."""
    product = gradient * weight
    total = product.new_zeros(size, *weight.shape[1:]).index_add(0, index, product)
    return product - weight * total.index_select(0, index)


def _with_gradient(implementation, logits: Tensor, index: Tensor, size: int) -> Tensor:
    """The softmax by `implementation`, which takes one head without its axis: flat tensors scatter three times as fast."""
    if logits.shape[1] == 1:
        return _Softmax.apply(implementation, logits.squeeze(1), index, size).unsqueeze(1)
    return _Softmax.apply(implementation, logits, index, size)


class _Softmax(torch.autograd.Function):
    """Forward and pullback of `implementation`; the weights are all that is saved."""

    @staticmethod
    def forward(ctx, implementation, logits, index, size):
        ctx.implementation, ctx.size = implementation, size
        weight, rowptr = implementation.forward(logits.detach(), index, size)
        ctx.save_for_backward(weight, index, rowptr)
        return weight

    @staticmethod
    def backward(ctx, gradient):
        weight, index, rowptr = ctx.saved_tensors
        return None, ctx.implementation.backward(gradient, weight, index, ctx.size, rowptr), None, None


class CsrSoftmax:
    """Few passes, in place, and run by run where edges are sorted: with some heads far faster than scattering on a CPU."""

    def __call__(self, logits: Tensor, index: Tensor, size: int) -> Tensor:
        if torch.compiler.is_compiling():
            return segment_softmax(logits, index, size)
        return _with_gradient(self, logits, index, size)

    def forward(self, logits: Tensor, index: Tensor, size: int) -> tuple[Tensor, Tensor | None]:
        """The weights, and where runs begin if that is of use."""
        runs = logits.ndim == 2 and logits.shape[1] <= FEW and is_sorted(index)
        rowptr = rowptr_of(index, size) if runs else None
        top = _top_of_runs(logits, rowptr) if runs else _segment_top(logits, index, size)
        weight = torch.sub(logits, top.index_select(0, index)).exp_()
        total = _total(weight, index, size, rowptr)
        return weight.div_(total.masked_fill_(total == 0, 1).index_select(0, index)), rowptr

    def backward(self, gradient: Tensor, weight: Tensor, index: Tensor, size: int, rowptr: Tensor | None) -> Tensor:
        """The gradient of the logits; where it is differentiated itself, by operations that have derivatives."""
        if torch.is_grad_enabled():
            return _pullback(gradient, weight, index, size)
        product = gradient * weight
        total = _total(product, index, size, rowptr)
        return product.addcmul_(weight, total.index_select(0, index), value=-1)


def _total(values: Tensor, index: Tensor, size: int, rowptr: Tensor | None) -> Tensor:
    """The sum of each segment, run by run if it is known where those begin."""
    if rowptr is None:
        return values.new_zeros(size, *values.shape[1:]).index_add_(0, index, values)
    return torch.segment_reduce(values, "sum", offsets=rowptr, initial=0)


class CompiledSoftmax:
    """Maximum by torch's own kernel, since Inductor generates none, and the rest compiled."""

    def __init__(self):
        self.normalized, self.pullback = Compiled(_normalized), Compiled(_pullback)

    def __call__(self, logits: Tensor, index: Tensor, size: int) -> Tensor:
        if torch.compiler.is_compiling() or logits.numel() == 0:
            return segment_softmax(logits, index, size)
        return _with_gradient(self, logits, index, size)

    def forward(self, logits: Tensor, index: Tensor, size: int) -> tuple[Tensor, None]:
        """The weights."""
        if logits.device.type == "cpu" and logits.ndim == 2 and logits.shape[1] <= FEW and is_sorted(index):
            top = _top_of_runs(logits, rowptr_of(index, size))
        else:
            top = _segment_top(logits, index, size)
        return self.normalized.run(logits, top, index, size), None

    def backward(self, gradient: Tensor, weight: Tensor, index: Tensor, size: int, rowptr: None) -> Tensor:
        """The gradient of the logits, differentiable itself."""
        return self.pullback(gradient, weight, index, size)


class SoftmaxByHeads:
    """Few heads in few passes, and many by compiled code."""

    def __init__(self):
        self.few, self.many = CsrSoftmax(), CompiledSoftmax()

    def __call__(self, logits: Tensor, index: Tensor, size: int) -> Tensor:
        return (self.few if logits.shape[1] <= FEW else self.many)(logits, index, size)


def check(logits: Tensor, index: Tensor, size: int) -> None:
    check_segments(logits, index, size)
    if logits.ndim != 2:
        raise UserError(f"segment_softmax: logits {tuple(logits.shape)}; give (edges, heads)")
    check_range("segment_softmax", "index", index, size)


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
        "by_heads": Backend(SoftmaxByHeads, device=("cpu",), missing=no_compiler),
        "compiled": Backend(CompiledSoftmax, missing=no_compiler),
        "csr": Backend(CsrSoftmax, device=("cpu",)),
        "reference": Backend(plain(segment_softmax), device=None),
        "triton": backend("segment_softmax"),
    },
    check=check,
    cost=cost,
    example=example,
)
