"""The floor of trajectories: the best single time for which every body goes straight on."""

import pytest
import torch
from synthetic import synthetic_batch, unit_statistics

from erlangen.models.dynamics.inertia import Inertia
from erlangen.runs.pairing import default_data

NBODY = default_data("nbody")


def fitted(*batches) -> Inertia:
    paper = Inertia(NBODY.spec)
    paper.prepare(NBODY.task, unit_statistics(NBODY.spec), lambda: batches)
    return paper


def test_motion_without_forces_is_learned_exactly() -> None:
    first, second = (synthetic_batch(NBODY.spec, 4, seed) for seed in (0, 1))
    for batch in (first, second):
        batch.position = batch.pos + 0.7 * batch.vel
    paper = fitted(first)
    assert paper.network.time.item() == pytest.approx(0.7, abs=1e-6)
    torch.testing.assert_close(paper.predict(second)["position"], second.position)


def test_the_time_is_that_of_least_squares_over_all_batches() -> None:
    batches = [synthetic_batch(NBODY.spec, samples, seed=samples) for samples in (3, 5)]
    vel, change = (
        torch.cat([values(batch).double().flatten() for batch in batches])
        for values in (lambda b: b.vel, lambda b: b.position - b.pos)
    )
    expected = torch.linalg.lstsq(vel[:, None], change[:, None]).solution.item()
    assert fitted(*batches).network.time.item() == pytest.approx(expected, rel=1e-9)


def test_bodies_at_rest_stay_where_they_are() -> None:
    batch = synthetic_batch(NBODY.spec)
    batch.vel = torch.zeros_like(batch.vel)
    assert torch.equal(fitted(batch).predict(batch)["position"], batch.pos)
