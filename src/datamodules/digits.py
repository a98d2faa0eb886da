"""The handwritten digits that come with scikit-learn: 1,797 grey pictures of 8 x 8 pixels (UCI's optical recognition data)."""

from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Integer, UInt8

from ..errors import UserError
from .images import ImageBenchmark, check_images

TRAINING, TEST = 1437, 360
ORDER_SEED = 0


class Digits(ImageBenchmark):
    """Digits, 80% for training and validation and 20% for testing, drawn once and for all: there is no official split.

    Args:
        root, seed: see DataModule; nothing is kept under root.
        options: see ImageBenchmark.
    """

    benchmark = "digits"
    shape = (1, 8, 8)
    white = 16
    test_name = f"test {TEST} of {TRAINING + TEST} (seed {ORDER_SEED})"

    def __init__(self, root: str | Path, seed: int, **options: Any):
        super().__init__(root, seed, source="official", counts=(TRAINING, TEST), classes=10, **options)

    def read(self) -> tuple[UInt8[np.ndarray, "images channels height width"], Integer[np.ndarray, " images"]]:
        try:
            from sklearn.datasets import load_digits
        except ImportError:
            raise UserError("data=digits needs the package scikit-learn: `pip install scikit-learn`") from None
        digits = load_digits()
        images, labels = digits.images.astype(np.uint8)[:, None], digits.target
        check_images(images, labels, self.shape, 10, "scikit-learn's digits")
        if len(images) != TRAINING + TEST:
            raise UserError(f"scikit-learn's digits are {len(images)} pictures, should be {TRAINING + TEST}")
        order = np.random.default_rng(ORDER_SEED).permutation(len(images))
        return images[order], labels[order]
