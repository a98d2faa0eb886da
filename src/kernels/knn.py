"""The k nearest points of each point, or of each query, in its own cloud."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..errors import UserError
from .clouds import FEW, check_query, clouds, distances, no_self
from .registry import FLOATS, Backend, Cost, Op, traffic


def knn(
    points: Float[Tensor, "points dim"],
    ptr: Int[Tensor, " clouds_plus_one"],
    query: Float[Tensor, "queries dim"] | None = None,
    query_ptr: Int[Tensor, " clouds_plus_one"] | None = None,
    *,
    k: int,
    dim: int = 3,
) -> Int[Tensor, "2 edges"]:
    """Edges from each query's `k` nearest points to the query: row 0 the point, row 1 the query.

    Sorted by query, then distance; ties in any order. Without `query` the points are the queries, and no point is its
    own neighbour. A cloud of fewer points gives all it has; else `edge_index[0].view(-1, k)` is the usual table.
    `dim` is the dimension of the points, said beforehand because it decides which backend is fast.
    """
    return _join(_all_distances, points, ptr, query, query_ptr, k)


@torch.no_grad()
def _join(nearest, points, ptr, query, query_ptr, k) -> Tensor:
    """Cloud by cloud, put together what nearest(query, points, count) -> (queries, count) says."""
    alone = query is None
    if alone:
        query, query_ptr = points, ptr
    edges = [points.new_zeros(2, 0, dtype=torch.int64)]
    for of_points, of_query in clouds(ptr, query_ptr):
        q, p = query[of_query], points[of_points]
        count = min(k, len(p) - alone)
        if count > 0 and len(q) > 0:
            index = no_self(count, nearest(q, p, count + 1)) if alone else nearest(q, p, count)
            row = torch.arange(of_query.start, of_query.stop, device=points.device).repeat_interleave(count)
            edges.append(torch.stack([index.flatten() + of_points.start, row]))
    return torch.cat(edges, 1)


def _all_distances(query: Tensor, points: Tensor, count: int) -> Tensor:
    return distances(query, points).topk(count, largest=False).indices


def _tree(query: Tensor, points: Tensor, count: int) -> Tensor:
    from scipy.spatial import cKDTree

    index = cKDTree(points.numpy()).query(query.numpy(), count)[1]
    return torch.from_numpy(index).view(len(query), count)


def build_tree(*, k: int, dim: int = 3):
    def search(points, ptr, query=None, query_ptr=None):
        return _join(_tree, points, ptr, query, query_ptr, k)

    return search


def refuses_tree(*, k: int, dim: int = 3) -> str | None:
    return f"a k-d tree is slower than all distances beyond {FEW} dimensions, and dim={dim}" if dim > FEW else None


def check(points, ptr, query=None, query_ptr=None, *, k, dim=3) -> None:
    check_query("knn", points, ptr, query, query_ptr)
    if k < 1:
        raise UserError(f"knn: k={k}; give at least 1")
    if points.shape[1] != dim:
        raise UserError(f"knn: the points have {points.shape[1]} dimensions, and dim={dim}")


def cost(out: Tensor, points, ptr, query=None, query_ptr=None, *, k, dim=3) -> Cost:
    """All distances: a difference, a square and a sum for each pair of a cloud and dimension."""
    pairs = int((ptr.diff() * (ptr if query is None else query_ptr).diff()).sum())
    return Cost(3 * pairs * dim, traffic(out, points, query))


def example(dtype, device, seed, *, clouds=3, points=30, k=5):
    g = torch.Generator().manual_seed(seed)
    cloud = torch.randn(clouds * points, 3, generator=g, dtype=torch.float64)
    return (cloud.to(device, dtype), torch.arange(clouds + 1, device=device) * points), {"k": k}


OP = Op(
    reference=knn,
    backends={"scipy": Backend(build_tree, device=("cpu",), dtypes=FLOATS[:2], refuses=refuses_tree)},
    check=check,
    cost=cost,
    example=example,
    differentiable=False,
    traceable=False,
)
