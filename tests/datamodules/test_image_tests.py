"""Tests on turned images: the same for every model, and won only by an invariant one."""

import numpy as np
import torch

from erlangen.datamodules.image_tests import ImageClassification, fixed_turn
from erlangen.tasks.batch import TensorBatch
from erlangen.tasks.spec import Field, Spec, Target

SPEC = Spec(
    benchmark="shapes",
    modality="images",
    split="test",
    source="miniature",
    fields={"image": Field(level="graph", shape=(1, 16, 16))},
    targets=(Target(name="label", classes=2),),
)


def batch_of(count: int) -> TensorBatch:
    """A disc of one of two brightnesses in the middle, and the label once more in the corner at the top left."""
    label = torch.arange(count) % 2
    y, x = torch.meshgrid(torch.arange(16.0) - 7.5, torch.arange(16.0) - 7.5, indexing="ij")
    image = (x.hypot(y) < 5).float() * (0.5 + 0.5 * label[:, None, None, None])
    image[:, :, :3, :3] = label[:, None, None, None].float()
    return TensorBatch(image=image, label=label, id=torch.arange(count))


def metrics_of(score) -> dict[str, float]:
    task = ImageClassification(SPEC, rotated=True)
    whole = batch_of(400)
    for part in torch.arange(400).split(130):
        batch = TensorBatch(**{name: whole[name][part] for name in whole})
        task.score("test", lambda b: {"label": torch.stack([0.75 - score(b.image), score(b.image) - 0.75], -1)}, batch)
    metrics = task.compute("test")
    assert set(metrics) == set(task.units)
    return {name: float(value) for name, value in metrics.items()}


def test_an_invariant_model_scores_the_same_on_turned_images() -> None:
    metrics = metrics_of(lambda image: image[:, 0, 6:10, 6:10].mean((-2, -1)))
    assert metrics["acc"] == metrics["acc_rot_c4"] == metrics["acc_rot_so2"] == 100


def test_a_model_that_looks_at_a_corner_is_found_out() -> None:
    """The corner is where it was for a quarter of the turns by 90 degrees; elsewhere it is dark, so half is right there."""
    metrics = metrics_of(lambda image: image[:, 0, 1, 1])
    assert metrics["acc"] == 100
    assert abs(metrics["acc_rot_c4"] - (25 + 75 / 2)) < 3
    assert metrics["acc_rot_so2"] < 75


def test_validation_is_on_the_images_as_they_are() -> None:
    task = ImageClassification(SPEC, rotated=True)
    assert set(task.variants("val", batch_of(4))) == {""}


def test_turns_are_even_and_fixed_by_the_id() -> None:
    ids = torch.arange(50_000, 60_000)
    turns = fixed_turn(ids)
    counts = np.histogram(turns.numpy(), bins=100, range=(0, 1))[0]
    assert counts.sum() == 10_000
    assert (np.abs(counts - 100) <= 2).all()
    assert torch.equal(fixed_turn(ids[17:19]), turns[17:19])
