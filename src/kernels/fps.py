"""Farthest point sampling: each next point is the one farthest from those already taken."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..errors import UserError
from .clouds import check_cloud
from .registry import Cost, Op, traffic


def fps(
    points: Float[Tensor, "points dim"],
    ptr: Int[Tensor, " clouds_plus_one"],
    count: Int[Tensor, " clouds"],
    start: Int[Tensor, " clouds"] | None = None,
) -> Int[Tensor, " samples"]:
    """Rows of the `count` points sampled from each cloud, cloud after cloud, in the order in which they are taken.

    The first is the cloud's `start`-th point, by default its first: a fixed choice depends on the order of the points,
    a drawn one does not on average. Gonzalez (1985); PointNet++ (arXiv:1706.02413), section 3.2.
    """
    return _sample(points, ptr, count, start)


@torch.no_grad()
def _sample(points, ptr, count, start) -> Tensor:
    sizes = ptr.diff()
    most, samples = (int(n.max()) if len(n) else 0 for n in (sizes, count))
    if samples == 0:
        return ptr.new_zeros(0)
    place = torch.arange(most, device=points.device)
    real = place < sizes.unsqueeze(1)
    cloud = points.new_zeros(len(sizes), most, points.shape[1])
    cloud[real] = points
    distance = points.new_full(real.shape, torch.inf).masked_fill(~real, -1)  # squared, to the nearest sample so far
    last = torch.zeros_like(count) if start is None else start
    taken = [last]
    for _ in range(samples - 1):
        place = last.view(-1, 1, 1).expand(-1, 1, points.shape[1])
        distance = torch.minimum(distance, (cloud - cloud.gather(1, place)).square().sum(2))
        last = distance.argmax(1)
        taken.append(last)
    taken = torch.stack(taken, 1) + ptr[:-1].unsqueeze(1)
    return taken[torch.arange(samples, device=points.device) < count.unsqueeze(1)]


def check(points, ptr, count, start=None) -> None:
    check_cloud("fps", points, ptr)
    sizes = ptr.diff()
    if count.shape != sizes.shape or bool(((count < 0) | (count > sizes)).any()):
        raise UserError("fps: count must say, for each cloud, how many of its points to sample: at most all of them")
    if start is not None and (start.shape != sizes.shape or bool(((start < 0) | (start >= sizes.clamp_min(1))).any())):
        raise UserError("fps: start must be a place within each cloud")


def cost(out: Tensor, points, ptr, count, start=None) -> Cost:
    """For each sample, the distance to all points of its cloud (3 for each dimension), a minimum and a comparison."""
    return Cost(int((ptr.diff() * count).sum()) * (3 * points.shape[1] + 2), traffic(out, points, ptr, count))


def example(dtype, device, seed, *, clouds=3, points=30, count=8):
    g = torch.Generator().manual_seed(seed)
    cloud = torch.randn(clouds * points, 3, generator=g, dtype=torch.float64).to(device, dtype)
    ptr = torch.arange(clouds + 1, device=device)
    return (cloud, ptr * points, torch.full((clouds,), count, device=device)), {}


OP = Op(
    reference=fps,
    check=check,
    cost=cost,
    example=example,
    differentiable=False,
    traceable=False,
)
