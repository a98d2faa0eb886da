"""ADwT by hand, and the number of fairchem's own evaluator."""

import numpy as np
import pytest

from erlangen.tasks.relaxed import THRESHOLDS, adwt, mean_distance, nearest_image

BOX = np.diag([10.0, 10.0, 20.0])
ALL = np.ones(2, bool)


def test_thresholds_go_from_a_hundredth_to_just_below_a_half() -> None:
    assert len(THRESHOLDS) == 490
    assert THRESHOLDS[[0, -1]] == pytest.approx([0.01, 0.499])


@pytest.mark.parametrize(
    ("distance", "share"), [(0.0, 1.0), (0.009, 1.0), (0.2545, 245 / 490), (0.4985, 1 / 490), (0.5, 0.0), (7.0, 0.0)]
)
def test_a_structure_counts_by_the_thresholds_that_it_is_below(distance: float, share: float) -> None:
    assert adwt(np.array([distance])) == pytest.approx(share)
    assert adwt(np.array([distance, 9.0])) == pytest.approx(share / 2)


def test_distances_are_means_over_free_atoms() -> None:
    reference = np.array([[1.0, 1, 1], [2.0, 2, 2], [3.0, 3, 3]])
    pos = reference + [[0.1, 0, 0], [0, 0.3, 0], [0, 0, 2.0]]
    free = np.array([True, True, False])
    assert mean_distance(pos, reference, BOX, free) == pytest.approx(0.2)
    assert mean_distance(pos, reference, BOX, ~free) == pytest.approx(2.0)
    assert mean_distance(pos, reference, BOX, np.zeros(3, bool)) == 0


def test_images_do_not_matter() -> None:
    pos, reference = np.array([[0.1, 5, 19.9], [1.0, 1, 1]]), np.array([[9.9, 5, 0.2], [1.0, 1, 1]])
    assert mean_distance(pos, reference, BOX, ALL) == pytest.approx(np.hypot(0.2, 0.3) / 2)
    cell = np.array([[7.5, 0, 0], [3.8, 6.5, 0], [0.3, -0.2, 24.0]])
    moved = pos + np.array([[1, -2, 1], [0, 3, -1]]) @ cell
    np.testing.assert_allclose(nearest_image(moved - pos, cell), 0, atol=1e-12)


def test_the_reference_evaluator_gives_the_same_number() -> None:
    """`average_distance_within_threshold` of fairchem's evaluator (core/modules/evaluator.py), run on these very positions."""
    rng = np.random.default_rng(230612059)
    distances = []
    for size in rng.integers(3, 30, 60):
        cell = np.diag(rng.uniform(6, 20, 3)) + rng.normal(size=(3, 3))
        reference = rng.random((size, 3)) @ cell
        pos = reference + rng.uniform(0, 0.3) * rng.normal(size=(size, 3)) + rng.integers(-1, 2, (size, 3)) @ cell
        distances.append(mean_distance(pos, reference, cell, np.ones(size, bool)))
    assert adwt(np.array(distances)) == pytest.approx(0.5134353741496599, abs=1e-12)
