"""CARE's term and Wahba's problem, against planted actions and a closed form."""

import math

import pytest
import torch
from torch.nn.functional import normalize

from erlangen.errors import UserError
from erlangen.nn.orthogonal_action import gram_difference, wahba_error, wahba_rotation


def sphere(count: int, channels: int, generator: torch.Generator) -> torch.Tensor:
    return normalize(torch.randn(count, channels, generator=generator, dtype=torch.float64), dim=-1)


def orthogonal(channels: int, generator: torch.Generator) -> torch.Tensor:
    return torch.linalg.qr(torch.randn(channels, channels, generator=generator, dtype=torch.float64)).Q


def test_an_orthogonal_action_costs_nothing(generator: torch.Generator) -> None:
    a = sphere(12, 5, generator)
    for turn in (orthogonal(5, generator), torch.diag(torch.tensor([-1.0, 1, 1, 1, 1], dtype=torch.float64))):
        assert float(gram_difference(a, a @ turn.mT)) < 1e-28
        assert float(wahba_error(a, a @ turn.mT)) < 1e-28
        torch.testing.assert_close(wahba_rotation(a, a @ turn.mT), turn)


def test_what_costs_nothing_is_an_orthogonal_action(generator: torch.Generator) -> None:
    """Other points with the same inner products, made from these alone: Wahba finds the matrix that takes a to them."""
    a = sphere(12, 5, generator)
    values, vectors = torch.linalg.eigh(a @ a.mT)
    b = (vectors * values.clamp(min=0).sqrt())[:, -5:]
    assert float((a - b).abs().max()) > 0.1
    assert float(gram_difference(a, b)) < 1e-24
    assert float(wahba_error(a, b)) < 1e-24


def test_any_other_action_costs(generator: torch.Generator) -> None:
    a = sphere(12, 5, generator)
    stretched = normalize(a * torch.tensor([2.0, 1, 1, 1, 1], dtype=torch.float64), dim=-1)
    assert float(gram_difference(a, stretched)) > 1e-2
    assert 1e-2 < float(wahba_error(a, stretched)) <= 1
    permuted = a.roll(1, 0)  # the same set, but no matrix takes each to the next
    assert float(gram_difference(a, permuted)) > 1e-2


def test_two_points_by_hand() -> None:
    """Angles of 60 and 90 degrees: 2 / 2 * 2 (1/2 - 0)^2."""
    first = torch.tensor([[1.0, 0], [0.5, math.sqrt(0.75)]])
    second = torch.tensor([[1.0, 0], [0.0, 1.0]])
    assert float(gram_difference(first, second)) == pytest.approx(0.5)
    both = gram_difference(torch.stack([first, first]), torch.stack([second, first]))
    assert both.tolist() == pytest.approx([0.5, 0])


def test_wahba_beats_every_other_rotation(generator: torch.Generator) -> None:
    a, b = sphere(40, 4, generator), sphere(40, 4, generator)
    best = float((b - a @ wahba_rotation(a, b).mT).square().sum())
    for _ in range(50):
        assert float((b - a @ orthogonal(4, generator).mT).square().sum()) >= best


def test_too_few_points_are_refused(generator: torch.Generator) -> None:
    with pytest.raises(UserError, match="needs more samples"):
        wahba_error(sphere(4, 4, generator), sphere(4, 4, generator))
