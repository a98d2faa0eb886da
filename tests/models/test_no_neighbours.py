"""An atom without neighbours within the cutoff: every paper that takes periodic structures predicts and learns from it."""

import pytest
import torch
from synthetic import randomize, unit_statistics
from torch_geometric.data import Batch, Data

from erlangen.runs.assemble import build_paper
from erlangen.runs.config import available, compose_config, resolved
from erlangen.runs.pairing import default_data, mismatch, model_class

DATA = default_data("oc20")
MODELS = {model_class(name): name for name in reversed(available("model")) if not mismatch(model_class(name), DATA)}


def lonely_and_crowded() -> Batch:
    """An atom in a cell of 60 Å, and seven in one of 6 Å, one of which is held."""
    sizes = torch.tensor([1, 7])
    pos = torch.cat([torch.full((1, 3), 30.0), 6 * torch.rand(7, 3)])
    cell = torch.eye(3) * torch.tensor([60.0, 6.0])[:, None, None]
    fields = {"z": torch.tensor([8, 29, 29, 29, 1, 6, 8, 1]), "tags": torch.tensor([2, 0, 1, 1, 2, 2, 2, 2])}
    batch = Batch(_base_cls=Data, batch=torch.repeat_interleave(sizes), ptr=torch.tensor([0, 1, 8]), pos=pos, **fields)
    batch.cell, batch.pbc, batch.fixed = cell, torch.ones(2, 3, dtype=torch.bool), fields["tags"] == 0
    batch.energy, batch.forces, batch.id = torch.tensor([-1.0, 0.5]), torch.randn(8, 3), torch.arange(2)
    batch._num_graphs = 2
    return batch


@pytest.mark.parametrize("name", sorted(MODELS.values()))
def test_a_lonely_atom_is_predicted_and_learned_from(name: str) -> None:
    words = [
        f"model={name}",
        "data=oc20",
        "kernels=reference",
        *(f"model.{key}={value}" for key, value in model_class(name).tiny.items()),
    ]
    paper = build_paper(resolved(*compose_config(words)), DATA.spec)
    paper.prepare(DATA.task, unit_statistics(DATA.spec), lambda: iter([lonely_and_crowded()]))
    randomize(paper)
    batch = lonely_and_crowded()
    values = paper.predict(batch)
    assert all(value.isfinite().all() for value in values.values())
    if paper.trains:
        loss = paper.training_step(batch, 0)
        loss.backward()
        assert loss.isfinite()
        assert all(p.grad is None or p.grad.isfinite().all() for p in paper.parameters())
