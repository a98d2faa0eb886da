"""What several seeds, or two runs on the same samples, allow one to say."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.stats import t as student

LEVEL = 0.95


@dataclass(frozen=True)
class Summary:
    """n values: their mean and, from two on, their standard deviation and the interval for the mean."""

    n: int
    mean: float
    std: float | None = None
    low: float | None = None
    high: float | None = None


def summarize(values: Sequence[float]) -> Summary:
    """Mean, standard deviation (n - 1) and Student's 95% interval mean ± t s / sqrt(n) over independent seeds."""
    n, mean = len(values), float(np.mean(values))
    if n < 2:
        return Summary(n, mean)
    std = float(np.std(values, ddof=1))
    half = float(student.ppf((1 + LEVEL) / 2, n - 1)) * std / np.sqrt(n)
    return Summary(n, mean, std, mean - half, mean + half)


@dataclass(frozen=True)
class Difference:
    """mean(a) - mean(b) over n samples, and its 95% interval."""

    n: int
    mean_a: float
    mean_b: float
    difference: float
    low: float
    high: float

    @property
    def decided(self) -> bool:
        """Whether the interval leaves out zero."""
        return self.low > 0 or self.high < 0


def paired_bootstrap(
    a: Float[np.ndarray, " samples"], b: Float[np.ndarray, " samples"], resamples: int = 10_000, seed: int = 0
) -> Difference:
    """The difference of two means over the same samples, with the percentile interval of a paired bootstrap.

    Samples are drawn with replacement, the same for both (Efron & Tibshirani 1993, chapter 13), so what makes a sample hard
    for both cancels. It speaks of other test samples, not of other seeds.

    Args:
        a, b: errors of two runs, in the same order of samples.
        resamples: how often the samples are drawn anew.
        seed: of the draws.
    """
    paired = np.asarray(a, dtype=np.float64) - np.asarray(b, dtype=np.float64)
    rng, n = np.random.default_rng(seed), len(paired)
    chunk = max(1, 2_000_000 // n)
    means = np.concatenate(
        [
            paired[rng.integers(0, n, (min(chunk, resamples - start), n), dtype=np.int32)].mean(axis=1)
            for start in range(0, resamples, chunk)
        ]
    )
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Difference(n, float(np.mean(a)), float(np.mean(b)), float(paired.mean()), float(low), float(high))
