"""k nearest neighbours, balls and farthest points, against loops over the points of each cloud."""

import pytest
import torch

from erlangen import kernels
from erlangen.errors import UserError
from erlangen.kernels.clouds import distances

SIZES = [6, 0, 1, 11, 3]
PTR = torch.tensor([0, *torch.tensor(SIZES).cumsum(0)])
BACKENDS = ["reference", "scipy"]


@pytest.fixture
def points(generator):
    return torch.randn(sum(SIZES), 3, generator=generator)


def of_cloud(ptr, row):
    return int(torch.searchsorted(ptr, row, right=True)) - 1


def by_loop(points, ptr, query, query_ptr, itself):
    """For each query, the points of its cloud by distance."""
    for row in range(len(query)):
        cloud = of_cloud(query_ptr, row)
        mine = [j for j in range(int(ptr[cloud]), int(ptr[cloud + 1])) if itself or j != row]
        length = {j: (points[j].double() - query[row].double()).norm().item() for j in mine}
        yield row, sorted(mine, key=length.get), length


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("k", [1, 4, 20])
def test_the_nearest_are_found_and_never_the_point_itself(points, backend, k):
    edges = kernels.get("knn", backend, k=k)(points, PTR)
    expected = [(j, row) for row, near, _ in by_loop(points, PTR, points, PTR, False) for j in near[:k]]
    assert edges.T.tolist() == [list(edge) for edge in expected]


@pytest.mark.parametrize("backend", BACKENDS)
def test_queries_of_their_own_find_points_of_their_cloud(points, backend, generator):
    query, query_ptr = torch.randn(9, 3, generator=generator), torch.tensor([0, 2, 4, 5, 8, 9])
    edges = kernels.get("knn", backend, k=3)(points, PTR, query, query_ptr)
    expected = [[j, row] for row, near, _ in by_loop(points, PTR, query, query_ptr, True) for j in near[:3]]
    assert edges.T.tolist() == expected


@pytest.mark.parametrize("backend", BACKENDS)
def test_points_in_one_place_are_each_others_neighbours(backend):
    points = torch.zeros(5, 3)
    source, row = kernels.get("knn", backend, k=3)(points, torch.tensor([0, 5]))
    assert row.tolist() == [i for i in range(5) for _ in range(3)]
    assert (source != row).all()
    assert all(len(set(source[row == i].tolist())) == 3 for i in range(5))


def test_features_far_from_the_origin_keep_their_neighbours(generator):
    """Products of coordinates cancel: without centring, a shift by 1000 would change the graph."""
    features = torch.randn(200, 32, generator=generator)
    ptr = torch.tensor([0, 200])
    knn = kernels.get("knn", k=8, dim=32)
    agree = (knn(features, ptr) == knn(features + 1000, ptr)).float().mean()
    assert agree > 0.99
    assert knn.choice.ran == {"knn": "reference"}
    torch.testing.assert_close(
        distances(features, features), torch.cdist(features.double(), features.double()).float(), atol=5e-3, rtol=1e-5
    )


def test_a_tree_is_refused_where_it_is_slow():
    with pytest.raises(UserError, match="slower than all distances beyond 8 dimensions"):
        kernels.get("knn", "scipy", k=2, dim=9)(torch.randn(4, 9), torch.tensor([0, 4]))
    with pytest.raises(UserError, match="give max_points"):
        kernels.get("ball_query", "scipy", radius=1.0)(
            torch.randn(4, 3), PTR[:0].new_tensor([0, 4]), torch.randn(4, 3), torch.tensor([0, 4])
        )


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("most", [1, 3, 50])
def test_a_ball_holds_the_nearest_points_within_its_radius(points, backend, most):
    edges = kernels.get("ball_query", backend, radius=1.5, max_points=most)(points, PTR, points, PTR)
    expected = [
        [j, row]
        for row, near, length in by_loop(points, PTR, points, PTR, True)
        for j in [j for j in near if length[j] < 1.5][:most]
    ]
    assert edges.T.tolist() == expected
    assert len(expected) > len(points) or most == 1


def test_without_a_limit_a_ball_holds_all(points):
    ball = kernels.get("ball_query", radius=1.5)
    limited = kernels.get("ball_query", radius=1.5, max_points=100)
    assert torch.equal(ball(points, PTR, points, PTR), limited(points, PTR, points, PTR))


