"""Tiny eSCN and EquiformerV2 with direct forces, and molecules and a crystal for them."""

import torch
from synthetic import randomize, synthetic_batch
from torch_geometric.data import Batch, Data

from erlangen.models.paper import Paper
from erlangen.runs.assemble import build_paper
from erlangen.runs.config import compose_config, resolved
from erlangen.runs.pairing import model_class
from erlangen.tasks.spec import Field, Spec, Target
from erlangen.tasks.symmetry import cast

S2EF = Spec(
    benchmark="surfaces",
    modality="atoms",
    split="synthetic",
    source="miniature",
    fields={"z": Field(categories=(1, 6, 8)), "pos": Field(irreps="1o", translates=True)},
    targets=(
        Target(name="energy", unit="eV"),
        Target(name="forces", unit="eV/Å", irreps="1o", level="node", gradient_of="energy"),
    ),
)


def paper(model: str, spec: Spec = S2EF, **overrides) -> Paper:
    """The tiny size with direct forces, in float64, every parameter away from its start."""
    settings = {**model_class(model).tiny, "direct_forces": True, **overrides}
    words = [f"model={model}", "kernels=reference", *(f"model.{key}={value}" for key, value in settings.items())]
    built = build_paper(resolved(*compose_config(words)), spec).double().eval()
    randomize(built)
    return built


def batch(samples: int = 6) -> Batch:
    return cast(synthetic_batch(S2EF, samples), S2EF, torch.float64)


def crystal(copies: int = 1, shift: bool = False) -> Batch:
    """A skewed periodic cell of five atoms, `copies` times along its first vector; perhaps with atoms in other cells."""
    g = torch.Generator().manual_seed(3)
    cell = torch.tensor([[4.0, 0.3, 0.0], [0.5, 4.4, 0.2], [0.1, 0.4, 5.0]], dtype=torch.float64)
    one = torch.rand(5, 3, generator=g, dtype=torch.float64) @ cell
    pos = torch.cat([one + k * cell[0] for k in range(copies)])
    if shift:
        pos = pos + torch.randint(-2, 3, (len(pos), 3), generator=g).double() @ cell
    cell = cell * torch.tensor([[copies], [1], [1]])
    nodes = len(pos)
    graph = Batch(
        _base_cls=Data,
        batch=torch.zeros(nodes, dtype=torch.long),
        ptr=torch.tensor([0, nodes]),
        z=torch.tensor([1, 6, 8, 8, 6]).repeat(copies),
        pos=pos,
        cell=cell[None],
        pbc=torch.ones(1, 3, dtype=torch.bool),
    )
    graph._num_graphs = 1
    return graph
