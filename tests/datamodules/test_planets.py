"""Planets: the authors' systems, the laws that hold for any, and the sets that are tested on."""

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch

from erlangen.datamodules import planets as planets_module
from erlangen.datamodules.planets import SEED, SETS, Planets
from erlangen.datamodules.synthetic.planets_simulator import (
    FARTHEST,
    RADIUS,
    SPARE,
    STAR,
    Systems,
    draw,
    evolve,
    first_calm,
    gravity,
)
from erlangen.errors import UserError

# Made by the authors' program: the first body's mass, position and velocity, and the last body's position later.
OFFICIAL = {
    ("train", 0): (
        0.02707051097977424,
        [-23.331110553825162, 5.090865137539486, 28.306358447883657],
        [-1.0801835054440896, 0.775604267928496, -1.2500499851633067],
        [-24.028169136105426, 5.023522587354116, 27.711359185343838],
    ),
    ("train", 999): (
        0.02653120371876338,
        [-24.42474733983207, -5.896181268365467, -13.32299901154451],
        [1.7052993007231556, -0.32471875147656154, 2.130095889813253],
        [-22.923763767110668, -5.825719483496145, -14.082494020995336],
    ),
    ("val", 0): (
        0.09188631598365848,
        [-17.417743738445335, 10.450019930342968, 1.3698092319860837],
        [-1.4317279329792962, 1.3897017756420196, 1.1532850881363075],
        [-17.244975855606494, 10.650896126333501, 1.346178588672106],
    ),
    ("eval", 4999): (
        0.038630705169429416,
        [-0.1769988303071811, 1.7835899578344674, 13.31678522925957],
        [-2.9227805683046704, -1.3663386990712316, -0.8626808983567079],
        [0.5327976045225989, 2.2294307727693083, 13.523787829042481],
    ),
    ("e3_generalization", 0): (
        0.040349505696315846,
        [167.65517349649306, -10.750964657353402, -8.697803709081244],
        [-1.2051917110550963, -0.16732799622291344, -1.1794873086043978],
        [167.39504891593572, -10.730483929523595, -8.89543881107154],
    ),
    ("object_generalization", 0): (
        0.026791773525151788,
        [29.785949143631107, 7.52754906382654, 40.901981491345396],
        [1.4677242612077785, -0.6849808079520467, -0.44693770611011974],
        [29.54479190884739, 6.9261258796059115, 41.05103074739793],
    ),
}


@pytest.fixture(scope="module")
def drawn() -> dict[str, Systems]:
    """All sets, one after the other from one stream."""
    stream = np.random.RandomState(SEED)
    return {name: draw(round(SPARE * size), planets, stream, away) for name, (size, planets, away) in SETS.items()}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data")


def planets(root: Path, **options) -> Planets:
    sizes = {"train_size": 4, "val_size": 3, "test_size": 2}
    return Planets(
        **{"root": root, "seed": 1, "test": "eval", "batch_size": 4, "eval_batch_size": 4, **sizes, **options}
    )


@pytest.mark.parametrize(("name", "system"), OFFICIAL, ids=str)
def test_systems_are_those_of_the_authors_program(drawn: dict[str, Systems], name: str, system: int) -> None:
    """Every draw follows on all before it: one more or less, and all later ones differ."""
    start, end = first_calm(drawn[name], system + 1)
    mass, pos, vel, later = OFFICIAL[name, system]
    np.testing.assert_allclose(start.mass[system, 0], mass, rtol=1e-12)
    np.testing.assert_allclose(start.pos[system, 0], pos, rtol=0, atol=1e-12)
    np.testing.assert_allclose(start.vel[system, 0], vel, rtol=0, atol=1e-12)
    np.testing.assert_allclose(end.pos[system, -1], later, rtol=0, atol=1e-9)


def test_planets_move_in_one_plane_and_nearly_in_circles(drawn: dict[str, Systems]) -> None:
    systems = drawn["val"][:200]
    ways = set()
    for mass, pos, vel in zip(systems.mass, systems.pos, systems.vel, strict=True):
        star = int(mass.argmax())
        assert STAR[0] <= mass[star] <= STAR[1]
        assert not vel[star].any()
        x, v = np.delete(pos - pos[star], star, 0), np.delete(vel, star, 0)
        radius = np.linalg.norm(x, axis=1)
        assert (radius >= RADIUS[0]).all()
        assert (radius <= RADIUS[1]).all()
        assert np.linalg.svd(x, compute_uv=False)[-1] < 1e-12
        np.testing.assert_allclose(np.linalg.norm(v, axis=1), np.sqrt(mass[star] / radius), atol=0.06)
        ways |= set(np.sign(np.cross(x, v) @ np.cross(x[0], v[0])))
    assert ways == {-1.0, 1.0}


