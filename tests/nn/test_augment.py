"""Augmentation of batches: what may change changes, what may not does not, and the seed decides."""

import dataclasses
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

import erlangen.conf as conf
from erlangen.datamodules.sampling import set_seed
from erlangen.errors import UserError
from erlangen.nn.augment import Augment, CropFlip, QuarterTurns, Rotations
from erlangen.runs.assemble import build
from erlangen.runs.config import available
from erlangen.tasks.batch import TensorBatch
from erlangen.tasks.spec import Field, Spec, Target

SPEC = Spec(
    benchmark="pictures",
    modality="images",
    split="all",
    source="miniature",
    fields={"image": Field(level="graph", shape=(3, 16, 16))},
    targets=(Target(name="label", classes=10),),
)


def batch_of(count: int) -> TensorBatch:
    return TensorBatch(image=torch.rand(count, 3, 16, 16), label=torch.arange(count) % 10, id=torch.arange(count))


def each() -> list[Augment]:
    return [CropFlip(SPEC, 4, True), QuarterTurns(SPEC), Rotations(SPEC)]


@pytest.mark.parametrize("name", available("augment"))
def test_every_file_of_the_group_builds(name: str) -> None:
    config = OmegaConf.to_container(OmegaConf.load(Path(conf.__file__).with_name("augment") / f"{name}.yaml"))
    views = Field(level="graph", shape=(1, 3, 16, 16))
    batch = batch_of(4)
    batch["images"] = batch.image[:, None]
    changed = build(config, spec=dataclasses.replace(SPEC, fields={**SPEC.fields, "images": views}))(batch)
    assert changed.image.shape == (4, 3, 16, 16)
    assert changed.images.shape[2:] == (3, 16, 16)
    assert not torch.equal(changed.image, batch.image) or changed.images.shape[1] > 1


@pytest.mark.parametrize("augment", each(), ids=lambda a: type(a).__name__)
def test_the_seed_decides_and_only_the_image_changes(augment: Augment) -> None:
    batch = batch_of(32)
    before = batch.image.clone()
    set_seed(5)
    first = augment(batch)
    set_seed(5)
    again = augment(batch)
    other = augment(batch)
    assert torch.equal(first.image, again.image)
    assert not torch.equal(first.image, other.image)
    assert torch.equal(batch.image, before)
    assert torch.equal(first.label, batch.label)
    assert torch.equal(first.id, batch.id)


def test_a_crop_is_a_window_of_the_padded_image() -> None:
    """All 2 x 81 windows occur, evenly, and nothing else does."""
    image = torch.rand(1, 3, 16, 16)
    padded = torch.nn.functional.pad(image[0], (4, 4, 4, 4))
    windows = [padded[:, y : y + 16, x : x + 16] for y in range(9) for x in range(9)]
    windows = torch.stack([*windows, *(window.flip(-1) for window in windows)])
    set_seed(0)
    batch = TensorBatch(image=image.repeat(4000, 1, 1, 1), label=torch.zeros(4000, dtype=torch.long))
    found = CropFlip(SPEC, 4, True)(batch).image
    distance = torch.cdist(found.flatten(1), windows.flatten(1), compute_mode="donot_use_mm_for_euclid_dist")
    assert distance.min(1).values.max() < 1e-4
    counts = torch.bincount(distance.argmin(1), minlength=162)
    assert counts.min() > 0
    assert counts.max() < 60  # 25 expected


def test_without_flips_there_are_none() -> None:
    ramp = torch.arange(16.0).expand(64, 3, 16, 16) / 16 + 0.1
    batch = TensorBatch(image=ramp.clone(), label=torch.zeros(64, dtype=torch.long))
    inner = CropFlip(SPEC, 4, False)(batch).image[:, 0, 8, 4:12]
    assert (inner.diff() > 0).all()


def test_quarter_turns_are_drawn_evenly() -> None:
    image = torch.rand(1, 3, 16, 16)
    batch = TensorBatch(image=image.repeat(4000, 1, 1, 1), label=torch.zeros(4000, dtype=torch.long))
    found = QuarterTurns(SPEC)(batch).image
    counts = [int((found == image.rot90(k, (-2, -1))).flatten(1).all(1).sum()) for k in range(4)]
    assert sum(counts) == 4000
    assert max(abs(count - 1000) for count in counts) < 150


def test_data_without_images_are_refused() -> None:
    atoms = Spec("qm9", "atoms", "all", "official", (), {"pos": Field(irreps="1o")})
    with pytest.raises(UserError, match="changes images, and qm9 has none"):
        CropFlip(atoms, 4, True)
