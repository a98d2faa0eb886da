"""Systems of charged or gravitating particles: how their start is drawn, and how they move.

The charged system is that of EGNN (arXiv:2102.09844, section 5.1; after Fuchs et al., arXiv:2006.10503, and Kipf et
al., arXiv:1802.04687), the gravitating one that of SEGNN (arXiv:2110.02905). Both follow the authors' programs in the
order of random draws; the charged one also in every operation, since encounters amplify rounding and another formula for
the distance gives other trajectories. Run side by side, the charged ones agree in every bit, the others to 1e-11.

Arrays are float64 and have the authors' layout (systems, 3, particles). Masses and coupling are 1, time steps are DT.
"""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from rich.progress import track

DT = 0.001
MAX_FORCE = 0.1 / DT
"""The most that a component of a charged particle's force may be: it is cut off, so the force is not equivariant."""
BOX = 5.0
"""A charged particle that starts beyond it is reflected, and its velocity turned inwards; nothing holds it later."""
SPEED = 0.5
SOFTENING = 0.1
LENGTH, EVERY = 5000, 100
"""The authors' programs take so many steps and keep every hundredth; the draws for (zero) noise depend on it."""
CHUNK = 500
"""Systems simulated together: few enough for the cache."""

Positions = Float[np.ndarray, "systems 3 particles"]
Charges = Float[np.ndarray, "systems particles"]
Force = Callable[[Positions], Positions]


@dataclass(frozen=True)
class Start:
    """Positions and velocities at time 0, and charges (None where the particles only have their unit mass)."""

    pos: Positions
    vel: Positions
    charge: Charges | None = None

    def __getitem__(self, index: slice | np.ndarray) -> "Start":
        return Start(self.pos[index], self.vel[index], None if self.charge is None else self.charge[index])


def draw_charged(systems: int, particles: int, seed: int) -> Start:
    """Charges +-1, positions of variance 1 (5 particles; the density stays for more), velocities of length 0.5.

    One stream of random numbers serves all systems one after the other, as in the authors' generate_dataset.py.
    """
    stream = np.random.RandomState(seed)
    noise = 2 * (LENGTH // EVERY - 1) * 3 * particles
    charge, pos, vel = np.empty((systems, particles)), *np.empty((2, systems, 3, particles))
    for system in range(systems):
        charge[system] = stream.choice([-1.0, 0.0, 1.0], size=particles, p=[0.5, 0, 0.5])
        pos[system] = stream.randn(3, particles)
        vel[system] = stream.randn(3, particles)
        stream.randn(noise)
    pos *= (particles / 5) ** (1 / 3)
    vel = vel * SPEED / np.sqrt((vel**2).sum(1, keepdims=True))
    return Start(*reflect(pos, vel), charge)


def draw_gravity(systems: int, particles: int, seed: int) -> Start:
    """Positions and velocities of variance 1, seen from the centre of mass's motion."""
    stream = np.random.RandomState(seed)
    noise = 3 * (LENGTH // EVERY) * 3 * particles
    pos, vel = np.empty((2, systems, 3, particles))
    for system in range(systems):
        pos[system] = stream.randn(particles, 3).T
        vel[system] = stream.randn(particles, 3).T
        stream.randn(noise)
    return Start(pos, vel - vel.mean(2, keepdims=True))


def reflect(pos: Positions, vel: Positions) -> tuple[Positions, Positions]:
    """Coordinates beyond the box folded back into it, with the velocity's component pointing inwards."""
    outside = np.abs(pos) > BOX
    return (
        np.where(outside, np.sign(pos) * (2 * BOX - np.abs(pos)), pos),
        np.where(outside, -np.sign(pos) * np.abs(vel), vel),
    )


def coulomb(charge: Charges, max_force: float | None) -> Force:
    """F_i = sum_j q_i q_j (x_i - x_j) / |x_i - x_j|^3, each component within +-max_force (None: whatever it is)."""
    product = charge[:, :, None] * charge[:, None, :]
    itself = np.arange(charge.shape[1])

    def force(pos: Positions) -> Positions:
        square = (pos**2).sum(1)
        squared_distance = square[:, :, None] + square[:, None, :] - 2 * np.matmul(pos.transpose(0, 2, 1), pos)
        with np.errstate(divide="ignore", invalid="ignore"):  # only on the diagonal, which is overwritten
            size = product / np.power(squared_distance, 1.5)
        size[:, itself, itself] = 0
        total = (size[:, None] * (pos[:, :, :, None] - pos[:, :, None, :])).sum(-1)
        return total if max_force is None else np.clip(total, -max_force, max_force, out=total)

    return force


def gravity(pos: Positions) -> Positions:
    """F_i = sum_j (x_j - x_i) / (|x_j - x_i|^2 + softening^2)^(3/2)."""
    offset = pos[:, :, None, :] - pos[:, :, :, None]
    squared_distance = offset[:, 0] ** 2 + offset[:, 1] ** 2 + offset[:, 2] ** 2
    return (offset * np.power(squared_distance + SOFTENING**2, -1.5)[:, None]).sum(-1)


def symplectic_euler(start: Start, force: Force, steps: Sequence[int], dt: float = DT) -> tuple[np.ndarray, np.ndarray]:
    """Kick by dt, then drift by dt; first order.

    The authors of the charged system call it leapfrog, but their first kick is a whole one. Returns positions and
    velocities after each number of `steps`, rising, (len(steps), systems, 3, particles).
    """

    def step(pos: Positions, vel: Positions) -> None:
        vel += dt * force(pos)
        pos += dt * vel

    return _record(start, step, steps)


def leapfrog(start: Start, force: Force, steps: Sequence[int], dt: float = DT) -> tuple[np.ndarray, np.ndarray]:
    """Half a kick, drift, half a kick; second order. Arguments and results are those of `symplectic_euler`."""
    now = force(start.pos)

    def step(pos: Positions, vel: Positions) -> None:
        nonlocal now
        vel += now * dt / 2
        pos += dt * vel
        now = force(pos)
        vel += now * dt / 2

    return _record(start, step, steps)


def _record(
    start: Start, step: Callable[[Positions, Positions], None], steps: Sequence[int]
) -> tuple[np.ndarray, np.ndarray]:
    pos, vel = start.pos.copy(), start.vel.copy()
    kept, done = [], 0
    for until in steps:
        for _ in range(done, until):
            step(pos, vel)
        done = until
        kept.append((pos.copy(), vel.copy()))
    positions, velocities = zip(*kept, strict=True)
    return np.stack(positions), np.stack(velocities)


def frames(start: Start, wanted: Sequence[int], clip: bool) -> tuple[np.ndarray, np.ndarray]:
    """Positions and velocities of the frames that the authors' programs would have kept under these numbers.

    A charged system's frame k is that after 100 (k + 1) steps, a gravitating one's that after 100 k.

    Args:
        start: of any number of systems; those without charges gravitate.
        wanted: rising numbers of frames.
        clip: whether the charged force is cut off, as published.
    """
    parts = []
    chunks = range(0, len(start.pos), CHUNK)
    for first in track(chunks, description="simulating", transient=True, disable=not sys.stdout.isatty()):
        part = start[first : first + CHUNK]
        if part.charge is None:
            parts.append(leapfrog(part, gravity, [EVERY * k for k in wanted]))
        else:
            force = coulomb(part.charge, MAX_FORCE if clip else None)
            parts.append(symplectic_euler(part, force, [EVERY * (k + 1) for k in wanted]))
    positions, velocities = zip(*parts, strict=True)
    return np.concatenate(positions, axis=1), np.concatenate(velocities, axis=1)
