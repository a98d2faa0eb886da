"""A benchmark read by several processes: together they meet, count and score just what one process does."""

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import Dataset

from erlangen.datamodules.base import DataModule
from erlangen.datamodules.oc20 import OC20
from erlangen.datamodules.qm9 import QM9
from erlangen.datamodules.sampling import InOrder
from erlangen.datamodules.synthetic import slabs
from erlangen.errors import UserError
from erlangen.tasks.metrics import MeanOf
from erlangen.tasks.task import Task

WORLDS = (1, 2, 3, 4)
VAL = 67
"""A prime number of samples: no world size but one divides it."""


@pytest.fixture(scope="module")
def oc20_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("oc20")
    sizes = {"train": 29, "val_id": 11, "val_ood_ads": 7, "val_ood_cat": 5, "val_ood_both": 3}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(slabs, "SYSTEMS", sizes)
        slabs.write_miniature(root / "oc20")
    return root


@pytest.fixture(params=["qm9", "oc20"])
def benchmark(request: pytest.FixtureRequest, qm9_root: Path) -> DataModule:
    if request.param == "qm9":
        sizes = {"train_size": 101, "val_size": VAL, "test_size": 31}
        return QM9(qm9_root, 1, targets=["gap", "mu"], split="cormorant", batch_size=8, eval_batch_size=10, **sizes)
    root = request.getfixturevalue("oc20_root")
    options = {"source": "miniature", "task": "s2ef", "size": "200K", "reference": True}
    return OC20(root, 1, batch_size=4, eval_batch_size=5, max_atoms_per_batch=200, **options)


def as_process(benchmark: DataModule, rank: int, world: int) -> DataModule:
    benchmark._process = lambda: (rank, world)
    return benchmark


def evaluated(benchmark: DataModule, split: str, rank: int, world: int) -> tuple[Task, list[list[int]]]:
    """What one process has counted, and the samples of each of its batches."""
    task, met = benchmark.task, []
    for batch in as_process(benchmark, rank, world).eval_dataloader(split):
        met.append(batch.id.tolist())
        task.score("test", guess, batch)
    return task, met


def guess(batch) -> dict[str, torch.Tensor]:
    """Wrong by an amount that only the sample decides."""
    found = {}
    for name in ("gap", "mu", "energy"):
        if name in batch:
            found[name] = batch[name] + torch.sin(batch.id.float())
    if "forces" in batch:
        found["forces"] = batch.forces + torch.sin(batch.id.float())[batch.batch, None]
    return found


def together(tasks: list[Task]) -> Task:
    """The task with the states that the processes exchange by their sum."""
    first, *others = tasks
    for other in others:
        for mine, theirs in zip(first.modules(), other.modules(), strict=True):
            if isinstance(mine, MeanOf):
                mine.total += theirs.total
                mine.count += theirs.count
                mine._update_count += theirs._update_count
    return first


def counts(task: Task) -> dict[str, int]:
    return {name: int(part.count) for name, part in task.named_modules() if isinstance(part, MeanOf)}


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("split", ["val", "test"])
def test_an_evaluation_counts_every_sample_once(benchmark: DataModule, split: str, world: int) -> None:
    alone, met = evaluated(benchmark, split, 0, 1)
    tasks, shares = zip(*(evaluated(benchmark, split, rank, world) for rank in range(world)), strict=True)
    assert sorted(sum(sum(shares, []), [])) == sorted(sum(met, []))
    assert len({len(share) for share in shares}) == 1
    assert all(batch for share in shares for batch in share)
    merged = together(list(tasks))
    assert counts(merged) == counts(alone)
    expected, found = alone.compute("test"), merged.compute("test")
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert value.dtype == torch.float64
        assert float(found[name]) == pytest.approx(float(value), rel=1e-6, nan_ok=True), name


@pytest.mark.parametrize("world", WORLDS)
def test_an_epoch_of_training_meets_every_sample_once(benchmark: DataModule, world: int) -> None:
    loaders = [as_process(benchmark, rank, world).train_dataloader() for rank in range(world)]
    everything = sorted(benchmark.splits["train"][np.arange(len(benchmark.splits["train"]))].id.tolist())
    orders = []
    for epoch in range(2):
        for loader in loaders:
            loader.sampler.set_epoch(epoch)
        shares = [[batch.id.tolist() for batch in loader] for loader in loaders]
        assert sorted(sum(sum(shares, []), [])) == everything
        assert len({len(share) for share in shares}) == 1
        orders.append(shares)
    assert orders[0] != orders[1]


def test_a_split_smaller_than_the_processes_is_refused(qm9_root: Path) -> None:
    options = {"targets": ["gap"], "split": "cormorant", "batch_size": 8, "eval_batch_size": 10, "val_size": 3}
    with pytest.raises(UserError, match="a split of 3 samples cannot be shared by 4 processes: use trainer.devices=3"):
        as_process(QM9(qm9_root, 1, **options), 3, 4).val_dataloader()


class Marked(Dataset):
    """Leaves a file for every batch that was read."""

    def __init__(self, folder: Path):
        self.folder = folder

    def __len__(self) -> int:
        return 40

    def __getitem__(self, rows: np.ndarray) -> torch.Tensor:
        (self.folder / str(rows[0])).touch()
        return torch.from_numpy(rows)


def test_workers_read_ahead_of_the_training(tmp_path: Path, benchmark: DataModule) -> None:
    benchmark.num_workers = 2
    batches: Iterator = iter(benchmark._loader(Marked(tmp_path), InOrder(40, 4)))
    assert next(batches).tolist() == [0, 1, 2, 3]
    until = time.monotonic() + 20
    while len(list(tmp_path.iterdir())) < 4:  # two for each worker, while nobody asks for more
        assert time.monotonic() < until
        time.sleep(0.01)


def test_processes_share_the_memory_of_a_cache(qm9_root: Path) -> None:
    benchmark = QM9(qm9_root, 1, targets=["gap"], split="cormorant", batch_size=8, eval_batch_size=10)
    pos = benchmark.splits["train"].nodes["pos"]
    while pos.base is not None and not isinstance(pos, np.memmap):
        pos = pos.base
    assert isinstance(pos, np.memmap)
    assert pos.mode == "r"
    assert Path(pos.filename) == qm9_root / "qm9" / "cache-qm9pack" / "pos.npy"
