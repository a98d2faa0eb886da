"""QM9: 130,831 small molecules with DFT properties (Ramakrishnan et al. 2014, doi:10.1038/sdata.2014.22).

Three splits are in use and give numbers that do not compare; each is reproduced exactly (tests hold their hashes):
`cormorant` (Cormorant, EGNN), `dimenet` (PyG's DimeNet) and `equiformer` (TorchMD-NET, Equiformer). Energies have their
free atoms subtracted in float64, before anything is rounded to float32.
"""

from pathlib import Path

import numpy as np

from ..errors import UserError
from ..tasks.normalizer import Statistics, sum_of_atoms
from ..tasks.regression import Regression
from ..tasks.spec import Field, Spec, Target
from .base import DataModule
from .files.cache import cached_arrays
from .files.qm9 import COUNT, TARGETS, read_archive, read_qm9pack
from .ragged import RaggedDataset

UNITS = {
    "mu": "D",
    "alpha": "a0^3",
    "homo": "meV",
    "lumo": "meV",
    "gap": "meV",
    "r2": "a0^2",
    "zpve": "meV",
    "U0": "meV",
    "U": "meV",
    "H": "meV",
    "G": "meV",
    "Cv": "cal/mol/K",
}
ELEMENTS = (1, 6, 7, 8, 9)
# eV, in the order of ELEMENTS (PyG's table; zpve and Cv have none)
ATOMREF = {
    "U0": (-13.61312172, -1029.86312267, -1485.30251237, -2042.61123593, -2713.48485589),
    "U": (-13.5745904, -1029.82456413, -1485.26398105, -2042.5727046, -2713.44632457),
    "H": (-13.54887564, -1029.79887659, -1485.2382935, -2042.54701705, -2713.42063702),
    "G": (-13.90303183, -1030.25891228, -1485.71166277, -2043.01812778, -2713.88796536),
}
SIZES = {"cormorant": (100_000, 17_748), "dimenet": (110_000, 10_000), "equiformer": (110_000, 10_000)}


class QM9(DataModule):
    """QM9 with one or several of its twelve targets.

    Args:
        targets: which of `UNITS` to predict.
        split: cormorant, dimenet or equiformer.
        train_size, val_size, test_size: keep only the first so many of a split (which is in random order), for quick
            runs; the split recorded with every result says so.
        reader: where the values come from: the `qm9pack` wheel, or the authors' archive `dsgdb9nsd.xyz.tar.bz2` in
            root/qm9 (downloaded there if it is missing).
    """

    modality = "atoms"

    def __init__(
        self,
        root: str | Path,
        seed: int,
        targets: list[str],
        split: str,
        batch_size: int,
        eval_batch_size: int,
        num_workers: int = 0,
        train_size: int | None = None,
        val_size: int | None = None,
        test_size: int | None = None,
        reader: str = "qm9pack",
    ):
        super().__init__(root, seed, batch_size, eval_batch_size, num_workers)
        for name in targets:
            if name not in UNITS:
                raise UserError(f"data.targets: QM9 has no target {name!r}; it has {', '.join(UNITS)}")
        if not targets or len(set(targets)) != len(targets):
            raise UserError(f"data.targets must name each target once, and at least one; it is {list(targets)}")
        if split not in SIZES:
            raise UserError(f"data.split: QM9 has no split {split!r}; it has {', '.join(SIZES)}")
        if reader not in ("qm9pack", "archive"):
            raise UserError(f"data.reader must be qm9pack or archive, not {reader!r}")
        self.targets, self.split, self.reader = tuple(targets), split, reader
        train, val = SIZES[split]
        full = {"train": train, "val": val, "test": COUNT - train - val}
        self.sizes = dict(full)
        for name, size in {"train": train_size, "val": val_size, "test": test_size}.items():
            if size is not None and not 1 <= size <= full[name]:
                raise UserError(f"data.{name}_size must lie between 1 and {full[name]} with split={split}, not {size}")
            self.sizes[name] = size or full[name]
        self.full_sizes = full

    @property
    def spec(self) -> Spec:
        kept = [
            f"{self.sizes[name]} of {full} {name}" for name, full in self.full_sizes.items() if self.sizes[name] < full
        ]
        return Spec(
            benchmark="qm9",
            modality=self.modality,
            split=", ".join([self.split, *kept]),
            source="official",
            subset=bool(kept),
            fields={
                "z": Field(categories=ELEMENTS),
                "pos": Field(irreps="1o", translates=True, unit="Å"),
            },
            targets=tuple(qm9_target(name) for name in self.targets),
        )

    @property
    def training_samples(self) -> int:
        return self.sizes["train"]

    @property
    def task(self) -> Regression:
        return Regression(self.spec, self.statistics)

    def load(self) -> dict[str, RaggedDataset]:
        build = read_qm9pack if self.reader == "qm9pack" else lambda: read_archive(self.root / "qm9")
        arrays = cached_arrays(self.root / "qm9" / f"cache-{self.reader}", build)
        z, ptr = arrays["z"].astype(np.int64), arrays["ptr"]
        graphs = {"id": arrays["id"]}
        for target in self.spec.targets:
            values = arrays["y"][:, TARGETS.index(target.name)]
            if UNITS[target.name] == "meV":
                values = values * 1000
            if target.atomref:
                values = values - sum_of_atoms(target, z, ptr)
            graphs[target.name] = values.astype(np.float32)
        nodes = {"z": z, "pos": np.asarray(arrays["pos"])}
        return {name: RaggedDataset(ptr, nodes, graphs, index) for name, index in self.split_indices().items()}

    def split_indices(self) -> dict[str, np.ndarray]:
        """Positions in the order of the GDB index, as published, cut to the sizes asked for."""
        train, val = SIZES[self.split]
        parts = np.split(permutation(self.split), [train, train + val])
        parts = dict(zip(("train", "val", "test"), parts, strict=True))
        return {name: part[: self.sizes[name]] for name, part in parts.items()}

    def statistics(self) -> dict[str, Statistics]:
        return {name: Statistics.of(self.splits["train"].values(name)) for name in self.targets}


def permutation(split: str) -> np.ndarray:
    """The published random order of the 130,831 molecules."""
    if split == "cormorant":
        return np.random.RandomState(0).permutation(COUNT)
    if split == "dimenet":
        return np.random.RandomState(42).permutation(COUNT)
    return np.random.default_rng(1).permutation(COUNT)


def qm9_target(name: str) -> Target:
    reference = tuple((z, 1000 * value) for z, value in zip(ELEMENTS, ATOMREF.get(name, ()), strict=False))
    return Target(name=name, unit=UNITS[name], atomref=reference)
