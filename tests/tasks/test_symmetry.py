"""How group elements act on batches, in three dimensions and in others."""

import pytest
import torch
from synthetic import synthetic_batch

from erlangen.errors import UserError
from erlangen.geometry.rotations import random_rotations
from erlangen.runs.pairing import default_data
from erlangen.tasks.spec import Field
from erlangen.tasks.symmetry import Motion, act, random_motion, random_rotation, turn_of


@pytest.mark.parametrize("dim", [2, 3, 4, 5])
def test_random_rotations_are_rotations_and_uniform(dim: int, generator: torch.Generator) -> None:
    """Orthogonal, of determinant 1, and with no preferred direction: the mean of R is 0, that of R x R is 1 / n."""
    draws = torch.stack([random_rotation(dim, generator) for _ in range(3000)])
    torch.testing.assert_close(draws.mT @ draws, torch.eye(dim, dtype=torch.float64).expand_as(draws))
    torch.testing.assert_close(torch.linalg.det(draws), torch.ones(3000, dtype=torch.float64))
    assert draws.mean(0).abs().max() < 0.06
    assert (draws.square().mean(0) - 1 / dim).abs().max() < 0.04


def test_motions_of_five_dimensions_move_points_of_five_dimensions(generator: torch.Generator) -> None:
    spec = default_data("hulls").spec
    batch = synthetic_batch(spec)
    determinants = {"rotation": 1.0, "reflection": -1.0, "translation": 1.0}
    for element, determinant in determinants.items():
        motion = random_motion(element, batch, generator)
        moved = act(batch, motion, spec)
        expected = batch.pos @ motion.orthogonal.float().T + motion.translation.float()
        torch.testing.assert_close(moved.pos, expected)
        assert torch.linalg.det(motion.orthogonal).item() == pytest.approx(determinant)
        assert torch.equal(moved.volume, batch.volume)
        before, after = (x[:, None] - x for x in (batch.pos, moved.pos))
        torch.testing.assert_close(after.norm(dim=-1), before.norm(dim=-1), rtol=1e-4, atol=1e-4)


def test_what_turns_how(generator: torch.Generator) -> None:
    turn = random_rotations(generator=generator)
    assert torch.equal(turn_of("0e", turn), torch.ones(1, 1, dtype=torch.float64))
    torch.testing.assert_close(turn_of("1o", -turn), -turn)
    torch.testing.assert_close(turn_of("1e", -turn), turn)
    five = random_rotation(5, generator)
    assert torch.equal(turn_of("1o", five), five)
    with pytest.raises(UserError, match="5 dimensions"):
        turn_of("2e", five)


def test_a_pseudoscalar_has_one_number_a_row(generator: torch.Generator) -> None:
    mirror = Motion(-random_rotations(generator=generator), torch.zeros(3, dtype=torch.float64))
    handedness = torch.randn(4, generator=generator)
    torch.testing.assert_close(mirror.act(handedness, Field("graph", "0o")), -handedness)
    torch.testing.assert_close(mirror.act(handedness[:, None], Field("graph", "0o")), -handedness[:, None])


def test_only_positions_are_scaled(generator: torch.Generator) -> None:
    spec = default_data("nbody").spec
    batch = synthetic_batch(spec)
    motion = random_motion("scaling", batch, generator)
    assert 1 / 4 <= motion.scale <= 4
    assert motion.scale != 1
    moved = act(batch, motion, spec)
    torch.testing.assert_close(moved.pos, motion.scale * batch.pos)
    assert torch.equal(moved.vel, batch.vel)
