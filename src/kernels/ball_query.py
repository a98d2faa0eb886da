"""The points within a radius of each query, in its own cloud."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..errors import UserError
from .clouds import check_query, clouds, distances
from .registry import FLOATS, Backend, Cost, Op, traffic


def ball_query(
    points: Float[Tensor, "points dim"],
    ptr: Int[Tensor, " clouds_plus_one"],
    query: Float[Tensor, "queries dim"],
    query_ptr: Int[Tensor, " clouds_plus_one"],
    *,
    radius: float,
    max_points: int | None = None,
) -> Int[Tensor, "2 edges"]:
    """Edges from the points closer than `radius` to the query: row 0 the point, row 1 the query.

    Sorted by query, then distance. At most `max_points` for each query, the nearest ones (PointNet++, arXiv:1706.02413,
    takes the first ones in the order of the file, which depends on that order). A query in the place of a point finds
    that point.
    """
    return _join(_all_distances, points, ptr, query, query_ptr, radius, max_points)


@torch.no_grad()
def _join(within, points, ptr, query, query_ptr, radius, max_points) -> Tensor:
    """Cloud by cloud, put together what within(query, points, radius, count) -> (point, query) of each edge says."""
    edges = [points.new_zeros(2, 0, dtype=torch.int64)]
    for of_points, of_query in clouds(ptr, query_ptr):
        q, p = query[of_query], points[of_points]
        if len(q) > 0 and len(p) > 0:
            count = len(p) if max_points is None else min(max_points, len(p))
            point, row = within(q, p, radius, count)
            edges.append(torch.stack([point + of_points.start, row + of_query.start]))
    return torch.cat(edges, 1)


def _all_distances(query: Tensor, points: Tensor, radius: float, count: int) -> tuple[Tensor, Tensor]:
    distance, index = distances(query, points).topk(count, largest=False)
    row, column = (distance < radius).nonzero(as_tuple=True)
    return index[row, column], row


def _tree(query: Tensor, points: Tensor, radius: float, count: int) -> tuple[Tensor, Tensor]:
    from scipy.spatial import cKDTree

    tree = cKDTree(points.numpy())
    index = torch.from_numpy(tree.query(query.numpy(), count, distance_upper_bound=radius)[1]).view(len(query), count)
    row, column = (index < len(points)).nonzero(as_tuple=True)  # scipy's way to say that there are no more
    return index[row, column], row


def build_tree(*, radius: float, max_points: int | None = None):
    def search(points, ptr, query, query_ptr):
        return _join(_tree, points, ptr, query, query_ptr, radius, max_points)

    return search


def refuses_tree(*, radius: float, max_points: int | None = None) -> str | None:
    return "it makes a table with max_points columns; give max_points" if max_points is None else None


def check(points, ptr, query, query_ptr, *, radius, max_points=None) -> None:
    check_query("ball_query", points, ptr, query, query_ptr)
    if not 0 < radius < float("inf"):
        raise UserError(f"ball_query: radius={radius}; give a positive distance")
    if max_points is not None and max_points < 1:
        raise UserError(f"ball_query: max_points={max_points}; give at least 1, or None for all")


def cost(out: Tensor, points, ptr, query, query_ptr, *, radius, max_points=None) -> Cost:
    """All distances: a difference, a square and a sum for each pair of a cloud and dimension."""
    pairs = int((ptr.diff() * query_ptr.diff()).sum())
    return Cost(3 * pairs * points.shape[1], traffic(out, points, query))


def example(dtype, device, seed, *, clouds=3, points=30, queries=7, radius=0.9, max_points=6):
    g = torch.Generator().manual_seed(seed)
    cloud = torch.randn(clouds * points, 3, generator=g, dtype=torch.float64).to(device, dtype)
    query = torch.randn(clouds * queries, 3, generator=g, dtype=torch.float64).to(device, dtype)
    ptr = torch.arange(clouds + 1, device=device)
    return (cloud, ptr * points, query, ptr * queries), {"radius": radius, "max_points": max_points}


OP = Op(
    reference=ball_query,
    backends={"scipy": Backend(build_tree, device=("cpu",), dtypes=FLOATS[:2], refuses=refuses_tree)},
    check=check,
    cost=cost,
    example=example,
    differentiable=False,
    traceable=False,
)
