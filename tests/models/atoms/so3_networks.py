"""Tiny eSCN and EquiformerV2 with direct forces, and batches for them."""

import torch
from synthetic import randomize, synthetic_batch
from torch_geometric.data import Batch

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
