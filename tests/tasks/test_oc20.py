"""OC20's metrics and losses: on cases computed by hand, and against fairchem's own evaluator."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from tasks.oc20_inputs import inputs

from erlangen.datamodules.oc20 import OC20
from erlangen.tasks import oc20
from erlangen.tasks.normalizer import Normalizer, Statistics
from erlangen.tasks.oc20 import SPLITS, OC20Task

GOLDEN = json.loads((Path(__file__).parent / "oc20_evaluator.json").read_text())
"""What fairchem's Evaluator (core/modules/evaluator.py, commit 31c0963) gives for oc20_inputs.inputs, free atoms only."""


def task_of(kind: str, tmp_path: Path, **options) -> OC20Task:
    size = {"s2ef": "200K", "is2re": "10k"}[kind]
    return OC20(tmp_path, 1, "miniature", kind, size, True, None, 4, 4, **options).task


def batch_of(**fields: torch.Tensor) -> SimpleNamespace:
    return SimpleNamespace(num_graphs=len(fields["energy"]), **fields)


@pytest.fixture
def small() -> tuple[dict[str, torch.Tensor], SimpleNamespace]:
    """Structure 0: three atoms, the first fixed and far off; structure 1: one free atom, within both thresholds."""
    batch = batch_of(
        batch=torch.tensor([0, 0, 0, 1]),
        fixed=torch.tensor([True, False, False, False]),
        energy=torch.tensor([1.0, -2.0]),
        forces=torch.tensor([[9.0, 9, 9], [1, 0, 0], [0, 2, 0], [0, 0, 0.5]]),
        split=torch.tensor([0, 0]),
    )
    forces = torch.tensor([[0.0, 0, 0], [0, 1, 0], [0, 2, 0.3], [0, 0.01, 0.5]])
    return {"energy": torch.tensor([1.01, -2.019]), "forces": forces}, batch


def test_s2ef_by_hand(small, tmp_path: Path) -> None:
    predictions, batch = small
    task = task_of("s2ef", tmp_path)
    task.update("val", predictions, batch)
    values = task.compute("val")
    cosines = [0.0, 4 / (2 * (4 + 0.09) ** 0.5), 0.25 / (0.5 * (0.0001 + 0.25) ** 0.5)]
    expected = {
        "energy_mae": (0.01 + 0.019) / 2,
        "forces_mae": (1 + 1 + 0.3 + 0.01) / 9,  # pooled over the components of three free atoms
        "forces_cos": sum(cosines) / 3,
        "efwt": 0.5,
        "ewt": 1.0,
    }
    assert {name: float(value) for name, value in values.items()} == pytest.approx(expected, rel=1e-5)


def test_a_fixed_atom_changes_neither_metrics_nor_loss(small, tmp_path: Path) -> None:
    predictions, batch = small
    task = task_of("s2ef", tmp_path)
    normalizer = Normalizer(task.spec)
    before = task.per_sample(predictions, batch) | {"loss": task.loss(predictions, batch, normalizer)}
    predictions["forces"] = predictions["forces"] + torch.tensor([[100.0], [0], [0], [0]])
    after = task.per_sample(predictions, batch) | {"loss": task.loss(predictions, batch, normalizer)}
    for name, value in before.items():
        assert torch.equal(value, after[name]), name


def test_thresholds_are_strict(small, tmp_path: Path) -> None:
    predictions, batch = small
    task = task_of("s2ef", tmp_path)
    batch.energy, predictions["energy"] = torch.zeros(2), torch.tensor([0.02, 0.0199])
    assert task.per_sample(predictions, batch)["ewt"].tolist() == [0, 1]
    batch.forces, predictions["forces"] = torch.zeros(4, 3), torch.zeros(4, 3)
    predictions["forces"][3, 1] = -0.03
    assert task.per_sample(predictions, batch)["efwt"].tolist() == [0, 0]
    predictions["forces"][3, 1] = -0.0299
    assert task.per_sample(predictions, batch)["efwt"].tolist() == [0, 1]


@pytest.mark.parametrize("kind", ["s2ef", "is2re"])
def test_the_reference_evaluator_gives_the_same_numbers(kind: str, tmp_path: Path) -> None:
    task = task_of(kind, tmp_path)
    for number in range(len(SPLITS)):
        found = inputs(number)
        predictions = {name: found.pop(f"predicted_{name}") for name in ("energy", "forces")}
        batch = batch_of(**found, split=torch.full((200,), number))
        task.update("test", predictions, batch)
    values = task.compute("test")
    for split, golden in GOLDEN[kind].items():
        for name, value in golden.items():
            assert float(values[f"{name}_{split}"]) == pytest.approx(value, rel=1e-5), (split, name)
    for name in GOLDEN[kind]["id"]:
        mean = sum(GOLDEN[kind][split][name] for split in SPLITS) / 4
        assert float(values[name]) == pytest.approx(mean, rel=1e-5)
    assert set(values) <= set(task.units)


def test_a_prediction_of_nan_is_seen(small, tmp_path: Path) -> None:
    predictions, batch = small
    task = task_of("s2ef", tmp_path)
    predictions["forces"] = predictions["forces"] * torch.nan
    task.update("val", predictions, batch)
    values = task.compute("val")
    assert values["forces_mae"].isnan()
    assert values["efwt"] == 0


def test_the_loss_by_hand(small, tmp_path: Path) -> None:
    """1 * |dE| / s + 100 * |dF| / s over free atoms, s the energy's deviation."""
    predictions, batch = small
    task = task_of("s2ef", tmp_path)
    normalizer = Normalizer(task.spec)
    normalizer.fit({"energy": Statistics(-0.5, 2.0, 1.0)}, "std")
    outputs = {name: normalizer.normalize(name, value) for name, value in predictions.items()}
    lengths = [2**0.5, 0.3, 0.01]
    expected = (0.01 + 0.019) / 2 / 2 + 100 * sum(lengths) / 3 / 2
    assert float(task.loss(outputs, batch, normalizer)) == pytest.approx(expected, rel=1e-4)
    twice = task_of("s2ef", tmp_path, energy_coefficient=4.0, force_coefficient=0.0)
    assert float(twice.loss(outputs, batch, normalizer)) == pytest.approx((0.01 + 0.019), rel=1e-4)


def test_two_processes_with_unequal_counts_give_the_gradient_of_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """DDP averages gradients over processes: means over three values here and one there must weigh all four alike."""
    weight = torch.ones(4, requires_grad=True)
    values = torch.tensor([1.0, 2, 3, 40])
    oc20.mean_over_processes(weight * values).backward()
    expected, weight.grad = weight.grad, None
    monkeypatch.setattr(oc20, "is_initialized", lambda: True)
    monkeypatch.setattr(oc20, "get_world_size", lambda: 2)
    monkeypatch.setattr(oc20, "all_reduce", lambda count: count.fill_(4))
    for mine in (slice(0, 3), slice(3, 4)):
        (oc20.mean_over_processes((weight * values)[mine]) / 2).backward()
    torch.testing.assert_close(weight.grad, expected)
