"""Losses against their closed forms, and their gradients under two processes."""

import math
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from erlangen.errors import UserError
from erlangen.nn.ssl_losses import barlow_twins, covariance, nt_xent, regularization, variance, vicreg


def test_vicreg_of_a_known_embedding() -> None:
    """Columns (1, -1, 0, 0) and twice that: variances 2/3 and 8/3, covariance 4/3."""
    column = torch.tensor([1.0, -1, 0, 0])
    z = torch.stack([column, 2 * column], -1)
    assert float(variance(z)) == pytest.approx((1 - math.sqrt(2 / 3 + 1e-4)) / 2, abs=1e-6)
    assert float(covariance(z)) == pytest.approx(2 * (4 / 3) ** 2 / 2, abs=1e-5)
    assert float(vicreg(z, z, sim=3.0, std=5.0, cov=7.0)) == pytest.approx(
        5 * float(variance(z)) + 14 * float(covariance(z))
    )
    assert float(vicreg(z, z + 1, 3.0, 0.0, 0.0)) == pytest.approx(3)


def test_white_embeddings_cost_nothing() -> None:
    """Centred, uncorrelated, of deviation one or more."""
    z = 2 * torch.tensor([[1.0, 1], [1, -1], [-1, 1], [-1, -1]])
    assert float(regularization(z, z, 1.0, 1.0)) == pytest.approx(0, abs=1e-6)
    assert float(barlow_twins(z, z, redundancy=1.0)) == pytest.approx(0, abs=1e-8)


def test_barlow_twins_counts_both_kinds_of_entries() -> None:
    z = torch.tensor([[1.0, 1], [1, -1], [-1, 1], [-1, -1]])
    swapped = z.flip(-1)  # correlations [[0, 1], [1, 0]]
    assert float(barlow_twins(z, swapped, redundancy=0.25)) == pytest.approx(2 + 0.25 * 2, abs=1e-4)


def test_nt_xent_by_hand(generator: torch.Generator) -> None:
    a, b = (torch.randn(3, 4, generator=generator, dtype=torch.float64) for _ in range(2))
    z = [row / row.norm() for row in [*a, *b]]
    total = 0.0
    for i in range(6):
        weights = {k: math.exp(float(z[i] @ z[k]) / 0.5) for k in range(6) if k != i}
        total -= math.log(weights[(i + 3) % 6] / sum(weights.values()))
    assert float(nt_xent(a, b, 0.5)) == pytest.approx(total / 6)


@pytest.mark.parametrize(
    "loss",
    [lambda a, b: vicreg(a, b, 1.0, 1.0, 1.0), lambda a, b: nt_xent(a, b, 0.1), lambda a, b: barlow_twins(a, b, 0.01)],
    ids=["vicreg", "nt_xent", "barlow_twins"],
)
def test_the_order_of_samples_and_of_views_does_not_matter(loss, generator: torch.Generator) -> None:
    a, b = (torch.randn(8, 4, generator=generator, dtype=torch.float64) for _ in range(2))
    order = torch.randperm(8, generator=generator)
    torch.testing.assert_close(loss(a[order], b[order]), loss(a, b))
    torch.testing.assert_close(loss(b, a), loss(a, b))


def test_one_sample_cannot_be_compared() -> None:
    with pytest.raises(UserError, match="needs two or more"):
        vicreg(torch.ones(1, 4), torch.ones(1, 4), 1.0, 1.0, 1.0)


@pytest.mark.slow
def test_two_processes_have_the_gradient_of_one() -> None:
    """Each loss, and SIE's with its predictor, on unequal shares of a batch: to 1e-6 of the joined batch's gradient."""
    script = Path(__file__).with_name("two_processes.py")
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.split() == ["vicreg", "nt_xent", "barlow_twins", "sie"]
