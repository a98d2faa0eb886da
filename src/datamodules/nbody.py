"""N-body: where five charged particles will be after 1,000 steps (EGNN, arXiv:2102.09844, section 5.1).

The authors' `nbody_small`: 10,000 systems for training, 2,000 for validation and 2,000 for testing are drawn one after
the other from seed 43; the first 3,000 are trained on. A sample leads from frame 30 to frame 40 of a trajectory. The
components of the force are cut off, which fires in nearly half of the systems and makes the task symmetric under
rotations only approximately: it is kept, because the published numbers were measured so.
"""

import logging
from pathlib import Path

import numpy as np

from ..errors import UserError
from ..tasks.spec import Field, Spec, Target
from .files.cache import cached_arrays
from .ragged import RaggedDataset
from .simulated import Simulated
from .synthetic.nbody_simulator import draw_charged, draw_gravity, frames

log = logging.getLogger("erlangen")

SEED = 43
DRAWN = {"train": 10_000, "val": 2_000, "test": 2_000}
PUBLISHED = {"train": 3_000, "val": 2_000, "test": 2_000}
FROM, TO = 30, 40


class NBody(Simulated):
    """Positions, velocities and charges at one time, to positions at a later one.

    Args:
        force: "charged" as in EGNN, or "gravity" as in SEGNN (arXiv:2110.02905; there with 100 particles), where all
            masses are 1 and a node has no field beside its position and velocity.
        particles: in each system.
        clip: whether the charged force is cut off, as published; gravity is softened instead and wants false.
        train_size, val_size, test_size: how many of the systems drawn to simulate and use, always the first ones.
    """

    modality = "trajectories"

    def __init__(
        self,
        root: str | Path,
        seed: int,
        force: str,
        particles: int,
        clip: bool,
        train_size: int,
        val_size: int,
        test_size: int,
        batch_size: int,
        eval_batch_size: int,
        num_workers: int = 0,
    ):
        sizes = {"train": train_size, "val": val_size, "test": test_size}
        super().__init__(root, seed, sizes, DRAWN, batch_size, eval_batch_size, num_workers)
        if force not in ("charged", "gravity"):
            raise UserError(f"data.force must be charged or gravity, not {force!r}")
        if force == "gravity" and clip:
            raise UserError(
                "data.clip=true with data.force=gravity: gravity is softened, not cut off; use data.clip=false"
            )
        if particles < 2:
            raise UserError(f"data.particles must be at least 2, not {particles}")
        self.force, self.particles, self.clip = force, particles, clip

    @property
    def spec(self) -> Spec:
        variant = "" if self.clip or self.force == "gravity" else ", not clipped"
        fields = {"pos": Field(irreps="1o", translates=True), "vel": Field(irreps="1o")}
        if self.force == "charged":
            fields["charge"] = Field(shape=(1,))
        return Spec(
            benchmark="nbody",
            modality=self.modality,
            split=f"{self.force}, {self.particles} particles{variant}, {self.sizes_in_short}",
            source="official",
            subset=any(size < PUBLISHED[name] for name, size in self.sizes.items()),
            fields=fields,
            targets=(Target(name="position", level="node", irreps="1o", translates=True),),
        )

    def load(self) -> dict[str, RaggedDataset]:
        sizes = "-".join(str(size) for size in self.sizes.values())
        name = f"{self.force}{'-clip' if self.clip else ''}-{self.particles}-{sizes}"
        arrays = cached_arrays(self.root / "nbody" / name, self.simulate)
        systems, particles = arrays["pos"].shape[:2]
        nodes = {field: array.reshape(systems * particles, -1) for field, array in arrays.items() if field != "id"}
        ends = np.cumsum([0, *self.sizes.values()])
        return {
            name: RaggedDataset(np.arange(systems + 1) * particles, nodes, {"id": arrays["id"]}, np.arange(start, stop))
            for name, start, stop in zip(self.sizes, ends, ends[1:], strict=False)
        }

    def simulate(self) -> dict[str, np.ndarray]:
        """float32 arrays (systems, particles, …) of both frames; `id` is a system's place in the order of the draws."""
        total, place = sum(self.sizes.values()), self.root / "nbody"
        log.warning(
            "simulating %d systems of %d particles, once (5 take a minute); they are kept in %s",
            total,
            self.particles,
            place,
        )
        begins = np.cumsum([0, *DRAWN.values()])[:-1]
        index = np.concatenate(
            [begin + np.arange(size) for begin, size in zip(begins, self.sizes.values(), strict=True)]
        )
        draw = draw_charged if self.force == "charged" else draw_gravity
        start = draw(sum(DRAWN.values()), self.particles, SEED)[index]
        pos, vel = (array.swapaxes(-1, -2).astype(np.float32) for array in frames(start, (FROM, TO), self.clip))
        arrays = {"id": index, "pos": pos[0], "vel": vel[0], "position": pos[1]}
        if start.charge is not None:
            arrays["charge"] = start.charge.astype(np.float32)
        return arrays
