"""N-body: the authors' systems, their integrator's order, and what the force's cut-off does to the symmetry."""

import hashlib
import itertools
from pathlib import Path

import numpy as np
import pytest
import torch

from erlangen.datamodules import nbody as nbody_module
from erlangen.datamodules.nbody import NBody
from erlangen.datamodules.synthetic.nbody_simulator import (
    DT,
    MAX_FORCE,
    SOFTENING,
    Start,
    coulomb,
    draw_charged,
    draw_gravity,
    frames,
    gravity,
    leapfrog,
    reflect,
    symplectic_euler,
)
from erlangen.errors import UserError
from erlangen.tasks.normalizer import Normalizer

CHARGES = "ec7ffdf18657d214dcb4d19c372aaa1f8f301191c816f6a5e4201da7a4c39ffe"
"""Of the 14,000 x 5 charges that were published with Frame Averaging (arXiv:2110.03336), as int8."""

# Made by the authors' program: the first particle's position and velocity at frame 30, the last one's position at frame
# 40, and the sum of all absolute coordinates there.
OFFICIAL = {
    0: (
        [2.989116317166655, 1.769370120446526, -1.1712942795381607],
        [1.1338110406668451, 0.39568061256371995, -0.2266065730886864],
        [0.015715008959059112, -3.516546495348084, -2.3207265914093873],
        22.722502443273427,
    ),
    1: (
        [-2.2511020102112775, -2.000332467841478, -1.1794238552454772],
        [-0.024147938210348763, -0.7136812287155967, -0.08640914158289562],
        [1.7203318000808308, 1.21418093939266, 1.0096671961125163],
        32.17503121863471,
    ),
    10_000: (
        [-0.19507483294519706, 2.29160697344111, -0.33008609998675364],
        [-0.061465481195315835, 1.3009848702605398, -0.3176459986773655],
        [0.8910121246003185, -2.242784821024234, -1.3543581984034756],
        27.47636487956032,
    ),
    12_000: (
        [1.7298977492711582, 0.7635153613745032, 0.3273713700122135],
        [0.1671993817871212, 0.7315009774494371, -0.8391265006667794],
        [-2.1589198567074894, 1.9238241674893541, 1.9179752743700345],
        19.015853423951604,
    ),
}


def nbody(root: Path, **options) -> NBody:
    published = {"force": "charged", "particles": 5, "clip": True, "batch_size": 100, "eval_batch_size": 100}
    sizes = {"train_size": 4, "val_size": 3, "test_size": 2}
    return NBody(**{"root": root, "seed": 1, **published, **sizes, **options})


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the systems of these tests are kept, simulated once."""
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="module")
def drawn() -> Start:
    return draw_charged(14_000, 5, 43)


def test_every_charge_is_the_published_one(drawn: Start) -> None:
    """Every system's charges follow on all draws of the systems before: one more or less, and all later ones differ."""
    assert hashlib.sha256(drawn.charge.astype(np.int8).tobytes()).hexdigest() == CHARGES


def test_trajectories_are_those_of_the_authors_program(drawn: Start) -> None:
    index = np.array(list(OFFICIAL))
    pos, vel = frames(drawn[index], (30, 40), clip=True)
    for system, (first, speed, last, total) in enumerate(OFFICIAL.values()):
        np.testing.assert_allclose(pos[0, system, :, 0], np.array(first), rtol=0, atol=1e-8)
        np.testing.assert_allclose(vel[0, system, :, 0], np.array(speed), rtol=0, atol=1e-8)
        np.testing.assert_allclose(pos[1, system, :, 4], np.array(last), rtol=0, atol=1e-8)
        np.testing.assert_allclose(np.abs(pos[1, system]).sum(), total, rtol=0, atol=1e-7)


def scalar_charged(start: Start, system: int, steps: int, dt: float, max_force: float | None) -> list[np.ndarray]:
    """One system, particle by particle and component by component: positions after every step."""
    pos, vel, charge = start.pos[system].T.copy(), start.vel[system].T.copy(), start.charge[system]
    trajectory = []
    for _ in range(steps):
        force = np.zeros_like(pos)
        for i, j in itertools.permutations(range(len(pos)), 2):
            distance = sum((pos[i, axis] - pos[j, axis]) ** 2 for axis in range(3)) ** 0.5
            for axis in range(3):
                force[i, axis] += charge[i] * charge[j] * (pos[i, axis] - pos[j, axis]) / distance**3
        if max_force is not None:
            for i, axis in itertools.product(range(len(pos)), range(3)):
                force[i, axis] = min(max(force[i, axis], -max_force), max_force)
        vel += dt * force
        pos += dt * vel
        trajectory.append(pos.T.copy())
    return trajectory