def energy(systems: Systems) -> np.ndarray:
    kinetic = 0.5 * (systems.mass * (systems.vel**2).sum(2)).sum(1)
    return kinetic - sum(
        systems.mass[:, i] * systems.mass[:, j] / np.linalg.norm(systems.pos[:, i] - systems.pos[:, j], axis=1)
        for i, j in itertools.combinations(range(systems.mass.shape[1]), 2)
    )


def test_energy_error_falls_with_the_step_and_momentum_stays(drawn: dict[str, Systems]) -> None:
    """The median over systems, since a near miss obeys no order; the first-order integrator's error halves with the step."""
    start = drawn["val"][:60]
    ends = [evolve(start, steps=steps) for steps in (200, 400, 800)]
    errors = [np.abs(energy(end) - energy(start)) for end in ends]
    for coarse, fine in itertools.pairwise(errors):
        assert np.median(coarse / fine) == pytest.approx(2, rel=0.1)
    momentum = [(x.mass[..., None] * x.vel).sum(1) for x in (start, ends[0])]
    np.testing.assert_allclose(*momentum, atol=1e-10)
    assert np.abs((start.mass[..., None] * gravity(start.mass, start.pos)).sum(1)).max() < 1e-10


def test_the_law_is_the_same_everywhere(drawn: dict[str, Systems]) -> None:
    """In turned, mirrored and shifted space; no force is cut off here."""
    start = drawn["val"][:20]
    turn, _ = np.linalg.qr(np.random.default_rng(0).standard_normal((3, 3)))
    moved = Systems(start.mass, start.pos @ turn.T + [5.0, -3.0, 2.0], start.vel @ turn.T)
    expected = evolve(start).pos @ turn.T + [5.0, -3.0, 2.0]
    np.testing.assert_allclose(evolve(moved).pos, expected, rtol=0, atol=1e-9)


def test_a_system_of_which_a_body_flies_off_is_left_out(drawn: dict[str, Systems]) -> None:
    start = drawn["val"][np.arange(4)]  # a copy
    start.vel[1, 2] = [0.0, 0.0, 10.1 * FARTHEST]
    kept, end = first_calm(start, 3)
    np.testing.assert_array_equal(kept.mass, start.mass[[0, 2, 3]])
    assert (np.linalg.norm(end.pos - kept.pos, axis=-1) <= FARTHEST).all()


def test_a_batch_holds_what_the_spec_says(root: Path, drawn: dict[str, Systems]) -> None:
    data = planets(root)
    batch = data.splits["train"][[2, 0]]
    shapes = {name: tuple(batch[name].shape) for name in ("pos", "vel", "mass", "position", "id")}
    assert shapes == {"pos": (8, 3), "vel": (8, 3), "mass": (8, 1), "position": (8, 3), "id": (2,)}
    assert set(data.spec.fields) == {"pos", "vel", "mass"}
    assert (data.spec.node_numbers, data.spec.node_vectors) == (["mass"], ["vel"])
    assert all(batch[name].dtype == torch.float32 for name in ("pos", "vel", "mass", "position"))
    np.testing.assert_allclose(batch.pos[4].numpy(), OFFICIAL["train", 0][1], rtol=1e-6)
    np.testing.assert_allclose(batch.position[7].numpy(), OFFICIAL["train", 0][3], rtol=1e-6)
    np.testing.assert_allclose(batch.mass[:4, 0].numpy(), drawn["train"].mass[2], rtol=1e-6)


@pytest.mark.parametrize(("test", "bodies", "first"), [("eval", 4, 105_000), ("object_generalization", 6, 115_000)])
def test_splits_are_apart_and_one_of_three_is_tested_on(root: Path, test: str, bodies: int, first: int) -> None:
    splits = planets(root, test=test).splits
    found = {name: part.values("id").tolist() for name, part in splits.items()}
    assert found == {"train": [0, 1, 2, 3], "val": [100_000, 100_001, 100_002], "test": [first, first + 1]}
    assert splits["test"][[0, 1]].pos.shape == (2 * bodies, 3)


def test_is_simulated_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = planets(tmp_path).splits["test"][[0, 1]]
    monkeypatch.setattr(planets_module, "simulate", None)
    assert torch.equal(first.position, planets(tmp_path).splits["test"][[0, 1]].position)


def test_only_published_sizes_are_the_whole_benchmark(root: Path) -> None:
    for size in (1_000, 100_000):
        assert not planets(root, train_size=size, val_size=5_000, test_size=5_000).spec.subset
    assert planets(root).spec.subset
    assert planets(root).spec.split == "eval, 4/3/2"
    assert planets(root, train_size=10_000, val_size=5_000, test_size=5_000).spec.subset


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"test": "val"}, "data.test"),
        ({"train_size": 100_001}, "data.train_size"),
        ({"val_size": 0}, "data.val_size"),
        ({"test_size": 5_001}, "data.test_size"),
    ],
)
def test_mistakes_are_named(root: Path, options: dict, words: str) -> None:
    with pytest.raises(UserError, match=words):
        planets(root, **options)
