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


def index_of(rowptr: Int[Tensor, " segments_plus_one"]) -> Int[Tensor, " edges"]:
    """The sorted segment index of rows given by where each segment begins (CSR)."""
    return torch.repeat_interleave(rowptr.diff())


def rowptr_of(index: Int[Tensor, " edges"], size: int) -> Int[Tensor, " segments_plus_one"]:
    """Where each segment begins, and the number of rows: the CSR form of a sorted `index`."""
    return torch.searchsorted(index, torch.arange(size + 1, device=index.device, dtype=index.dtype))
