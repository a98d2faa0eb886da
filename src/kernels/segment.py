"""What the segment operations share: a segment is the set of rows, mostly edges, that have one index, mostly a node."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..errors import UserError


def segment_sum(
    values: Float[Tensor, "edges *channels"], index: Int[Tensor, " edges"], size: int
) -> Float[Tensor, "segments *channels"]:
    """Sum the rows of `values` that share an `index`, into (size, *channels); a segment without rows is zero.

    Rows may come in any order. Raises UserError if `values` and `index` differ in rows.
    """
    check_segments(values, index, size)
    return values.new_zeros(size, *values.shape[1:]).index_add(0, index, values)


def check_segments(values: Tensor, index: Tensor, size: int) -> None:
    """Raise UserError unless `index` gives each row of `values` a segment."""
    if index.ndim != 1 or index.dtype not in (torch.int64, torch.int32):
        raise UserError(
            f"segments: index has shape {tuple(index.shape)} and {index.dtype}; give a flat tensor of integers"
        )
    if values.ndim == 0 or values.shape[0] != index.shape[0]:
        raise UserError(f"segments: {index.shape[0]} indices for values {tuple(values.shape)}; give one index a row")
    if size < 0:
        raise UserError(f"segments: size={size}; give the number of segments")


def check_range(op: str, name: str, index: Tensor, size: int) -> None:
    """Raise UserError for an index that is not one of 0..size-1.

    Only on a CPU: on a GPU one would have to wait to see it, and there torch's own assertions stand. Negative numbers
    would otherwise count from the end.
    """
    if index.device.type != "cpu" or torch.compiler.is_compiling() or index.numel() == 0:
        return
    low, high = (int(value) for value in torch.aminmax(index))
    if low < 0 or high >= size:
        raise UserError(f"{op}: {name} goes from {low} to {high}; give indices from 0 to {size - 1}")


def index_of(rowptr: Int[Tensor, " segments_plus_one"]) -> Int[Tensor, " edges"]:
    """The sorted segment index of rows given by where each segment begins (CSR)."""
    return torch.repeat_interleave(rowptr.diff())


def rowptr_of(index: Int[Tensor, " edges"], size: int) -> Int[Tensor, " segments_plus_one"]:
    """Where each segment begins, and the number of rows: the CSR form of a sorted `index`."""
    return torch.searchsorted(index, torch.arange(size + 1, device=index.device, dtype=index.dtype))
