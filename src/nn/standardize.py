"""Inputs brought to zero mean and unit variance with the statistics of the training split."""

from collections.abc import Iterable

import torch
from jaxtyping import Float
from torch import Tensor, nn


class Standardize(nn.Module):
    """(x - mean) / std for each channel, held in buffers so that a checkpoint brings them along.

    Until `fit`, the identity. A channel that never varies is only shifted.

    Args:
        channels: the number of channels.
        axis: where they are: 1 for images (samples, channels, height, width), -1 for sequences (samples, length, channels).
    """

    mean: Tensor
    std: Tensor

    def __init__(self, channels: int, axis: int = 1):
        super().__init__()
        self.axis = axis
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("std", torch.ones(channels))

    @torch.no_grad()
    def fit(self, inputs: Iterable[Float[Tensor, "..."]]) -> None:
        """Takes mean and standard deviation over all inputs, which come batch by batch and are read once."""
        count, total, squares = 0, 0.0, 0.0
        for x in inputs:
            values = x.double().movedim(self.axis, -1).flatten(0, -2)
            count += len(values)
            total, squares = total + values.sum(0), squares + values.square().sum(0)
        mean = total / count
        std = (squares / count - mean.square()).clamp(min=0).sqrt()
        self.mean.copy_(mean)
        self.std.copy_(torch.where(std > 1e-6, std, 1.0))

    def forward(self, x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        shape = [1] * x.ndim
        shape[self.axis] = -1
        return (x - self.mean.view(shape)) / self.std.view(shape)
