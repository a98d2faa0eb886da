"""Joining the samples of all processes, with gradients: for losses that compare samples with each other."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, distributed


def gather(x: Float[Tensor, "samples *shape"]) -> Float[Tensor, "all *shape"]:
    """The rows of all processes one after the other, in their order; the input itself where there is one process.

    Every process then computes the same loss of the joined batch. Its gradient reaches the rows of each process as the sum
    over processes, which DistributedDataParallel's mean over processes turns into just the gradient of that loss: that of
    one process with the joined batch. Processes may have different numbers of rows.
    """
    if not (distributed.is_available() and distributed.is_initialized()) or distributed.get_world_size() == 1:
        return x
    return Gather.apply(x)


class Gather(torch.autograd.Function):
    """All-gather forward, sum over processes backward."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        world = distributed.get_world_size()
        lengths = [torch.zeros(1, dtype=torch.long, device=x.device) for _ in range(world)]
        distributed.all_gather(lengths, torch.tensor([len(x)], device=x.device))
        ctx.lengths = [int(length) for length in lengths]
        longest = max(ctx.lengths)
        padded = torch.cat([x, x.new_zeros(longest - len(x), *x.shape[1:])]).contiguous()
        parts = [torch.empty_like(padded) for _ in range(world)]
        distributed.all_gather(parts, padded)
        return torch.cat([part[:length] for part, length in zip(parts, ctx.lengths, strict=True)])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        total = gradient.contiguous().clone()
        distributed.all_reduce(total)
        return total.split(ctx.lengths)[distributed.get_rank()]
