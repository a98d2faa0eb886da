"""What the point cloud operations share: clouds are given as points (points, dim) and `ptr`, where each begins."""

from collections.abc import Iterator
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor

from ..errors import UserError

FEW = (
    8  # dimensions up to which differences are as fast as a matrix product, and a k-d tree faster than both (measured)
)


def distances(
    query: Float[Tensor, "queries dim"], points: Float[Tensor, "points dim"]
) -> Float[Tensor, "queries points"]:
    """|q - p| for all pairs: exact in few dimensions, and else by a matrix product of centred points.

    That product cancels digits, and is good to the dtype's rounding of the squared extent of the cloud. Half precision
    would not tell points apart and is computed in float32.
    """
    if points.dtype in (torch.float16, torch.bfloat16):
        query, points = query.float(), points.float()
    if points.shape[1] <= FEW:
        return torch.cdist(query, points, compute_mode="donot_use_mm_for_euclid_dist")
    centre = points.mean(0)
    return torch.cdist(query - centre, points - centre, compute_mode="use_mm_for_euclid_dist")


def clouds(points_ptr: Tensor, query_ptr: Tensor) -> Iterator[tuple[slice, slice]]:
    """The rows of points, and of queries, cloud after cloud."""
    for points, query in zip(pairwise(points_ptr.tolist()), pairwise(query_ptr.tolist()), strict=True):
        yield slice(*points), slice(*query)


def check_cloud(op: str, points: Tensor, ptr: Tensor) -> None:
    """Raise UserError unless `points` are finite rows and `ptr` cuts them into clouds."""
    if points.ndim != 2 or points.shape[1] == 0:
        raise UserError(f"{op}: points {tuple(points.shape)}; give (points, dim)")
    if points.device.type == "meta":
        raise UserError(f"{op}: the result depends on the points' values, of which the meta device has none")
    if ptr.ndim != 1 or len(ptr) < 1 or ptr[0] != 0 or ptr[-1] != len(points) or bool((ptr.diff() < 0).any()):
        raise UserError(f"{op}: ptr must rise from 0 to the number of points, {len(points)}; give batch.ptr")
    if not bool(points.isfinite().all()):
        raise UserError(f"{op}: a point is not finite; look at the data, or at a diverging model")


def check_query(op: str, points: Tensor, ptr: Tensor, query: Tensor | None, query_ptr: Tensor | None) -> None:
    """Raise UserError unless queries, where given, are clouds of the same dimension, one for each cloud of points."""
    check_cloud(op, points, ptr)
    if (query is None) != (query_ptr is None):
        raise UserError(f"{op}: give query and query_ptr, or neither")
    if query is not None:
        check_cloud(f"{op} (query)", query, query_ptr)
        if query.shape[1] != points.shape[1] or len(query_ptr) != len(ptr):
            raise UserError(
                f"{op}: {len(query_ptr) - 1} clouds of queries in {query.shape[1]} dimensions for "
                f"{len(ptr) - 1} clouds of points in {points.shape[1]}"
            )


def no_self(count: int, index: Tensor) -> Tensor:
    """Of each row of `index` (queries, count + 1), sorted by distance, all but the query itself.

    Where points coincide and the query is not in its own row, the farthest goes.
    """
    itself = index == torch.arange(len(index), device=index.device).unsqueeze(1)
    itself[:, count] |= ~itself.any(1)
    return index[~itself].view(len(index), count)