def close_pair(start: Start) -> Start:
    """The same systems with the second particle near enough to the first for the force to be cut off."""
    pos = start.pos.copy()
    pos[:, :, 1] = pos[:, :, 0] + np.array([0.02, -0.03, 0.01])
    return Start(pos, start.vel, start.charge)


@pytest.mark.parametrize("max_force", [MAX_FORCE, None])
def test_every_step_is_that_of_a_scalar_loop(drawn: Start, max_force: float | None) -> None:
    start, steps = drawn[:3] if max_force is None else close_pair(drawn[:3]), 60
    if max_force is not None:
        assert np.abs(coulomb(start.charge, None)(start.pos)).max() > max_force, "the cut-off must be at work here"
    pos, _ = symplectic_euler(start, coulomb(start.charge, max_force), range(1, steps + 1))
    for system in range(3):
        expected = scalar_charged(start, system, steps, DT, max_force)
        np.testing.assert_allclose(pos[:, system], np.stack(expected), rtol=0, atol=1e-9)


def charged_energy(pos: np.ndarray, vel: np.ndarray, start: Start) -> np.ndarray:
    kinetic = 0.5 * (vel**2).sum((1, 2))
    pairs = itertools.combinations(range(pos.shape[2]), 2)
    return kinetic + sum(
        start.charge[:, i] * start.charge[:, j] / np.linalg.norm(pos[:, :, i] - pos[:, :, j], axis=1) for i, j in pairs
    )


def gravity_energy(pos: np.ndarray, vel: np.ndarray, start: Start) -> np.ndarray:
    kinetic = 0.5 * (vel**2).sum((1, 2))
    pairs = itertools.combinations(range(pos.shape[2]), 2)
    return kinetic - sum(1 / np.sqrt(((pos[:, :, i] - pos[:, :, j]) ** 2).sum(1) + SOFTENING**2) for i, j in pairs)


@pytest.mark.parametrize(("kind", "order"), [("charged", 1), ("gravity", 2)])
def test_energy_error_falls_with_the_step_as_the_order_says(drawn: Start, kind: str, order: int) -> None:
    """Without the cut-off; the median over systems, since a near miss obeys no order at these steps."""
    if kind == "charged":
        start, integrate, energy = drawn[:40], symplectic_euler, charged_energy
        force = coulomb(start.charge, None)
    else:
        start, integrate, energy = draw_gravity(40, 5, 43), leapfrog, gravity_energy
        force = gravity
    errors = []
    for refinement in (1, 2, 4):
        steps = 100 * refinement
        pos, vel = integrate(start, force, [steps], 0.4 / steps)
        errors.append(np.abs(energy(pos[0], vel[0], start) - energy(start.pos, start.vel, start)))
    for coarse, fine in itertools.pairwise(errors):
        assert np.median(coarse / fine) == pytest.approx(2**order, rel=0.1)


def test_the_cut_off_breaks_the_rotational_symmetry_and_nothing_else_does(drawn: Start) -> None:
    start = close_pair(drawn[:3])
    turn, _ = np.linalg.qr(np.random.default_rng(0).standard_normal((3, 3)))
    for clip, symmetric in ((False, True), (True, False)):
        force = coulomb(start.charge, MAX_FORCE if clip else None)
        error = np.abs(force(turn @ start.pos) - turn @ force(start.pos)).max()
        assert (error < 1e-8) == symmetric, (clip, error)


def test_forces_balance(drawn: Start) -> None:
    assert np.abs(coulomb(drawn.charge[:20], None)(drawn.pos[:20]).sum(2)).max() < 1e-6
    start = draw_gravity(20, 5, 43)
    assert np.abs(gravity(start.pos).sum(2)).max() < 1e-11
    assert np.abs(start.vel.mean(2)).max() < 1e-15


def test_gravity_is_that_of_the_authors_program() -> None:
    pos, vel = frames(draw_gravity(2, 5, 43), (30, 40), clip=False)
    np.testing.assert_allclose(pos[0, 0, :, 0], [-1.8924730210263896, -0.12418138540744303, 0.20706833451083412])
    np.testing.assert_allclose(vel[0, 0, :, 0], [-0.4163138017780612, -0.43916976575206385, -0.11421690385919962])
    np.testing.assert_allclose(pos[1, 0, :, 4], [1.5321665940969187, -0.6309391222908975, -0.44495539456714384])
    np.testing.assert_allclose(np.abs(pos[1, 1]).sum(), 10.747299245946824)


def test_a_start_beyond_the_box_is_folded_back() -> None:
    pos, vel = reflect(np.array([[[6.0], [-5.5], [1.0]]]), np.array([[[0.1], [0.2], [-0.3]]]))
    assert pos.ravel().tolist() == [4.0, -4.5, 1.0]
    assert vel.ravel().tolist() == [-0.1, 0.2, -0.3]


