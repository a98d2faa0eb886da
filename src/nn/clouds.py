"""What networks on point clouds share: layers at every point, and reductions over every cloud.

Clouds come as points (points, channels) one after another and `ptr` (clouds + 1,), where each begins (PyG's `batch.ptr`).
Where all clouds are equally large, as they mostly are, the dense form (clouds, size, channels) is used: it is a view.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn


class BatchNorm(nn.BatchNorm1d):
    """Batch normalisation of rows; a single row, which has no variance, is normalised by the running statistics.

    Such a row is what an epoch's last batch may leave for the layers behind a pooling.
    """

    def forward(self, values: Float[Tensor, "rows channels"]) -> Float[Tensor, "rows channels"]:
        if self.training and len(values) == 1:
            return nn.functional.batch_norm(
                values, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps
            )
        return super().forward(values)


def point_mlp(channels: Sequence[int], activation: nn.Module) -> nn.Sequential:
    """Linear, batch norm and activation from each width to the next: at every point the same function."""
    layers: list[nn.Module] = []
    for before, after in zip(channels, channels[1:], strict=False):
        layers += [nn.Linear(before, after, bias=False), BatchNorm(after), activation]
    return nn.Sequential(*layers)


def common_size(ptr: Int[Tensor, " clouds_plus_1"]) -> int | None:
    """The number of points of every cloud, None where clouds differ."""
    sizes = ptr.diff()
    return int(sizes[0]) if bool((sizes == sizes[0]).all()) else None


def cloud_max(
    values: Float[Tensor, "points channels"], ptr: Int[Tensor, " clouds_plus_1"]
) -> Float[Tensor, "clouds channels"]:
    """The largest value of each channel in each cloud."""
    size = common_size(ptr)
    if size is not None:
        return values.unflatten(0, (-1, size)).max(1).values
    return torch.segment_reduce(values, "max", offsets=ptr, axis=0)


def cloud_mean(
    values: Float[Tensor, "points channels"], ptr: Int[Tensor, " clouds_plus_1"]
) -> Float[Tensor, "clouds channels"]:
    """The mean of each channel in each cloud."""
    size = common_size(ptr)
    if size is not None:
        return values.unflatten(0, (-1, size)).mean(1)
    return torch.segment_reduce(values, "mean", offsets=ptr, axis=0)


def cloud_matmul(
    values: Float[Tensor, "points *rows inner"],
    matrices: Float[Tensor, "clouds inner outer"],
    ptr: Int[Tensor, " clouds_plus_1"],
) -> Float[Tensor, "points *rows outer"]:
    """Each cloud's row vectors times the cloud's own matrix."""
    rows = values.shape[1:-1]
    flat = values.reshape(len(values), -1, values.shape[-1])
    size = common_size(ptr)
    if size is not None:
        dense = flat.unflatten(0, (-1, size)).flatten(1, 2) @ matrices
        return dense.reshape(len(values), *rows, -1)
    cloud = torch.repeat_interleave(ptr.diff())
    return (flat @ matrices[cloud]).reshape(len(values), *rows, -1)
