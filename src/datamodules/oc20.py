"""OC20: adsorbates on catalysts' surfaces, with energies and forces of DFT (Chanussot et al. 2021, arXiv:2010.09990).

S2EF asks for the energy and forces of a structure, IS2RE for the energy that a structure will have once it is relaxed. Energies
are adsorption energies: the total less that of the bare slab and of the adsorbate in the gas. Four validation splits measure
what is learned: `val_id` (as in training), `val_ood_ads`, `val_ood_cat` and `val_ood_both` (new adsorbates, new catalysts,
both). The test labels are hidden, so these four are what is reported here as test, and val_id also chooses the checkpoint.
"""

import logging
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
from torch.utils.data import DataLoader

from ..errors import UserError
from ..tasks.normalizer import Statistics
from ..tasks.oc20 import InitialStructureToRelaxedEnergy, OC20Task, StructureToEnergyAndForces
from ..tasks.spec import Field, Spec, Target
from .atom_batches import AtomBatches, AtomBatchesInOrder
from .base import DataModule
from .files.oc20_official import SIZES, TOGETHER, VALIDATION, Place, check_count, open_split, training_count
from .structures import Part, StructureDataset, index_of, wanted_energies
from .synthetic.slabs import write_miniature

log = logging.getLogger("erlangen")

ELEMENTS = tuple(range(1, 90))
"""Atomic numbers for which the published networks have room; OC20 itself has 56 of them."""
NORMALIZERS = {
    "s2ef": (-0.7554450631141663, 2.887317180633545),
    "is2re": (-1.525913953781128, 2.279365062713623),
}
"""eV, mean and standard deviation of referenced energies that the published recipes use (fairchem's configs/oc20)."""

ATOMS = 77.81317
"""Mean atoms of a structure (of IS2RE 100k, as the published networks have it)."""


