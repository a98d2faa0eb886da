"""The contract of a benchmark: a LightningDataModule that knows its spec before it reads a byte."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import lightning as L
import torch
from torch.utils.data import DataLoader, Dataset

from ..errors import UserError
from ..tasks.normalizer import Statistics
from ..tasks.spec import Spec
from ..tasks.task import Task
from .sampling import EpochBatches, InOrder, Seeded


class DataModule(L.LightningDataModule, ABC):
    """A benchmark.

    Class attributes:
        modality: what a sample is (tasks.spec.Spec).
        requires: the protocols of tasks.capabilities that its task asks of a paper, by class, e.g. `Represents`.

    Args:
        root: the folder that holds data sets.
        seed: fixes the order of the training samples and all randomness in making batches; 0 or more.
        batch_size: samples a step and process; `eval_batch_size` likewise, without gradients.
        num_workers: processes that collate batches; 0 does it in the training process.
    """

    modality: ClassVar[str]
    requires: ClassVar[tuple[type, ...]] = ()

    def __init__(self, root: str | Path, seed: int, batch_size: int, eval_batch_size: int, num_workers: int = 0):
        super().__init__()
        if seed < 0:
            raise UserError(f"seed must be 0 or more, not {seed}")
        if num_workers < 0:
            raise UserError(f"data.num_workers must be 0 or more, not {num_workers}")
        self.root = Path(root)
        self.seed = seed
        self.batch_size, self.eval_batch_size, self.num_workers = batch_size, eval_batch_size, num_workers
        self._resume = {"epoch": 0, "batch": 0}

    @property
    @abstractmethod
    def spec(self) -> Spec:
        """Known without data, whatever their size."""

    @property
    def training_samples(self) -> int | None:
        """How many samples an epoch has, or None where only the data tell."""
        return None

    @property
    def atoms_per_sample(self) -> float | None:
        """The mean number of atoms of a training sample, or None where only the data tell, or there are no atoms."""
        return None

    @abstractmethod
    def load(self) -> dict[str, Dataset]:
        """The splits "train", "val" and "test"; whatever they need is fetched, made or found here."""

    @abstractmethod
    def statistics(self) -> dict[str, Statistics]:
        """Of every scalar target, over the training split."""

    @property
    @abstractmethod
    def task(self) -> Task:
        """What this benchmark asks."""

    def offered_to(self, modalities: frozenset[str]) -> "DataModule":
        """The benchmark in the form that papers of these modalities take; itself where it has no other."""
        return self

    @cached_property
    def splits(self) -> dict[str, Dataset]:
        return self.load()

    def train_batches(self) -> Iterator[Any]:
        """One pass over the training split in order, in the calling process."""
        dataset = self.splits["train"]
        for _, indices in InOrder(len(dataset), self.eval_batch_size):
            yield dataset[indices]

    def train_dataloader(self) -> DataLoader:
        dataset = self.splits["train"]
        rank, world_size = self._process()
        sampler = EpochBatches(
            len(dataset), self.batch_size, self.seed, rank, world_size, self._resume["epoch"], self._resume["batch"]
        )
        return self._loader(dataset, sampler)

    def val_dataloader(self) -> DataLoader:
        return self.eval_dataloader("val")

    def test_dataloader(self) -> DataLoader:
        return self.eval_dataloader("test")

    def eval_dataloader(self, split: str) -> DataLoader:
        dataset = self.splits[split]
        return self._loader(dataset, InOrder(len(dataset), self.eval_batch_size, *self._process()))

    def state_dict(self) -> dict[str, int]:
        """Where in which epoch the training stands, so that a resumed run meets just the batches that are left."""
        loop = self.trainer.fit_loop
        epoch = loop.epoch_progress.current
        inside = epoch.started > epoch.processed
        return {"epoch": epoch.processed, "batch": loop.epoch_loop.batch_progress.current.completed if inside else 0}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self._resume = dict(state)

    def _process(self) -> tuple[int, int]:
        return (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)

    def _loader(self, dataset: Dataset, sampler: EpochBatches | InOrder) -> DataLoader:
        return DataLoader(
            Seeded(dataset),
            sampler=sampler,
            batch_size=None,  # the sampler already yields the indices of whole batches
            num_workers=self.num_workers,
            persistent_workers=self.num_workers > 0,
            pin_memory=torch.cuda.is_available(),
        )
