"""scikit-learn's digits, where scikit-learn is there."""

import sys
from pathlib import Path

import numpy as np
import pytest

from erlangen.datamodules.digits import Digits
from erlangen.errors import UserError

OPTIONS = {"seed": 1, "batch_size": 32, "eval_batch_size": 500, "val_fraction": 0.1, "split_seed": 42}


def test_without_scikit_learn_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn", None)
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    data = Digits(tmp_path, **OPTIONS)
    assert data.spec.targets[0].classes == 10
    with pytest.raises(UserError, match="pip install scikit-learn"):
        data.load()


def test_all_digits_are_in_one_split(tmp_path: Path) -> None:
    pytest.importorskip("sklearn")
    splits = Digits(tmp_path, **OPTIONS).splits
    assert {name: len(split) for name, split in splits.items()} == {"train": 1293, "val": 144, "test": 360}
    batches = [split[np.arange(len(split))] for split in splits.values()]
    assert len(np.unique(np.concatenate([batch.id for batch in batches]))) == 1797
    assert all(batch.image.shape[1:] == (1, 8, 8) and batch.image.max() == 1 for batch in batches)
    counts = sum(np.bincount(batch.label, minlength=10) for batch in batches)
    assert counts.tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]  # as scikit-learn documents them
