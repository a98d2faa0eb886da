"""Turned images: the group C4 without loss, and any angle agreeing with it."""

import math

import pytest
import torch

from erlangen.nn.rotate_images import quarter_turns, rotate


@pytest.mark.parametrize("size", [7, 8])
def test_quarter_turns_are_the_group_c4(size: int) -> None:
    images = torch.rand(8, 3, size, size)
    a, b = torch.randint(4, (2, 8))
    assert torch.equal(quarter_turns(quarter_turns(images, a), b), quarter_turns(images, a + b))
    turned = quarter_turns(images, torch.arange(8))
    assert torch.equal(turned[0], images[0])
    assert torch.equal(turned[1], images[1].rot90(1, (-2, -1)))
    for before, after in zip(images, turned, strict=True):
        assert torch.equal(before.flatten(1).sort().values, after.flatten(1).sort().values)


@pytest.mark.parametrize("size", [7, 8, 32])
def test_any_angle_agrees_with_quarter_turns(size: int) -> None:
    images = torch.rand(8, 3, size, size, dtype=torch.float64)
    turns = torch.arange(8)
    expected = quarter_turns(images, turns)
    torch.testing.assert_close(rotate(images, turns.double() * math.pi / 2), expected, atol=1e-9, rtol=0)


def test_a_bright_spot_goes_where_the_rotation_takes_it() -> None:
    """Counter-clockwise as seen: from the right of the centre up and to the left."""
    images = torch.zeros(1, 1, 65, 65)
    images[0, 0, 31:34, 51:54] = 1.0
    y, x = torch.meshgrid(32.0 - torch.arange(65), torch.arange(65) - 32.0, indexing="ij")
    for angle in (0.3, 1.0, 2.5, 4.0):
        turned = rotate(images, torch.tensor([angle]))[0, 0] * (x.hypot(y) < 31)  # no reflected one
        centre = (turned * x).sum() / turned.sum(), (turned * y).sum() / turned.sum()
        assert abs(centre[0] - 20 * math.cos(angle)) < 0.1
        assert abs(centre[1] - 20 * math.sin(angle)) < 0.1


def test_turning_back_restores_a_smooth_image() -> None:
    v, u = torch.meshgrid(torch.linspace(-1, 1, 64), torch.linspace(-1, 1, 64), indexing="ij")
    images = torch.exp(-4 * (u**2 + (v - 0.2) ** 2))[None, None]
    angle = torch.tensor([0.7])
    inside = u.hypot(v) < 0.95  # which never leaves the image
    back = rotate(rotate(images, angle), -angle)
    assert ((back - images).abs() * inside).max() < 0.01


def test_no_corner_tells_the_angle() -> None:
    """The outside is a reflection of the inside, so that an image of one colour stays what it is."""
    images = torch.full((5, 3, 32, 32), 0.6)
    torch.testing.assert_close(rotate(images, torch.rand(5) * 6), images, atol=1e-6, rtol=0)
