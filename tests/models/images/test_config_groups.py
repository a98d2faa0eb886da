"""Not every paper is a network: any backbone of images trains with any head, optimiser and augmentation, as configured."""

import math
from pathlib import Path

import pytest

from erlangen.runs.config import available, compose_config, resolved
from erlangen.runs.pairing import default_data, mismatch, model_class
from erlangen.train import train

SMALL = (
    "data=digits",
    "data.train_size=64",
    "data.val_size=16",
    "data.test_size=16",
    "data.batch_size=32",
    "trainer=cpu",
)
BACKBONES = [
    name
    for name in available("model")
    if "-" not in name and not mismatch(model_class(name), default_data("digits")) and model_class(name).trains
]


def result(folder: Path, model: str, *overrides: str) -> dict:
    """Of one epoch, at the size that the paper's tests use."""
    tiny = [f"model.{key}={value}" for key, value in model_class(model).tiny.items()]
    options = [*SMALL, f"model={model}", *tiny, "trainer.max_epochs=1", f"paths.runs={folder}", f"paths.data={folder}"]
    return train(resolved(*compose_config([*options, *overrides])))


@pytest.mark.parametrize("model", BACKBONES)
def test_any_backbone_trains_with_a_head_an_optimiser_and_an_augmentation(model: str, tmp_path: Path) -> None:
    done = result(tmp_path, model, "head=ebv", "head.dim=16", "optimizer=adamp", "augment=quarter_turns")
    assert done["steps"] == 2
    assert math.isfinite(done["metrics"]["test/acc"]["value"])


@pytest.mark.parametrize("optimizer", available("optimizer"))
def test_any_optimiser_trains_with_a_head_of_its_own_optimiser(optimizer: str, tmp_path: Path) -> None:
    """gcr's subspaces move by Riemannian SGD whatever trains the rest."""
    done = result(tmp_path, "cnn", "head=gcr", "head.dim=2", f"optimizer={optimizer}", "augment=crop_flip")
    assert math.isfinite(done["metrics"]["test/acc"]["value"])
