"""OC20's questions and its metrics, as fairchem's evaluator defines them (core/modules/evaluator.py).

Atoms that were held fixed are neither trained on nor scored. Force components are pooled over all free atoms of a split, so
that large structures count for more. The labels of OC20's test splits are hidden: what is published, and measured here as
"test", are its four validation splits, of which val_id also chooses the checkpoint.
"""

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.distributed import all_reduce, get_world_size, is_available, is_initialized

from .normalizer import Normalizer
from .spec import Spec
from .task import Averages, Stage, Task

SPLITS = ("id", "ood_ads", "ood_cat", "ood_both")
"""By their number in a batch's `split`: as in training, with new adsorbates, with new catalysts, with both."""
ENERGY_THRESHOLD = 0.02
"""eV"""
FORCE_THRESHOLD = 0.03
"""eV/Å"""


class OC20Task(Task):
    """Metrics for each split, and under the plain name their mean over the splits; in validation there is val_id only."""

    metrics: ClassVar[Mapping[str, str]]
    """The unit of every metric."""

    def __init__(self, spec: Spec):
        super().__init__(spec)
        self.units = {f"{name}{suffix}": unit for name, unit in self.metrics.items() for suffix in ("", *suffixes())}
        self.averages = Averages(tuple(f"{name}{suffix}" for suffix in suffixes() for name in self.metrics))

    @abstractmethod
    def terms(
        self, predictions: Mapping[str, Tensor], batch: Any, chosen: Bool[Tensor, " samples"]
    ) -> dict[str, Tensor]:
        """The numbers whose mean each metric is, from the chosen samples of a batch."""

    def update(self, stage: Stage, predictions: Mapping[str, Tensor], batch: Any, variant: str = "") -> None:
        for number, suffix in enumerate(scored(stage)):
            chosen = batch.split == number
            if chosen.any():
                terms = self.terms(predictions, batch, chosen)
                self.averages.update(stage, {f"{name}{suffix}": values for name, values in terms.items()})

    def compute(self, stage: Stage) -> dict[str, Tensor]:
        means, present = self.averages.stages[stage], scored(stage)
        by_split = {
            f"{name}{suffix}": means[f"{name}{suffix}"].compute() for suffix in present for name in self.metrics
        }
        plain = {name: torch.stack([by_split[f"{name}{suffix}"] for suffix in present]).mean() for name in self.metrics}
        return plain if stage == "val" else {**plain, **by_split}

    def reset(self, stage: Stage) -> None:
        self.averages.reset(stage)


class StructureToEnergyAndForces(OC20Task):
    """S2EF. The loss is the energy's absolute error and the length of a free atom's error in force, weighted.

    Both are normalised, and are means over all processes: DDP, which averages gradients, would else give an atom that shares
    a process with many others less weight.

    Args:
        spec: the benchmark's.
        energy_coefficient, force_coefficient: weights of the two terms; 1 and 100 in most of the published recipes.
    """

    metrics = {"energy_mae": "eV", "forces_mae": "eV/Å", "forces_cos": "", "efwt": "", "ewt": ""}
    monitor = "forces_mae"

    def __init__(self, spec: Spec, energy_coefficient: float, force_coefficient: float):
        super().__init__(spec)
        self.energy_coefficient, self.force_coefficient = energy_coefficient, force_coefficient

    def loss(self, outputs: Mapping[str, Tensor], batch: Any, normalizer: Normalizer) -> Float[Tensor, ""]:
        free = batch.fixed == 0
        energy = (outputs["energy"] - normalizer.normalize("energy", batch.energy)).abs()
        forces = outputs["forces"][free] - normalizer.normalize("forces", batch.forces[free])
        return self.energy_coefficient * mean_over_processes(energy) + self.force_coefficient * mean_over_processes(
            torch.linalg.vector_norm(forces, dim=-1)
        )

    def terms(
        self, predictions: Mapping[str, Tensor], batch: Any, chosen: Bool[Tensor, " samples"]
    ) -> dict[str, Tensor]:
        free = (batch.fixed == 0) & chosen[batch.batch]
        predicted, true = predictions["forces"][free], batch.forces[free]
        samples = self.per_sample(predictions, batch)
        return {
            "energy_mae": samples["energy_mae"][chosen],
            "forces_mae": (predicted - true).abs().flatten(),
            "forces_cos": torch.cosine_similarity(predicted.float(), true.float()),  # 0 for a force of 0
            "efwt": samples["efwt"][chosen],
            "ewt": samples["ewt"][chosen],
        }

    def per_sample(self, predictions: Mapping[str, Tensor], batch: Any) -> dict[str, Float[Tensor, " samples"]]:
        free = batch.fixed == 0
        energy = (predictions["energy"] - batch.energy).abs()
        forces, owner = (predictions["forces"] - batch.forces)[free].abs(), batch.batch[free]
        none = torch.zeros_like(energy)
        worst = none.to(forces.dtype).scatter_reduce(0, owner, forces.amax(-1), "amax")
        atoms = none.index_add(0, owner, torch.ones_like(owner, dtype=none.dtype)).clamp(min=1)
        within = energy < ENERGY_THRESHOLD
        return {
            "energy_mae": energy,
            "forces_mae": none.to(forces.dtype).index_add(0, owner, forces.mean(-1)) / atoms,
            "efwt": (within & (worst < FORCE_THRESHOLD)).to(energy.dtype),
            "ewt": within.to(energy.dtype),
        }


class InitialStructureToRelaxedEnergy(OC20Task):
    """IS2RE, direct: the energy of the relaxed structure from the initial one. The loss is the normalised absolute error."""

    metrics = {"energy_mae": "eV", "ewt": ""}
    monitor = "energy_mae"

    def loss(self, outputs: Mapping[str, Tensor], batch: Any, normalizer: Normalizer) -> Float[Tensor, ""]:
        return mean_over_processes((outputs["energy"] - normalizer.normalize("energy", batch.energy)).abs())

    def terms(
        self, predictions: Mapping[str, Tensor], batch: Any, chosen: Bool[Tensor, " samples"]
    ) -> dict[str, Tensor]:
        return {name: values[chosen] for name, values in self.per_sample(predictions, batch).items()}

    def per_sample(self, predictions: Mapping[str, Tensor], batch: Any) -> dict[str, Float[Tensor, " samples"]]:
        energy = (predictions["energy"] - batch.energy).abs()
        return {"energy_mae": energy, "ewt": (energy < ENERGY_THRESHOLD).to(energy.dtype)}


def suffixes() -> tuple[str, ...]:
    return tuple(f"_{split}" for split in SPLITS)


def scored(stage: Stage) -> tuple[str, ...]:
    """The splits that a stage is of: validation has the first one only."""
    return suffixes()[:1] if stage == "val" else suffixes()


def mean_over_processes(values: Float[Tensor, " values"]) -> Float[Tensor, ""]:
    """A mean whose gradient, averaged over the processes as DDP does, is that of the mean over all of their values."""
    count = torch.tensor(values.numel(), device=values.device)
    processes = 1
    if is_available() and is_initialized():
        all_reduce(count)
        processes = get_world_size()
    return values.sum() * (processes / count.clamp(min=1)).to(values.dtype)
