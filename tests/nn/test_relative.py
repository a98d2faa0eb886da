"""Relative representations: what they forget, and what they keep."""

import pytest
import torch

from erlangen.nn.relative import relative


def test_turns_reflections_and_stretching_are_forgotten() -> None:
    z, anchors = torch.randn(30, 8, dtype=torch.float64), torch.randn(12, 8, dtype=torch.float64)
    turn = torch.linalg.qr(torch.randn(8, 8, dtype=torch.float64)).Q
    torch.testing.assert_close(relative(3.7 * z @ turn, 3.7 * anchors @ turn), relative(z, anchors))
    torch.testing.assert_close(relative(z @ -turn, anchors @ -turn), relative(z, anchors))


def test_other_linear_maps_are_not() -> None:
    z, anchors = torch.randn(30, 8, dtype=torch.float64), torch.randn(12, 8, dtype=torch.float64)
    shear = torch.eye(8, dtype=torch.float64) + torch.randn(8, 8, dtype=torch.float64)
    assert not torch.allclose(relative(z @ shear, anchors @ shear), relative(z, anchors), atol=0.1)


def test_angles_between_samples_can_be_read_again() -> None:
    """With as many independent anchors as channels nothing but the lengths is lost."""
    z, anchors = torch.randn(30, 8, dtype=torch.float64), torch.randn(8, 8, dtype=torch.float64)
    directions = torch.nn.functional.normalize(anchors, dim=-1)
    found = torch.linalg.solve(directions, relative(z, anchors).T).T
    torch.testing.assert_close(found, torch.nn.functional.normalize(z, dim=-1))


def test_an_anchor_sees_itself_at_one() -> None:
    anchors = torch.randn(5, 3, dtype=torch.float64)
    assert relative(anchors, anchors).diagonal().tolist() == pytest.approx([1] * 5)
