"""Clouds and specs for the tests of papers on points."""

import torch
from torch_geometric.data import Batch, Data

from erlangen.tasks.spec import Field, Spec, Target

SPEC = Spec(
    benchmark="points",
    modality="points",
    split="test",
    source="miniature",
    fields={"pos": Field(irreps="1o", translates=True)},
    targets=(Target(name="label", classes=40),),
)
NORMALS = Spec(**{**vars(SPEC), "fields": {**SPEC.fields, "normal": Field(irreps="1o")}})


def clouds(sizes: list[int], seed: int = 0) -> Batch:
    """Random clouds with normals, in float64."""
    generator = torch.Generator().manual_seed(seed)
    count = torch.tensor(sizes)
    ptr = torch.cat([torch.zeros(1, dtype=torch.long), count.cumsum(0)])
    pos, normal = (torch.randn(int(ptr[-1]), 3, generator=generator, dtype=torch.float64) for _ in range(2))
    batch = Batch(_base_cls=Data, batch=torch.repeat_interleave(count), ptr=ptr, pos=pos, normal=normal)
    batch.label, batch.id = torch.arange(len(sizes)), torch.arange(len(sizes))
    batch._num_graphs = len(sizes)
    return batch


def join(batches: list[Batch]) -> Batch:
    """The clouds of several batches in one."""
    sizes = torch.cat([batch.ptr.diff() for batch in batches])
    joined = clouds(sizes.tolist())
    joined.pos, joined.normal = (torch.cat([b.pos for b in batches]), torch.cat([b.normal for b in batches]))
    return joined


def only(batch: Batch, rows: torch.Tensor) -> Batch:
    """The one cloud of a batch with some of its points, in the order of `rows`."""
    kept = clouds([len(rows)])
    kept.pos, kept.normal = batch.pos[rows], batch.normal[rows]
    return kept
