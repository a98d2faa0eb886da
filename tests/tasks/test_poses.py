"""Poses against scipy, and the scores' floors as the benchmark documents them."""

import math

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from erlangen.geometry.rotations import quaternion_to_matrix
from erlangen.tasks.poses import (
    base_translation,
    euler_to_quaternion,
    geodesic_degrees,
    object_translation,
    r2,
    r2_uniform,
    relative_color,
    relative_rotation,
)


def drawn(count: int, seed: int = 0, latents: int = 7) -> torch.Tensor:
    """Latents as 3DIEBench draws them."""
    generator = torch.Generator().manual_seed(seed)
    values = torch.rand(count, latents, generator=generator, dtype=torch.float64)
    values[:, :3] = math.pi * (values[:, :3] - 0.5)
    values[:, 7:] -= 0.5
    return values


def test_rotations_are_the_authors() -> None:
    """Extrinsic xyz angles; R_1^-1 R_2; quaternions compare up to their sign and their order of components."""
    a, b = drawn(200, 1), drawn(200, 2)
    first, second = (Rotation.from_euler("xyz", x[:, :3].numpy()) for x in (a, b))
    np.testing.assert_allclose(
        quaternion_to_matrix(euler_to_quaternion(a[:, :3])).numpy(), first.as_matrix(), atol=1e-12
    )
    ours = relative_rotation(a, b)[:, [1, 2, 3, 0]].numpy()
    theirs = (first.inv() * second).as_quat()
    np.testing.assert_allclose(np.abs((ours * theirs).sum(-1)), 1, atol=1e-12)
    assert (relative_rotation(a, b)[:, 0] < 0).any()  # the sign is the product's, not made positive


def test_the_papers_r2_has_a_floor_of_0_229() -> None:
    true = relative_rotation(drawn(200_000, 3), drawn(200_000, 4))
    constant = true.mean(0).expand_as(true)
    assert float(r2(constant, true)) == pytest.approx(0.229, abs=0.003)
    assert float(r2_uniform(constant, true)) == pytest.approx(0, abs=1e-9)
    upper = torch.where(true[:, :1] < 0, -true, true)
    assert float(r2(upper, true)) == pytest.approx(0.81, abs=0.01)
    assert float(geodesic_degrees(upper, true)) < 1e-5
    assert float(r2(true, true)) == float(r2_uniform(true, true)) == 1


def test_the_angle_between_rotations() -> None:
    turn = torch.tensor([[math.cos(math.pi / 8), 0, 0, math.sin(math.pi / 8)]])
    still = torch.tensor([[2.0, 0, 0, 0]])
    assert float(geodesic_degrees(turn, still)) == pytest.approx(45)
    assert float(geodesic_degrees(-turn, still)) == pytest.approx(45)


def test_colours_are_differences_without_wrapping() -> None:
    a, b = torch.zeros(1, 7), torch.zeros(1, 7)
    a[0, 3], b[0, 3], b[0, 6] = 0.9, 0.1, 0.4
    torch.testing.assert_close(relative_color(a, b), torch.tensor([[-0.8, 0.4]]))


def test_translations_are_those_of_poses_r_t() -> None:
    """The pose maps x to R (x + t): its place in the base's frame is R t."""
    a, b = drawn(50, 5, 10), drawn(50, 6, 10)
    places = [
        np.einsum("nij,nj->ni", Rotation.from_euler("xyz", x[:, :3].numpy()).as_matrix(), x[:, 7:].numpy())
        for x in (a, b)
    ]
    np.testing.assert_allclose(base_translation(a, b).numpy(), places[1] - places[0], atol=1e-12)
    torch.testing.assert_close(object_translation(a, b), b[:, 7:] - a[:, 7:])
