"""Retrieval where the answer is known: perfect predictions, none, and collapsed representations."""

import pytest
import torch
from torch.nn.functional import one_hot

from erlangen.tasks.poses import euler_to_quaternion
from erlangen.tasks.retrieval import effective_rank, neighbour_classes, places, pose_error, retrieval, spread


def scores(queries: torch.Tensor, candidates: torch.Tensor) -> dict[str, float]:
    return {name: float(value) for name, value in retrieval(places(queries, candidates)).items()}


def test_perfect_predictions_are_found_first(generator: torch.Generator) -> None:
    views = torch.randn(4, 50, 8, generator=generator)
    assert scores(views, views) == pytest.approx({"mrr": 1, "h@1": 1, "h@5": 1})


def test_random_predictions_and_a_collapsed_representation_are_both_at_chance(generator: torch.Generator) -> None:
    """0.090 with 50 candidates, however a sort would break the ties of a collapsed one."""
    chance = {"mrr": sum(1 / n for n in range(1, 51)) / 50, "h@1": 1 / 50, "h@5": 5 / 50}
    assert chance["mrr"] == pytest.approx(0.090, abs=0.0005)
    collapsed = torch.ones(3, 50, 4)
    assert scores(collapsed, collapsed) == pytest.approx(chance)
    queries, candidates = (torch.randn(2000, 50, 8, generator=generator) for _ in range(2))
    assert scores(queries, candidates) == pytest.approx(chance, abs=0.005)


def test_the_first_view_is_a_free_hit(generator: torch.Generator) -> None:
    views = torch.randn(10, 5, 16, generator=generator)
    assert scores(views[:, :1].expand_as(views), views)["h@1"] == pytest.approx(1 / 5)


def test_pose_error(generator: torch.Generator) -> None:
    angles = torch.pi * (torch.rand(300, 10, 3, generator=generator) - 0.5)
    rotations = euler_to_quaternion(angles)
    views = torch.randn(300, 10, 8, generator=generator)
    assert float(pose_error(views, views, rotations)) == pytest.approx(0, abs=1e-6)
    noise = torch.randn(300, 10, 8, generator=generator)
    assert float(pose_error(noise, views, rotations)) == pytest.approx(0.627, abs=0.03)


def test_neighbours_vote_by_class(generator: torch.Generator) -> None:
    labels = torch.randint(3, (60,), generator=generator)
    bank = one_hot(labels, 3).float() + 0.05 * torch.randn(60, 3, generator=generator)
    assert torch.equal(neighbour_classes(torch.eye(3), bank, labels, 3), torch.arange(3))


def test_collapse_shows_in_rank_and_spread(generator: torch.Generator) -> None:
    even = torch.randn(5000, 8, generator=generator)
    assert float(effective_rank(even)) == pytest.approx(8, abs=0.05)
    assert float(spread(even)) == pytest.approx(1, abs=0.01)
    line = torch.randn(100, 1, generator=generator) * torch.randn(8, generator=generator) + 1
    assert float(effective_rank(line)) == pytest.approx(1, abs=1e-3)
    point = torch.ones(100, 8) + 1e-4 * torch.randn(100, 8, generator=generator)
    assert float(spread(point)) < 1e-3
