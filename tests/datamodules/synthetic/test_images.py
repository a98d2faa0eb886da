"""The drawn pictures: the same everywhere, and about what they say they are about."""

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from erlangen.datamodules.synthetic.images import SHAPES, TEXTURES, classified, depth_inside, draw, grid
from erlangen.models.images.cnn import Stages


def test_the_same_seed_draws_the_same_and_another_draws_anew() -> None:
    first, again, other = (classified(40, 10, 2, 3, 32, seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first[0], again[0])
    assert (first[0] != other[0]).mean() > 0.9
    assert (np.bincount(first[1]) == 4).all()


def test_no_class_is_another_one_turned() -> None:
    """Shapes differ by more than a turn: none is wider than another is high, none stands on a side instead of a corner."""
    assert len(set(SHAPES)) == len(SHAPES) == 20
    assert all(height <= 1 for *_, height in SHAPES)
    assert len(set(TEXTURES)) == len(TEXTURES) == 5


@pytest.mark.parametrize(
    ("shape", "area"),
    [
        (0, np.pi),
        (1, 3**1.5 / 4),
        (2, 2.0),
        (4, np.pi * (1 - 0.55**2)),
        (7, np.pi / 2),
        (9, np.pi * (1 + 0.4 + 0.4**2) / 3),
    ],
)
def test_outlines_have_the_area_of_their_figure(shape: int, area: float) -> None:
    """Disc, regular triangle and square with corners at distance 1, ring, ellipse, star (the radius falls evenly to 0.4)."""
    v, u = grid(400)
    inside = depth_inside(np.array([shape]), 1.2 * u[None], 1.2 * v[None]) > 0
    assert inside.mean() * 2.4**2 == pytest.approx(area, rel=5e-3)


def test_a_triangle_points_up() -> None:
    v, u = grid(101)
    inside = depth_inside(np.array([1]), u[None], v[None])[0] > 0
    rows = np.flatnonzero(inside.any(1))
    assert inside[rows[0]].sum() < 5 < 50 < inside[rows[-1]].sum()


def test_the_mean_picture_of_a_class_says_little() -> None:
    """The means of two halves of one class differ as much as those of two classes: hence the low score of linear models."""
    zeros, ones = np.zeros(400, dtype=np.int64), np.ones(400, dtype=np.int64)
    striped_disc, dotted_triangle = (draw(kind, kind, 3, 32, (7, int(kind[0]))) / 255.0 for kind in (zeros, ones))
    halves = np.abs(striped_disc[::2].mean(0) - striped_disc[1::2].mean(0)).mean()
    classes = np.abs(striped_disc.mean(0) - dotted_triangle.mean(0)).mean()
    assert classes < 2 * halves


@pytest.mark.slow
def test_a_convolutional_network_learns_it_and_a_linear_model_hardly() -> None:
    images, labels = classified(4500, 10, 2, 3, 32, seed=0)
    x, y = torch.from_numpy(images).float() / 255, torch.from_numpy(labels)
    x = (x - x.mean((0, 2, 3), keepdim=True)) / x.std((0, 2, 3), keepdim=True)

    def accuracy(network: torch.nn.Module, epochs: int) -> float:
        optimizer = torch.optim.Adam(network.parameters(), 2e-3)
        for _ in range(epochs):
            for rows in torch.randperm(4000).split(100):
                optimizer.zero_grad()
                cross_entropy(network(x[rows]), y[rows]).backward()
                optimizer.step()
        with torch.no_grad():
            return (network.eval()(x[4000:]).argmax(-1) == y[4000:]).float().mean().item()

    linear = accuracy(torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3072, 10)), 6)
    convolutional = accuracy(torch.nn.Sequential(Stages(3, [16, 32, 64]), torch.nn.Linear(64, 10)), 6)
    assert linear < 0.2
    assert 0.35 < convolutional < 0.9
