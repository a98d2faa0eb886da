"""Planets: where a star and its planets will be after a tenth of a unit of time (GATr, arXiv:2305.18415, section 4.1).

The authors' `generate_nbody_dataset.py` with its seed 42: 100,000 systems of three planets for training, 5,000 each for
validation and testing, drawn one set after the other; of the training set the first thousand, "1 %", are published for a
training of 5,000 steps. Two more sets are tests of generalisation, drawn in the same way: far away, and with five planets.
"""

import logging
from pathlib import Path

import numpy as np

from ..errors import UserError
from ..tasks.spec import Field, Spec, Target
from .files.cache import cached_arrays
from .ragged import RaggedDataset
from .simulated import Simulated
from .synthetic.planets_simulator import SPARE, draw, first_calm

log = logging.getLogger("erlangen")

SEED = 42
SETS = {
    "train": (100_000, 3, 0.0),
    "val": (5_000, 3, 0.0),
    "eval": (5_000, 3, 0.0),
    "e3_generalization": (5_000, 3, 200.0),
    "object_generalization": (5_000, 5, 0.0),
}
"""In the order of their draws: systems, planets, and how far they are moved along x."""
TESTS = ("eval", "e3_generalization", "object_generalization")
ONE_PERCENT = 1_000


class Planets(Simulated):
    """Masses, positions and velocities of a star and its planets, to their positions later.

    Args:
        test: what is tested on: "eval", drawn as the training set is; "e3_generalization", 200 units away;
            "object_generalization", five planets.
        train_size, val_size, test_size: how many systems of a set to use, always the first ones.
    """

    modality = "trajectories"

    def __init__(
        self,
        root: str | Path,
        seed: int,
        test: str,
        train_size: int,
        val_size: int,
        test_size: int,
        batch_size: int,
        eval_batch_size: int,
        num_workers: int = 0,
    ):
        if test not in TESTS:
            raise UserError(f"data.test must be {', '.join(TESTS[:-1])} or {TESTS[-1]}, not {test!r}")
        sets = {"train": "train", "val": "val", "test": test}
        self.drawn = {name: SETS[of][0] for name, of in sets.items()}
        sizes = {"train": train_size, "val": val_size, "test": test_size}
        super().__init__(root, seed, sizes, self.drawn, batch_size, eval_batch_size, num_workers)
        self.sets = sets

    @property
    def spec(self) -> Spec:
        return Spec(
            benchmark="planets",
            modality=self.modality,
            split=f"{self.sets['test']}, {self.sizes_in_short}",
            source="official",
            subset=self.sizes not in (self.drawn, self.drawn | {"train": ONE_PERCENT}),
            fields={
                "pos": Field(irreps="1o", translates=True),
                "vel": Field(irreps="1o"),
                "mass": Field(shape=(1,)),
            },
            targets=(Target(name="position", level="node", irreps="1o", translates=True),),
        )

    def load(self) -> dict[str, RaggedDataset]:
        return {split: self.split(name, self.sizes[split]) for split, name in self.sets.items()}

    def split(self, name: str, size: int) -> RaggedDataset:
        arrays = cached_arrays(self.root / "planets" / f"{name}-{size}", lambda: simulate(name, size))
        systems, bodies = arrays["pos"].shape[:2]
        nodes = {field: array.reshape(systems * bodies, -1) for field, array in arrays.items() if field != "id"}
        return RaggedDataset(np.arange(systems + 1) * bodies, nodes, {"id": arrays["id"]})


def simulate(name: str, size: int) -> dict[str, np.ndarray]:
    """float32 arrays (systems, bodies, …) of the first systems of a set; `id` counts through all sets."""
    log.warning("simulating %d systems of a star and its planets (%s), once", size, name)
    stream = np.random.RandomState(SEED)
    before = 0
    for other, (systems, planets, away) in SETS.items():
        candidates = draw(round(SPARE * systems), planets, stream, away)
        if other == name:
            break
        before += systems
    start, end = first_calm(candidates, size)
    arrays = {"mass": start.mass[..., None], "pos": start.pos, "vel": start.vel, "position": end.pos}
    return {"id": before + np.arange(size)} | {field: array.astype(np.float32) for field, array in arrays.items()}