class OC20(DataModule):
    """OC20's S2EF or IS2RE, or its miniature: slabs with adsorbates labelled by the EMT potential.

    Args:
        source: official (in root/oc20, downloaded there if it is missing: from 344 MB for 200K up to 225 GB for all, 42 GB
            more with MD, and as much again unpacked; 5 to 7 GB for the validation splits), miniature, or auto: official if it
            is there, else the miniature.
        task: s2ef or is2re.
        size: of the training split: 200K, 2M, 20M, all or all_md (all, and molecular dynamics) for S2EF; 10k, 100k or all for
            IS2RE. The miniature has one size.
        reference: whether energies are adsorption energies, as in all published numbers, or totals. Files that hold the
            other kind are refused where they say nothing that it could be mended with.
        energy_coefficient, force_coefficient: of the two terms of the loss; for S2EF.
        max_atoms_per_batch: makes batches smaller where they would have more atoms (on a process). A network that keeps k
            neighbours of an atom then has at most k times as many edges, however large a structure is.
        train_size, val_size, test_size: keep only so many, drawn once and for all; `test_size` of each of the four splits.
    """

    modality = "atoms"

    def __init__(
        self,
        root: str | Path,
        seed: int,
        source: str,
        task: str,
        size: str,
        reference: bool,
        max_atoms_per_batch: int | None,
        batch_size: int,
        eval_batch_size: int,
        num_workers: int = 0,
        energy_coefficient: float = 1.0,
        force_coefficient: float = 100.0,
        train_size: int | None = None,
        val_size: int | None = None,
        test_size: int | None = None,
    ):
        super().__init__(root, seed, batch_size, eval_batch_size, num_workers)
        if source not in ("auto", "official", "miniature"):
            raise UserError(f"data.source must be auto, official or miniature, not {source!r}")
        if task not in SIZES:
            raise UserError(f"data.task must be s2ef or is2re, not {task!r}")
        if size not in SIZES[task]:
            raise UserError(f"data.size: {task} has no training split {size!r}; it has {', '.join(SIZES[task])}")
        if size in TOGETHER and train_size is not None:
            raise UserError(f"data.train_size: size={size} is two sets, to be kept whole; use size=2M or all")
        if task == "is2re" and not reference:
            raise UserError(
                "data.reference=false: IS2RE is published with referenced energies only; use data.reference=true"
            )
        self.sizes = {"train": train_size, "val": val_size, "test": test_size}
        for name, count in self.sizes.items():
            if count is not None and count < 1:
                raise UserError(f"data.{name}_size must be at least 1, not {count}")
        self.asked, self.kind, self.size, self.reference = source, task, size, reference
        self.coefficients = energy_coefficient, force_coefficient
        self.max_atoms = max_atoms_per_batch
        self.folder = self.root / "oc20"

    @cached_property
    def source(self) -> Literal["official", "miniature"]:
        if self.asked == "auto":
            places = [Place(self.folder, self.kind, size, "train") for size in TOGETHER.get(self.size, (self.size,))]
            return "official" if all(place.present for place in places) else "miniature"
        return "official" if self.asked == "official" else "miniature"

    @property
    def spec(self) -> Spec:
        kept = [f"{count} {name}" for name, count in self.sizes.items() if count is not None]
        size = self.size if self.source == "official" else "miniature"
        forces = Target(name="forces", level="node", irreps="1o", unit="eV/Å", gradient_of="energy")
        return Spec(
            benchmark="oc20" if self.kind == "s2ef" else "oc20_is2re",
            modality=self.modality,
            split=", ".join([size, *([] if self.reference else ["total energies"]), *kept]),
            source=self.source,
            subset=bool(kept),
            fields={
                "z": Field(categories=ELEMENTS),
                "pos": Field(irreps="1o", translates=True, unit="Å"),
                "cell": Field(level="graph", irreps="1o", shape=(3, 3), unit="Å"),
                "pbc": Field(level="graph", shape=(3,)),
                "tags": Field(categories=(0, 1, 2)),
                "fixed": Field(categories=(0, 1)),
            },
            targets=(Target(name="energy", unit="eV"), *([forces] if self.kind == "s2ef" else [])),
        )

    @property
    def training_samples(self) -> int | None:
        if self.source == "miniature":
            return None
        return self.sizes["train"] or training_count(self.kind, self.size)

    @property
    def atoms_per_sample(self) -> float | None:
        return ATOMS if self.source == "official" else None

    @property
    def task(self) -> OC20Task:
        if self.kind == "is2re":
            return InitialStructureToRelaxedEnergy(self.spec)
        return StructureToEnergyAndForces(self.spec, *self.coefficients)

    def load(self) -> dict[str, StructureDataset]:
        folder = self.folder
        if self.source == "miniature":
            if self.asked == "auto":
                log.warning(
                    "no %s %s in %s: using the MINIATURE (slabs labelled by EMT, not DFT); data.source=official downloads OC20",
                    self.kind,
                    self.size,
                    folder,
                )
            folder = write_miniature(folder)
        official = self.source == "official"
        sizes = TOGETHER.get(self.size, (self.size,)) if official else (SIZES[self.kind][0],)
        train = [self.part(folder, "train", size) for size in sizes]
        parts = [self.part(folder, split, sizes[0]) for split in VALIDATION]
        return {
            "train": self.dataset([self.subset(part, "train") for part in train]),
            "val": self.dataset([self.subset(parts[0], "val")]),
            "test": self.dataset([self.subset(part, "test") for part in parts]),
        }

    def dataset(self, parts: list[Part]) -> StructureDataset:
        return StructureDataset(parts, forces=self.kind == "s2ef", known=ELEMENTS[-1])

    def part(self, folder: Path, split: str, size: str) -> Part:
        """All of a split of the files."""
        place = Place(folder, self.kind, size, split)
        store = open_split(place)
        if self.source == "official":
            check_count(place, len(store))
        index = index_of(store, folder / "index" / f"{self.kind}-{size}-{split}")
        energy = wanted_energies(index, self.reference, place.stored)
        number = VALIDATION.index(split) if split in VALIDATION else 0
        return Part(store, index["natoms"], energy, None, number)

    def subset(self, part: Part, name: str) -> Part:
        """As many of a part as were asked for, the same in every run."""
        count = self.sizes[name]
        if count is None:
            return part
        if count > part.size:
            raise UserError(f"data.{name}_size={count} is more than the {part.size} structures that there are")
        rows = np.random.default_rng(part.number).choice(part.size, count, replace=False)
        return part._replace(rows=np.sort(rows))

    def statistics(self) -> dict[str, Statistics]:
        """Of the energies; the official ones have the published mean and deviation, as in every published recipe."""
        measured = Statistics.of(self.splits["train"].energies)
        if self.source == "official" and self.reference:
            mean, std = NORMALIZERS[self.kind]
            measured = Statistics(mean, std, measured.mad)
        return {"energy": measured}

    def train_dataloader(self) -> DataLoader:
        dataset = self.splits["train"]
        place = (*self._process(), self._resume["epoch"], self._resume["batch"])
        return self._loader(dataset, AtomBatches(dataset.natoms, self.batch_size, self.max_atoms, self.seed, *place))

    def eval_dataloader(self, split: str) -> DataLoader:
        dataset = self.splits[split]
        return self._loader(
            dataset, AtomBatchesInOrder(dataset.natoms, self.eval_batch_size, self.max_atoms, *self._process())
        )
