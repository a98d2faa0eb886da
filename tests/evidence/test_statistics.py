"""Intervals say what they claim: against scipy, closed forms, and how often they hold the truth."""

import numpy as np
import pytest
from scipy import stats

from erlangen.evidence.statistics import paired_bootstrap, summarize


def test_seeds_are_summarised_as_scipy_does(rng: np.random.Generator):
    values = rng.normal(50, 3, 7)
    summary = summarize(list(values))
    low, high = stats.t.interval(0.95, 6, loc=values.mean(), scale=stats.sem(values))
    assert summary.n == 7
    assert summary.mean == pytest.approx(values.mean())
    assert summary.std == pytest.approx(stats.tstd(values))
    assert (summary.low, summary.high) == pytest.approx((low, high))


def test_two_seeds_have_the_wide_interval_of_one_degree_of_freedom():
    # s = 2 / sqrt(2), s / sqrt(2) = 1, and t with one degree of freedom is Cauchy: its 97.5% quantile is tan(0.475 pi)
    summary = summarize([9.0, 11.0])
    assert summary.high - summary.mean == pytest.approx(np.tan(0.475 * np.pi))


def test_one_seed_has_no_deviation_and_no_interval():
    summary = summarize([3.0])
    assert (summary.n, summary.mean, summary.std, summary.low, summary.high) == (1, 3.0, None, None, None)


def test_the_bootstrap_interval_is_the_normal_one_where_the_mean_is_normal(rng: np.random.Generator):
    a, b = rng.normal(1.0, 1.0, 4000), rng.normal(0.0, 1.0, 4000)
    found = paired_bootstrap(a, b)
    half = 1.96 * (a - b).std() / np.sqrt(4000)
    assert found.difference == pytest.approx((a - b).mean())
    assert (found.low, found.high) == pytest.approx((found.difference - half, found.difference + half), abs=0.06 * half)
    assert found.decided


def test_what_is_hard_for_both_cancels(rng: np.random.Generator):
    hard = rng.exponential(100.0, 500)
    a, b = hard + rng.normal(0, 1, 500), hard + rng.normal(0.5, 1, 500)
    found = paired_bootstrap(a, b)
    unpaired = 2 * 1.96 * np.sqrt((a.var() + b.var()) / 500)
    assert found.high - found.low < unpaired / 20
    assert found.decided


def test_the_interval_holds_the_truth_as_often_as_it_says(rng: np.random.Generator):
    """Differences are exponential with mean 1; 400 intervals of nominally 95%, binomial deviation 1.1%."""
    held = 0
    for repeat in range(400):
        b = rng.normal(0, 10, 80)
        found = paired_bootstrap(b + rng.exponential(1.0, 80), b, resamples=400, seed=repeat)
        held += found.low <= 1.0 <= found.high
    assert 0.90 < held / 400 < 0.98


def test_equal_runs_are_undecided_and_the_draws_repeat(rng: np.random.Generator):
    a, b = rng.normal(size=(2, 100))
    same = paired_bootstrap(a, a)
    assert (same.difference, same.low, same.high, same.decided) == (0, 0, 0, False)
    assert paired_bootstrap(a, b) == paired_bootstrap(a, b)
    assert paired_bootstrap(a, b).low == pytest.approx(-paired_bootstrap(b, a).high)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)
