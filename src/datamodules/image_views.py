"""Labelled images for papers that learn from views: one view an image, of which the augmentation makes as many as it likes.

The views are made on the device, inside the training step (nn.view_pairs); evaluation sees the images as they are.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from torch.utils.data import Dataset

from ..nn.probes import ProbeRecipe
from ..tasks.batch import TensorBatch
from ..tasks.capabilities import Represents
from ..tasks.frozen import FrozenFeatures
from ..tasks.normalizer import Statistics
from ..tasks.spec import Field, Spec
from .base import DataModule
from .sampling import InOrder
from .turning import Turning, turned_pictures

LINEAR = ProbeRecipe(epochs=100, batch_size=256, lr=1e-3, width=0)
"""Of the linear classifier: Adam for a hundred epochs as CARE's authors train theirs (arXiv:2306.13924), unaugmented."""
QUICK_IMAGES = 2000
"""Training images for the probe that watches the training."""


class SingleViews(Dataset):
    """`dataset[indices]` has `images` (samples, 1, channels, height, width) in place of `image`.

    Args:
        images: a split of labelled images.
    """

    def __init__(self, images: Any):
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, indices: np.ndarray | list[int]) -> TensorBatch:
        batch = self.images[indices]
        return TensorBatch(images=batch.image[:, None], label=batch.label, id=batch.id)


class ImageViews(DataModule):
    """A benchmark of labelled images that asks for a representation in place of labels.

    Args:
        images: the benchmark.
        classes: how many labels it has.
    """

    modality = "views"
    requires = (Represents,)

    def __init__(self, images: DataModule, classes: int):
        super().__init__(images.root, images.seed, images.batch_size, images.eval_batch_size, images.num_workers)
        self.images, self.classes = images, classes

    @property
    def spec(self) -> Spec:
        plain = self.images.spec
        fields = {"images": Field(level="graph", irreps="", shape=(1, *plain.fields["image"].shape))}
        return replace(plain, modality=self.modality, targets=(), fields=fields)

    @property
    def training_samples(self) -> int | None:
        return self.images.training_samples

    @property
    def task(self) -> FrozenFeatures:
        return FrozenFeatures(self.spec, self.classes, self.train_views, LINEAR, QUICK_IMAGES)

    def statistics(self) -> dict[str, Statistics]:
        return {}

    def load(self) -> dict[str, Dataset]:
        return {name: SingleViews(split) for name, split in self.images.splits.items()}

    def turning(self, samples: int, steps: int) -> Turning:
        """Test images, turned."""
        return turned_pictures(self.splits["test"][np.arange(samples)].images[:, 0], steps)

    def train_views(self, samples: int | None) -> Iterator[TensorBatch]:
        """The training images, or the first so many, in order."""
        dataset = self.splits["train"]
        for _, indices in InOrder(min(samples or len(dataset), len(dataset)), self.eval_batch_size):
            yield dataset[indices]