def test_farthest_points_are_taken_greedily_in_each_cloud(points):
    count, start = torch.tensor([4, 0, 1, 11, 2]), torch.tensor([2, 0, 0, 5, 1])
    expected = []
    for cloud, size in enumerate(count.tolist()):
        mine = points[PTR[cloud] : PTR[cloud + 1]].double()
        taken = [int(start[cloud])][:size]
        while len(taken) < size:
            taken.append(int((mine[:, None] - mine[taken]).norm(dim=2).min(1).values.argmax()))
        expected += [int(PTR[cloud]) + i for i in taken]
    assert kernels.get("fps")(points, PTR, count, start).tolist() == expected


def test_farthest_points_do_not_depend_on_position_or_orientation(points, generator):
    count = torch.tensor([4, 0, 1, 6, 2])
    rotation = torch.linalg.qr(torch.randn(3, 3, generator=generator, dtype=torch.float64)).Q
    fps = kernels.get("fps")
    assert torch.equal(fps(points.double() @ rotation.T + 3, PTR, count), fps(points.double(), PTR, count))


def test_all_points_are_sampled_once_if_asked(points):
    count = torch.tensor(SIZES)
    assert kernels.get("fps")(points, PTR, count).sort().values.tolist() == list(range(len(points)))


def test_empty_clouds_give_nothing():
    nothing, ptr = torch.zeros(0, 3), torch.tensor([0])
    assert kernels.get("knn", k=2)(nothing, ptr).shape == (2, 0)
    assert kernels.get("knn", k=2)(torch.zeros(1, 3), torch.tensor([0, 1])).shape == (2, 0)
    assert kernels.get("ball_query", radius=1.0)(nothing, ptr, nothing, ptr).shape == (2, 0)
    assert kernels.get("fps")(nothing, ptr, ptr[:0]).shape == (0,)


def test_half_precision_finds_the_same_neighbours_as_its_points_exactly(points):
    half = points.bfloat16()
    knn = kernels.get("knn", "reference", k=3)
    assert torch.equal(knn(half, PTR), knn(half.double(), PTR))


@pytest.mark.parametrize(
    ("op", "spec", "args", "why"),
    [
        ("knn", {"k": 0}, (torch.zeros(3, 3), torch.tensor([0, 3])), "k=0"),
        ("knn", {"k": 1}, (torch.zeros(3, 4), torch.tensor([0, 3])), "4 dimensions, and dim=3"),
        ("knn", {"k": 1}, (torch.zeros(3), torch.tensor([0, 3])), "give .points, dim."),
        ("knn", {"k": 1}, (torch.zeros(3, 3), torch.tensor([0, 2])), "number of points, 3"),
        ("knn", {"k": 1}, (torch.zeros(3, 3), torch.tensor([0, 3]), torch.zeros(3, 3)), "query and query_ptr"),
        ("knn", {"k": 1}, (torch.zeros(3, 3), torch.tensor([0, 3])) * 2, None),
        (
            "knn",
            {"k": 1},
            (torch.zeros(3, 3), torch.tensor([0, 3]), torch.zeros(3, 3), torch.tensor([0, 1, 3])),
            "2 clouds",
        ),
        ("knn", {"k": 1}, (torch.full((3, 3), torch.nan), torch.tensor([0, 3])), "not finite"),
        ("knn", {"k": 1}, (torch.zeros(3, 3, device="meta"), torch.zeros(2, device="meta").long()), "meta device"),
        ("ball_query", {"radius": 0.0}, (torch.zeros(3, 3), torch.tensor([0, 3])) * 2, "radius=0.0"),
        ("ball_query", {"radius": 1.0, "max_points": 0}, (torch.zeros(3, 3), torch.tensor([0, 3])) * 2, "max_points=0"),
        ("fps", {}, (torch.zeros(3, 3), torch.tensor([0, 3]), torch.tensor([4])), "at most all"),
        ("fps", {}, (torch.zeros(3, 3), torch.tensor([0, 3]), torch.tensor([1]), torch.tensor([3])), "place within"),
    ],
)
def test_mistakes_are_named(op, spec, args, why):
    kernel = kernels.get(op, "reference", **spec)
    if why is None:
        kernel(*args)
    else:
        with pytest.raises(UserError, match=why):
            kernel(*args)