def test_more_particles_keep_their_density() -> None:
    few, many = draw_charged(2_000, 5, 0), draw_charged(2_000, 40, 0)
    assert many.pos.std() / few.pos.std() == pytest.approx(2, rel=0.1)
    np.testing.assert_allclose(np.linalg.norm(many.vel, axis=1), 0.5)


def test_a_batch_holds_what_the_spec_says(root: Path) -> None:
    data = nbody(root)
    batch = data.splits["train"][[2, 0]]
    shapes = {name: tuple(batch[name].shape) for name in ("pos", "vel", "charge", "position", "id")}
    assert shapes == {"pos": (10, 3), "vel": (10, 3), "charge": (10, 1), "position": (10, 3), "id": (2,)}
    assert set(data.spec.fields) == {"pos", "vel", "charge"}
    assert batch.pos.dtype == batch.charge.dtype == torch.float32
    assert batch.id.tolist() == [2, 0]
    assert batch.charge.abs().unique().tolist() == [1.0]
    np.testing.assert_allclose(batch.pos[5].numpy(), OFFICIAL[0][0], rtol=1e-6)
    np.testing.assert_allclose(batch.vel[5].numpy(), OFFICIAL[0][1], rtol=1e-6)
    np.testing.assert_allclose(batch.position[9].numpy(), OFFICIAL[0][2], rtol=1e-6)


def test_splits_are_the_authors_and_apart(root: Path) -> None:
    splits = nbody(root).splits
    assert {name: part.values("id").tolist() for name, part in splits.items()} == {
        "train": [0, 1, 2, 3],
        "val": [10_000, 10_001, 10_002],
        "test": [12_000, 12_001],
    }
    np.testing.assert_allclose(splits["val"][[0]].pos[0].numpy(), OFFICIAL[10_000][0], rtol=1e-6)
    np.testing.assert_allclose(splits["test"][[0]].pos[0].numpy(), OFFICIAL[12_000][0], rtol=1e-6)


def test_is_simulated_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = nbody(tmp_path).splits["test"][[0, 1]]
    monkeypatch.setattr(nbody_module, "frames", None)
    again = nbody(tmp_path).splits["test"][[0, 1]]
    assert torch.equal(first.position, again.position)


def test_only_the_published_sizes_are_the_whole_benchmark(root: Path) -> None:
    whole = nbody(root, train_size=3000, val_size=2000, test_size=2000).spec
    assert not whole.subset
    assert whole.split == "charged, 5 particles, 3000/2000/2000"
    assert nbody(root).spec.subset
    assert "not clipped" in nbody(root, clip=False).spec.split


def test_gravity_has_no_charge(root: Path) -> None:
    data = nbody(root, force="gravity", clip=False, particles=7)
    batch = data.splits["val"][[0, 1]]
    assert "charge" not in batch
    assert "charge" not in data.spec.fields
    assert batch.position.shape == (14, 3)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"force": "springs"}, "data.force"),
        ({"force": "gravity"}, "data.clip"),
        ({"particles": 1}, "data.particles"),
        ({"train_size": 10_001}, "data.train_size"),
        ({"test_size": 0}, "data.test_size"),
    ],
)
def test_mistakes_are_named(root: Path, options: dict, words: str) -> None:
    with pytest.raises(UserError, match=words):
        nbody(root, **options)


def test_loss_and_metric_are_the_mean_over_all_coordinates(root: Path) -> None:
    """Over batches of different sizes too: 3 samples as 2 and 1."""
    data = nbody(root)
    task, split = data.task, data.splits["val"]
    everyone = split[[0, 1, 2]]
    predicted = everyone.position + torch.randn(15, 3)
    expected = (predicted - everyone.position).double().square().mean().item()
    normalizer = Normalizer(data.spec)
    normalizer.fit(data.statistics(), "std")
    assert task.loss({"position": predicted}, everyone, normalizer).item() == pytest.approx(expected, rel=1e-5)
    task.update("val", {"position": predicted[:10]}, split[[0, 1]])
    task.update("val", {"position": predicted[10:]}, split[[2]])
    assert task.compute("val")["mse"].item() == pytest.approx(expected, rel=1e-6)
    per_sample = task.per_sample({"position": predicted}, everyone)["mse"]
    assert per_sample.shape == (3,)
    task.reset("val")
    task.update("val", {"position": everyone.position}, everyone)
    assert task.compute("val")["mse"] == 0


def test_positions_are_learned_in_their_own_unit(root: Path) -> None:
    data = nbody(root)
    normalizer = Normalizer(data.spec)
    normalizer.fit(data.statistics(), "mad")
    position = data.splits["train"][[0]].position
    assert torch.equal(normalizer.normalize("position", position), position)
    assert torch.equal(normalizer.denormalize({"position": position})["position"], position)
