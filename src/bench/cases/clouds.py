"""Point clouds: neighbours and samples. What is compared is the distances, since equal ones may change places."""

from collections.abc import Iterable, Iterator
from dataclasses import replace

import torch
from torch import Tensor

from ..case import Case, Scale, op_case


def knn(scale: Scale, degrees: Iterable[int]) -> Iterator[Case]:
    for clouds, points in scale.pick(((2, 20),), ((1, 4096), (16, 1024)), ((1, 4096), (32, 1024))):
        size = {"clouds": clouds, "points": points, "k": scale.pick(4, 16, 16)}
        case = op_case("knn", scale, size, size=f"{clouds} x {points} points, k = {size['k']}")
        yield replace(case, compare=distances_differ(case.args[0], case.args[0]))


def ball_query(scale: Scale, degrees: Iterable[int]) -> Iterator[Case]:
    clouds, points, queries = scale.pick((2, 20, 5), (16, 1024, 256), (32, 1024, 256))
    size = {
        "clouds": clouds,
        "points": points,
        "queries": queries,
        "radius": scale.pick(2.0, 0.3, 0.3),
        "max_points": 32,
    }
    case = op_case("ball_query", scale, size, size=f"{clouds} x {points} points, {queries} queries, at most 32")
    yield replace(case, compare=distances_differ(case.args[0], case.args[2]))


def fps(scale: Scale, degrees: Iterable[int]) -> Iterator[Case]:
    clouds, points, count = scale.pick((2, 20, 5), (16, 1024, 256), (32, 1024, 512))
    size = {"clouds": clouds, "points": points, "count": count}
    yield op_case("fps", scale, size, size=f"{clouds} x {points} points, {count} samples")


def distances_differ(points: Tensor, queries: Tensor):
    """Largest difference between the sorted distances of two sets of edges, by the largest; infinity if their counts do."""

    def compare(found: Tensor, true: Tensor) -> float:
        if found.shape != true.shape:
            return torch.inf
        if found.shape[1] == 0:
            return 0.0
        lengths = [(points[e[0]].double() - queries[e[1]].double()).norm(dim=1).sort().values for e in (found, true)]
        return ((lengths[0] - lengths[1]).abs().max() / lengths[1].max()).item()

    return compare
