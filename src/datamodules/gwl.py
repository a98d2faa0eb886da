"""GWL: what a network can tell apart (Joshi et al., arXiv:2301.09308, the synthetic experiments).

One pair of structures is trained on, validated on and tested on, since the question is what a network can express at
all: batches of one, 100 epochs, accuracy at the best epoch, ten seeds. (The public notebooks go on with one and the same
network through their ten repetitions; here each seed is a run of its own.)

A network that cannot tell the pair apart gives both the same logits, and learns to put them on the border between the
classes, where rounding may name both rightly in some epoch. So the best epoch is that of `acc_decided`, for which
logits less than MARGIN apart are a coin toss; `acc` is the published metric at that epoch.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ..errors import UserError
from ..tasks.classification import Classification
from ..tasks.normalizer import Statistics
from ..tasks.spec import Field, Spec, Target
from ..tasks.task import Averages, Stage
from .base import DataModule
from .ragged import RaggedDataset
from .synthetic.gwl_structures import Pair, chains, four_body, spokes, three_body, two_body

MARGIN = 1e-5
"""Rounding moves logits of networks that cannot tell a pair apart by 1e-7, mostly by nothing; ends of a chain are heard
of from afar, and move those of networks that can by 1e-4 and less at first."""
COUNTEREXAMPLES = {"two_body": two_body, "three_body": three_body, "four_body": four_body}
STRUCTURES = ("chains", "spokes", *COUNTEREXAMPLES)


class GWL(DataModule):
    """Two structures, to be told apart.

    The structures of a pair of `spokes` differ by a rotation only. Their label belongs to no representation (its irreps
    are ""): a paper has to read it from equivariant features by a readout that is not invariant.

    Args:
        structures: which of STRUCTURES.
        k: the length of a chain, ends not counted.
        fold: the number of spokes, and so the order of their rotational symmetry. The seed chooses by how much the
            second structure is turned: 2 pi / (fold + m) with m from 1 to fold, as published.
    """

    modality = "graphs"

    def __init__(
        self,
        root: str | Path,
        seed: int,
        structures: str,
        k: int,
        fold: int,
        batch_size: int,
        eval_batch_size: int,
        num_workers: int = 0,
    ):
        super().__init__(root, seed, batch_size, eval_batch_size, num_workers)
        if structures not in STRUCTURES:
            raise UserError(f"data.structures must be one of {', '.join(STRUCTURES)}, not {structures!r}")
        for name, value in {"k": k, "fold": fold}.items():
            if value < 2:
                raise UserError(f"data.{name} must be at least 2, not {value}")
        self.structures, self.k, self.fold = structures, k, fold

    @property
    def spec(self) -> Spec:
        size = {"chains": f", k={self.k}", "spokes": f", {self.fold}-fold"}.get(self.structures, "")
        return Spec(
            benchmark="gwl",
            modality=self.modality,
            split=self.structures + size,
            source="official",
            fields={
                "z": Field(categories=(1,)),
                "pos": Field(irreps="1o", translates=True),
                "edge_index": Field(level="edge", shape=(2,)),
            },
            targets=(Target(name="structure", classes=2, irreps="" if self.structures == "spokes" else "0e"),),
        )

    @property
    def training_samples(self) -> int:
        return 2

    @property
    def task(self) -> "ToldApart":
        return ToldApart(self.spec)

    def statistics(self) -> dict[str, Statistics]:
        """None: there is only a class."""
        return {}

    def pair(self) -> Pair:
        if self.structures == "chains":
            return chains(self.k)
        if self.structures == "spokes":
            m = np.random.default_rng(self.seed).integers(1, self.fold, endpoint=True)
            return spokes(self.fold, 2 * np.pi / (self.fold + m))
        return COUNTEREXAMPLES[self.structures]()

    def load(self) -> dict[str, RaggedDataset]:
        pair = self.pair()
        pos = np.concatenate([structure.pos for structure in pair]).astype(np.float32)
        ptr = np.cumsum([0, *(len(structure.pos) for structure in pair)])
        edge_ptr = np.cumsum([0, *(structure.edge_index.shape[1] for structure in pair)])
        both = RaggedDataset(
            ptr,
            nodes={"z": np.ones(len(pos), dtype=np.int64), "pos": pos},
            graphs={"id": np.arange(2), "structure": np.arange(2)},
            edges=(edge_ptr, np.concatenate([structure.edge_index for structure in pair], axis=1)),
        )
        return dict.fromkeys(("train", "val", "test"), both)


class ToldApart(Classification):
    """Classification with a second accuracy, `acc_decided`, that rounding cannot raise."""

    monitor = "acc_decided"

    def __init__(self, spec: Spec):
        super().__init__(spec)
        self.units = {**self.units, "acc_decided": "%"}
        self.decided = Averages(("acc_decided",))

    def per_sample(self, predictions: Mapping[str, Tensor], batch: Any) -> dict[str, Float[Tensor, " samples"]]:
        values = super().per_sample(predictions, batch)
        low, high = predictions[self.target.name].detach().unbind(-1)
        values["acc_decided"] = torch.where((high - low).abs() > MARGIN, values["acc"], 50.0)
        return values

    def update(self, stage: Stage, predictions: Mapping[str, Tensor], batch: Any, variant: str = "") -> None:
        super().update(stage, predictions, batch, variant)
        self.decided.update(stage, {"acc_decided": self.per_sample(predictions, batch)["acc_decided"]})

    def compute(self, stage: Stage) -> dict[str, Tensor]:
        return super().compute(stage) | self.decided.compute(stage)

    def reset(self, stage: Stage) -> None:
        super().reset(stage)
        self.decided.reset(stage)
