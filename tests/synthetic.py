"""Random batches that fit a spec, so that every paper can be tested without any benchmark's data."""

from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch_geometric.data import Batch, Data

from erlangen.geometry.irreps import Irreps
from erlangen.tasks.batch import TensorBatch
from erlangen.tasks.normalizer import Statistics
from erlangen.tasks.spec import Field, Spec, Target

GRAPHS = {"atoms": (4, 9), "trajectories": (5, 5), "points": (48, 48), "points5d": (8, 8), "graphs": (4, 9)}
"""Modalities whose samples have nodes, and how many."""


def synthetic_batch(spec: Spec, samples: int = 4, seed: int = 0) -> Any:
    """A batch with every field and target of the spec, and ids."""
    generator = torch.Generator().manual_seed(seed)
    fields = {**spec.fields, **{target.name: target for target in spec.targets}}
    if spec.modality not in GRAPHS:
        tensors = {name: random_field(field, samples, generator) for name, field in fields.items()}
        return TensorBatch(**tensors, id=torch.arange(samples))
    low, high = GRAPHS[spec.modality]
    sizes = torch.randint(low, high + 1, (samples,), generator=generator)
    ptr = torch.cat([torch.zeros(1, dtype=torch.long), sizes.cumsum(0)])
    batch = Batch(_base_cls=Data, batch=torch.repeat_interleave(sizes), ptr=ptr, id=torch.arange(samples))
    batch._num_graphs = samples
    for name, field in fields.items():
        if name == "edge_index":
            batch.edge_index = ring(ptr)
            continue
        if name == "cell":  # skewed, and with room for several atoms
            skew = 0.5 * torch.randn(samples, 3, 3, generator=generator)
            batch.cell, batch.pbc = 6.0 * torch.eye(3) + skew, torch.ones(samples, 3, dtype=torch.bool)
            continue
        if name == "pbc":
            continue
        rows = samples if field.level == "graph" else int(ptr[-1])
        batch[name] = random_field(field, rows, generator)
    return batch


def ring(ptr: torch.Tensor) -> torch.Tensor:
    """Every node of a sample joined to the next one, both ways."""
    edges = []
    for start, stop in pairwise(ptr.tolist()):
        nodes = torch.arange(start, stop)
        edges += [torch.stack([nodes, nodes.roll(1)]), torch.stack([nodes.roll(1), nodes])]
    return torch.cat(edges, 1)


def random_field(field: Field, rows: int, generator: torch.Generator) -> torch.Tensor:
    if isinstance(field, Target) and field.classes:
        return torch.randint(field.classes, (rows,), generator=generator)
    if field.categories:
        choice = torch.randint(len(field.categories), (rows,), generator=generator)
        return torch.tensor(field.categories)[choice]
    dim = Irreps(field.irreps).dim
    scalar_target = isinstance(field, Target) and dim == 1
    shape = field.shape or (() if scalar_target else (dim,))
    spread = 1.5 if field.translates else 1.0  # positions: neighbours about a bond length apart
    return spread * torch.randn(rows, *shape, generator=generator)


def sample(batch: Any, index: int) -> Any:
    """One sample of a batch, as a batch."""
    if isinstance(batch, TensorBatch):
        return TensorBatch(**{name: batch[name][index : index + 1] for name in batch})
    nodes = slice(int(batch.ptr[index]), int(batch.ptr[index + 1]))
    count, samples = int(batch.ptr[-1]), batch.num_graphs
    one = Batch(_base_cls=Data)
    for name, value in batch:
        if name == "edge_index":
            mine = (value[1] >= nodes.start) & (value[1] < nodes.stop)
            one.edge_index = value[:, mine] - nodes.start
        elif name == "ptr":
            one.ptr = torch.tensor([0, nodes.stop - nodes.start])
        elif len(value) == count:
            one[name] = value[nodes]
        elif len(value) == samples:
            one[name] = value[index : index + 1]
    one.batch = torch.zeros(nodes.stop - nodes.start, dtype=torch.long)
    one._num_graphs = 1
    return one


def unit_statistics(spec: Spec) -> dict[str, Statistics]:
    return {target.name: Statistics(0.0, 1.0, 1.0) for target in spec.targets if target.is_scalar}


def randomize(module: torch.nn.Module, seed: int = 0) -> None:
    """Moves every parameter away from its initial value: a head that starts at zero would pass any symmetry test."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64).to(parameter)
            fan = np.sqrt(parameter.shape[-1]) if parameter.ndim > 1 else 1.0
            parameter.add_(0.5 * noise / fan)
