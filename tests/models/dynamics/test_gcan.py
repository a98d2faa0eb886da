"""What makes GCAN (arXiv:2302.06594) that paper."""

import pytest
import torch
from synthetic import randomize, synthetic_batch

from erlangen.errors import UserError
from erlangen.models.dynamics.gcan import COORDINATES, GCAN, SIGNS, VOLUME, MultivectorNorm, MultivectorSiLU
from erlangen.nn.clifford import GroupAction
from erlangen.runs.pairing import default_data
from erlangen.tasks.symmetry import cast, symmetry_error

NBODY = default_data("nbody").spec


def gcan() -> GCAN:
    paper = GCAN(NBODY, 2, 6).double().eval()
    randomize(paper)
    return paper


def batch_of(samples: int = 4):
    return cast(synthetic_batch(NBODY, samples), NBODY, torch.float64)


def test_it_promises_no_rotations_and_has_none(generator: torch.Generator) -> None:
    paper, batch = gcan(), batch_of()
    assert {symmetry.element for symmetry in paper.symmetries} == {"translation", "permutation"}
    for element, kept in {"rotation": False, "reflection": False, "translation": True, "permutation": True}.items():
        error = max(symmetry_error(paper, batch, NBODY, element, generator).values())
        assert (error < 1e-10) == kept, (element, error)


def test_positions_are_points_and_velocities_directions(generator: torch.Generator) -> None:
    """A motor moves a position, and turns a velocity, which has no place."""
    paper, batch = gcan(), batch_of()
    x = paper.network.embed(batch)
    assert (x[VOLUME, :, 0] == 1).all()
    assert (x[VOLUME, :, 1:] == 0).all()
    signs = torch.tensor(SIGNS, dtype=torch.float64)
    torch.testing.assert_close(x[COORDINATES, :, 1].T * signs, batch.vel)
    torch.testing.assert_close(x[0, :, 2], batch.charge[:, 0])
    (action,) = paper.network.first.actions()[:1, 0]  # a single motor, for all three
    position, velocity, charge = (x[:, :, channel] for channel in range(3))
    moved = {"pos": action @ position, "vel": action @ velocity, "charge": action @ charge}
    start = (position[COORDINATES].T * signs, moved["pos"][COORDINATES].T * signs)
    torch.testing.assert_close(torch.cdist(start[1], start[1]), torch.cdist(start[0], start[0]))
    # a velocity is the difference of two positions, whatever the motor
    ahead = position + velocity
    torch.testing.assert_close(action @ ahead - moved["pos"], moved["vel"])
    assert moved["vel"][VOLUME].abs().max() < 1e-12
    torch.testing.assert_close(moved["charge"], charge)


def test_a_network_of_actions_alone_moves_a_body_rigidly(generator: torch.Generator) -> None:
    """What the templates are for: with weights of 1 on one path, all points of a body undergo one motion."""
    first, second = (GroupAction((3, 0, 1), (0, 3), 1, 1).double() for _ in range(2))
    for layer in (first, second):
        torch.nn.init.normal_(layer.versor, generator=generator)
        torch.nn.init.ones_(layer.weight)
    paper, batch = gcan(), batch_of()
    x = paper.network.embed(batch)[:, :, :1]
    signs = torch.tensor(SIGNS, dtype=torch.float64)
    before, after = (y[COORDINATES, :, 0].T * signs for y in (x, second(first(x))))
    torch.testing.assert_close(torch.cdist(after, after), torch.cdist(before, before))
    assert (after - before).abs().min() > 1e-3


def test_the_gate_is_one_number_a_multivector(generator: torch.Generator) -> None:
    x = torch.randn(5, 7, 3, generator=generator, dtype=torch.float64)
    gate = MultivectorSiLU(3).double()
    factor = gate(x) / x
    torch.testing.assert_close(factor, factor[:1].expand_as(factor))
    expected = torch.sigmoid(torch.einsum("krc,kc->rc", x, gate.weight[:, 0]) + gate.bias)
    torch.testing.assert_close(factor[0], expected)


def test_the_norm_centres_channels_and_gives_them_mean_length_one(generator: torch.Generator) -> None:
    x = 3 + 5 * torch.randn(5, 7, 6, generator=generator, dtype=torch.float64)
    y = MultivectorNorm(6).double()(x)
    assert y.mean(-1).abs().max() < 1e-10
    torch.testing.assert_close(y.norm(dim=0).mean(-1), torch.ones(7, dtype=torch.float64), rtol=1e-5, atol=0)
    same = torch.ones(5, 2, 6, requires_grad=True)
    MultivectorNorm(6)(same).sum().backward()
    assert same.grad.isfinite().all()


@pytest.mark.parametrize("options", [(0, 4), (1, 0)])
def test_mistakes_are_named(options: tuple) -> None:
    with pytest.raises(UserError, match="model"):
        GCAN(NBODY, *options)
