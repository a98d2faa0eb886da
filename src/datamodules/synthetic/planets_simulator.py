"""A star and its planets, in units where G = 1: how their start is drawn, and how they move (GATr, arXiv:2305.18415).

Draws follow the authors' program (`NBodySimulator`) one by one, so that its seed gives its systems. Arrays are float64.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.stats import special_ortho_group

STAR, PLANET = (1.0, 10.0), (0.01, 0.1)
"""Ranges of masses, even in their logarithm."""
RADIUS = (0.1, 1.0)
"""Range of a planet's distance from the star, even over the plane."""
NOISE = 0.01
"""Standard deviation of a component of a planet's velocity around that of its circle."""
SHIFT = 20.0
"""Standard deviation of a component of where a system lies."""
TIME, STEPS = 0.1, 100
FARTHEST = 2.0
"""A system is left out where a body ends farther from where it began: it has met another one."""
SPARE = 1.1
"""So many times the systems that are asked for are drawn, since some are left out."""
CHUNK = 1000
"""Systems that are simulated together."""


@dataclass(frozen=True)
class Systems:
    """Masses, positions and velocities; the star has any place among its planets."""

    mass: Float[np.ndarray, "systems bodies"]
    pos: Float[np.ndarray, "systems bodies 3"]
    vel: Float[np.ndarray, "systems bodies 3"]

    def __getitem__(self, index: slice | np.ndarray) -> "Systems":
        return Systems(self.mass[index], self.pos[index], self.vel[index])


def draw(systems: int, planets: int, stream: np.random.RandomState, away: float = 0.0) -> Systems:
    """Planets on nearly circular orbits in one plane, either way round, somewhere in space; `away` lies along x."""
    mass = np.concatenate(
        [log_uniform(*STAR, (systems, 1), stream), log_uniform(*PLANET, (systems, planets), stream)], 1
    )
    pos, vel = np.zeros((2, systems, planets + 1, 3))
    pos[:, 1:, :2] = in_ring(systems * planets, stream).reshape(systems, planets, 2)
    radius = np.linalg.norm(pos[:, 1:], axis=-1)
    speed = stream.choice([-1.0, 1.0], (systems, planets), p=[0.5, 0.5]) * np.sqrt(mass[:, :1] / radius)
    vel[:, 1:, 0], vel[:, 1:, 1] = -speed * pos[:, 1:, 1] / radius, speed * pos[:, 1:, 0] / radius
    vel[:, 1:] += stream.normal(scale=NOISE, size=(systems, planets, 3))
    order = np.stack([stream.permutation(planets + 1) for _ in range(systems)])
    mass, pos, vel = (
        np.take_along_axis(x, order.reshape(*order.shape, *[1] * (x.ndim - 2)), 1) for x in (mass, pos, vel)
    )
    turn = special_ortho_group(3).rvs(size=systems, random_state=stream).reshape(systems, 3, 3)
    pos, vel = (np.einsum("sij,sbj->sbi", turn, x) for x in (pos, vel))
    return Systems(mass, pos + stream.normal(scale=SHIFT, size=(systems, 1, 3)) + np.array([away, 0, 0]), vel)


def log_uniform(low: float, high: float, shape: tuple[int, ...], stream: np.random.RandomState) -> np.ndarray:
    return np.exp(stream.rand(*shape) * (np.log(high) - np.log(low)) + np.log(low))


def in_ring(count: int, stream: np.random.RandomState) -> Float[np.ndarray, "count 2"]:
    """Even over the ring: every point is drawn again as long as any one lies outside, and kept once it lies inside."""
    low, high = RADIUS
    points, outside = np.zeros((count, 2)), np.ones(count, dtype=bool)
    while outside.any():
        points = np.where(outside[:, None], high * stream.uniform(-1, 1, (count, 2)), points)
        square = (points**2).sum(1)
        outside = (square < low**2) | (square > high**2)
    return points


def gravity(mass: Float[np.ndarray, "systems bodies"], pos: Float[np.ndarray, "systems bodies 3"]) -> np.ndarray:
    """Accelerations sum_j m_j (x_j - x_i) / |x_j - x_i|^3, (systems, bodies, 3)."""
    offset = pos[:, None] - pos[:, :, None]
    distance = np.linalg.norm(offset, axis=-1)
    distance[distance < 1e-9] = 1  # a body and itself
    return (offset * (mass[:, None] / distance**3)[..., None]).sum(2)


def evolve(start: Systems, time: float = TIME, steps: int = STEPS) -> Systems:
    """Kick, then drift (symplectic Euler, first order), `steps` times within `time`."""
    pos, vel, dt = start.pos, start.vel, time / steps
    for _ in range(steps):
        vel = vel + dt * gravity(start.mass, pos)
        pos = pos + dt * vel
    return Systems(start.mass, pos, vel)


def first_calm(candidates: Systems, wanted: int) -> tuple[Systems, Systems]:
    """The first `wanted` systems of which no body goes far, at their start and at their end; no more are simulated."""
    kept = []
    for at in range(0, len(candidates.mass), CHUNK):
        start = candidates[at : at + CHUNK]
        end = evolve(start)
        calm = np.linalg.norm(end.pos - start.pos, axis=-1).max(1) <= FARTHEST
        kept.append((start[calm], end[calm]))
        if sum(len(part.mass) for part, _ in kept) >= wanted:
            break
    return tuple(
        Systems(*(np.concatenate([getattr(part, name) for part in parts])[:wanted] for name in ("mass", "pos", "vel")))
        for parts in zip(*kept, strict=True)
    )
