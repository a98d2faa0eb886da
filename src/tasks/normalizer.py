"""Targets to the scale of order one that a network is trained on, and back to the benchmark's units."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from .spec import Spec, Target


@dataclass(frozen=True)
class Statistics:
    """One target over the training split, in the benchmark's unit: mean, standard and mean absolute deviation."""

    mean: float
    std: float
    mad: float

    @classmethod
    def of(cls, values: np.ndarray) -> "Statistics":
        values = np.asarray(values, dtype=np.float64)
        mean = values.mean()
        return cls(
            float(mean), float(values.std(ddof=1)) if values.size > 1 else 0.0, float(np.abs(values - mean).mean())
        )


class Normalizer(nn.Module):
    """(y - mean) / scale for each scalar target, held in buffers so that a checkpoint brings them along.

    A gradient (a force) is divided by the scale of its energy and never shifted; vectors and classes pass unchanged.
    """

    def __init__(self, spec: Spec):
        super().__init__()
        self.spec = spec
        for target in spec.targets:
            self.register_buffer(f"{target.name}_mean", torch.zeros((), dtype=torch.float64))
            self.register_buffer(f"{target.name}_scale", torch.ones((), dtype=torch.float64))
            if target.atomref:
                self.register_buffer(f"{target.name}_atomref", atomref_table(target))

    def fit(self, statistics: Mapping[str, Statistics], scale: Literal["std", "mad", "none"]) -> None:
        """Takes mean and scale from the training split."""
        for target in self.spec.targets:
            if scale == "none" or (target.gradient_of or target.name) not in statistics:
                continue
            known = statistics[target.gradient_of or target.name]
            self.get_buffer(f"{target.name}_scale").fill_(getattr(known, scale) or 1.0)
            if not target.gradient_of:
                self.get_buffer(f"{target.name}_mean").fill_(known.mean)

    def normalize(self, name: str, value: Tensor) -> Tensor:
        mean, scale = self._affine(name, value)
        return (value - mean) / scale

    def denormalize(self, outputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """A network's outputs in the benchmark's units, free atoms still subtracted."""
        result = {}
        for name, value in outputs.items():
            if value.dtype in (torch.bfloat16, torch.float16):
                value = value.float()  # or adding the mean would round the difference away
            mean, scale = self._affine(name, value)
            result[name] = value * scale + mean
        return result

    def restore_atoms(self, predictions: Mapping[str, Tensor], batch: Any) -> dict[str, Tensor]:
        """Predictions as a user means them: float64, with the energies of the free atoms added back."""
        result = {name: value.double() if value.is_floating_point() else value for name, value in predictions.items()}
        for target in self.spec.targets:
            if target.atomref and target.name in result:
                atoms = self.get_buffer(f"{target.name}_atomref")[batch.z]
                result[target.name] = result[target.name].index_add(0, batch.batch, atoms)
        return result

    def _affine(self, name: str, value: Tensor) -> tuple[Tensor, Tensor]:
        target = self.spec.target(name)
        if target.classes:
            return value.new_zeros(()), value.new_ones(())
        return self.get_buffer(f"{name}_mean").to(value.dtype), self.get_buffer(f"{name}_scale").to(value.dtype)


def atomref_table(target: Target) -> Float[Tensor, " elements"]:
    """The free atoms' values, indexed by atomic number; NaN where the benchmark gives none."""
    table = torch.full((119,), float("nan"), dtype=torch.float64)
    for number, value in target.atomref:
        table[number] = value
    return table


def sum_of_atoms(target: Target, z: Int[np.ndarray, " nodes"], ptr: Int[np.ndarray, " samples_plus_1"]) -> np.ndarray:
    """The energies of each sample's free atoms together, in float64 (samples,)."""
    return np.add.reduceat(atomref_table(target).numpy()[z], ptr[:-1])
