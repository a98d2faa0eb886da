"""How far apart a network puts the two structures of a GWL pair, and where networks must stay finite."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from synthetic import randomize, synthetic_batch
from torch_geometric.data import Batch, Data

from erlangen.datamodules.gwl import GWL
from erlangen.kernels import Kernels
from erlangen.models.paper import Paper
from erlangen.tasks.spec import Field, Spec, Target
from erlangen.tasks.symmetry import cast

CHOICE = Kernels("reference")
SAME, APART = 1e-10, 1e-7
"""Below the one, rounding; above the other, a difference."""

ENERGY = Spec(
    benchmark="energy",
    modality="atoms",
    split="synthetic",
    source="miniature",
    fields={"z": Field(categories=(1, 6)), "pos": Field(irreps="1o", translates=True)},
    targets=(Target(name="energy"),),
)


def pair_of(structures: str, size: int = 4) -> GWL:
    """A pair; `size` is k of chains and the number of spokes."""
    return GWL(Path("unused"), 1, structures=structures, k=size, fold=size, batch_size=1, eval_batch_size=2)


@torch.no_grad()
def gap(build: Callable[[Spec], Paper], data: GWL) -> float:
    """The largest difference of the two structures' logits, relative to the logits, of a network of random weights."""
    torch.manual_seed(0)
    paper = build(data.spec).double().eval()
    randomize(paper)
    batch = cast(data.splits["train"][np.arange(2)], data.spec, torch.float64)
    batch.pos = torch.from_numpy(np.concatenate([structure.pos for structure in data.pair()]))  # not rounded to float32
    first, second = paper(batch)["structure"]
    return float((first - second).abs().max() / first.abs().max())


def assert_finite_where_degenerate(build: Callable[[Spec], Paper]) -> None:
    """A lone atom, and atoms in one place: finite values, finite gradients."""
    paper = build(ENERGY)
    randomize(paper)
    lone = Batch(_base_cls=Data, batch=torch.zeros(1, dtype=torch.long), ptr=torch.tensor([0, 1]), id=torch.arange(1))
    lone._num_graphs = 1
    lone.z, lone.pos = torch.tensor([6]), torch.ones(1, 3)
    together = synthetic_batch(ENERGY, 2)
    together.pos = torch.zeros_like(together.pos)
    for batch in (lone, together):
        paper.zero_grad()
        batch.pos.requires_grad_()
        energy = paper(batch)["energy"]
        assert energy.isfinite().all()
        energy.square().sum().backward()
        assert all(p.grad.isfinite().all() for p in paper.parameters() if p.grad is not None)
        assert batch.pos.grad is None or batch.pos.grad.isfinite().all()
