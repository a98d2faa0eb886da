"""CIFAR: the official files read byte for byte, wrong ones refused, splits that can be compared."""

import dataclasses
import hashlib
import io
import os
import pickle
import struct
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch

from erlangen.datamodules import cifar
from erlangen.datamodules.cifar import CIFAR10, CIFAR100, SequentialCIFAR10
from erlangen.datamodules.files import cifar as cifar_files
from erlangen.errors import UserError

OPTIONS = {"seed": 1, "batch_size": 32, "eval_batch_size": 50, "val_fraction": 0.1, "split_seed": 42}


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Miniatures of a few hundred pictures, and official archives of as many."""
    for benchmark in (CIFAR10, CIFAR100):
        small = dataclasses.replace(benchmark.release, miniature=(500, 200), official=(50, 10))
        monkeypatch.setattr(benchmark, "release", small)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data")


class Python2Pickler(pickle._Pickler):
    """Writes what Python 2 wrote for CIFAR: every string as bytes, numpy under its old names."""

    dispatch = pickle._Pickler.dispatch.copy()

    def save_string(self, value):
        content = value.encode() if isinstance(value, str) else value
        self.write(b"T" + struct.pack("<i", len(content)) + content)
        self.memoize(value)

    dispatch[str] = dispatch[bytes] = save_string

    def save_global(self, value, name=None):
        module = "numpy.core.multiarray" if value.__name__ == "_reconstruct" else "numpy"
        self.write(f"c{module}\n{value.__name__}\n".encode())
        self.memoize(value)

    dispatch[type] = dispatch[type(np.array)] = dispatch[type(lambda: 0)] = save_global


def python2_pickle(value) -> bytes:
    file = io.BytesIO()
    Python2Pickler(file, 2).dump(value)
    return file.getvalue()


def write_archive(root: Path, release: cifar_files.Release, batches: dict[str, bytes]) -> Path:
    path = root / release.archive.split("-python")[0].replace("-", "") / release.archive
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w:gz") as tar:
        for name, content in batches.items():
            member = tarfile.TarInfo(f"{release.folder}/{name}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path


def official(
    monkeypatch: pytest.MonkeyPatch, root: Path, change=lambda batch: batch, dumps=python2_pickle
) -> np.ndarray:
    """Writes an official archive of random images; `change` may spoil each batch. Returns the images as pictures."""
    rng, release = np.random.default_rng(0), CIFAR10.release
    pictures = rng.integers(0, 256, (60, 32, 32, 3), dtype=np.uint8)
    batches = {}
    for name, part in zip((*release.train, release.test), np.split(pictures, 6), strict=True):
        planes = np.concatenate([part[..., channel].reshape(10, -1) for channel in range(3)], 1)
        batch = {
            b"batch_label": name.encode(),
            b"labels": list(range(10)),
            b"data": planes,
            b"filenames": [b"x.png"] * 10,
        }
        batches[name] = dumps(change(batch))
    path = write_archive(root, release, batches)
    digest = hashlib.md5(path.read_bytes()).hexdigest()
    monkeypatch.setattr(CIFAR10, "release", dataclasses.replace(release, md5=digest))
    return pictures


def test_the_official_archive_is_read_as_python_2_wrote_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pictures = official(monkeypatch, tmp_path)
    data = CIFAR10(tmp_path, source="auto", **OPTIONS)
    assert data.spec.source == "official"
    assert not data.spec.subset
    batch = data.splits["test"][list(range(10))]
    np.testing.assert_array_equal((batch.image * 255).round().numpy(), pictures[50:].transpose(0, 3, 1, 2))
    assert batch.label.tolist() == list(range(10))
    training = data.splits["train"][list(range(45))]
    np.testing.assert_array_equal(
        (training.image * 255).round().numpy(), pictures[training.id].transpose(0, 3, 1, 2), "by id"
    )


def test_another_archive_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    official(monkeypatch, tmp_path)
    monkeypatch.setattr(CIFAR10, "release", cifar_files.CIFAR10)
    with pytest.raises(UserError, match=r"has MD5 .*, should have c58f30108f718f92721af3b95e74349a"):
        CIFAR10(tmp_path, source="official", **OPTIONS).load()


class Payload:
    def __init__(self, marker: Path):
        self.marker = marker

    def __reduce__(self):
        return os.system, (f"touch {self.marker}",)


def test_a_planted_command_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    marker = tmp_path / "run"
    official(monkeypatch, tmp_path, lambda batch: {**batch, b"filenames": Payload(marker)}, pickle.dumps)
    with pytest.raises(UserError, match=r"data_batch_1 in .* asks for \w+\.system.*nothing was run"):
        CIFAR10(tmp_path, source="official", **OPTIONS).load()
    assert not marker.exists()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda b: {**b, b"labels": [*range(9), 10]}, "gives image 9 the label 10; labels go from 0 to 9"),
        (lambda b: {**b, b"labels": [-1] * 10}, r"the label -1.*10 of 10 are out of range"),
        (lambda b: {**b, b"labels": list(range(9))}, "10 images, but labels of shape"),
        (lambda b: {**b, b"labels": [0.5] * 10}, "labels that are no integers"),
        (lambda b: {**b, b"data": b[b"data"][:, : 3 * 28 * 28]}, "rows of 3072 bytes"),
        (lambda b: {**b, b"data": b[b"data"].astype(np.float32)}, "type float32; they should have .* uint8"),
        (lambda b: {b"data": b[b"data"]}, "should hold data, labels"),
        (lambda b: [1, 2], "is no batch of CIFAR"),
    ],
)
def test_batches_that_are_not_cifar_are_refused(tmp_path: Path, monkeypatch, change, reason: str) -> None:
    official(monkeypatch, tmp_path, change)
    with pytest.raises(UserError, match=reason):
        CIFAR10(tmp_path, source="official", **OPTIONS).load()


def test_an_archive_without_its_members_is_refused(tmp_path: Path) -> None:
    path = write_archive(tmp_path, cifar_files.CIFAR10, {"data_batch_1": b""})
    for content in (path.read_bytes(), path.read_bytes()[:40], b"not an archive"):
        path.write_bytes(content)
        with pytest.raises(UserError, match="cifar-10-python.tar.gz"):
            cifar_files.read_archive(path, cifar_files.CIFAR10)


def test_auto_says_once_that_it_is_the_miniature(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    data = CIFAR10(tmp_path, source="auto", **OPTIONS)
    assert data.spec.source == "miniature"
    assert not caplog.records, "building a data module reads and says nothing"
    assert data.splits
    assert data.splits
    (record,) = caplog.records
    assert "MINIATURE" in record.message
    assert "source=official downloads" in record.message
    caplog.clear()
    CIFAR10(tmp_path, source="miniature", **OPTIONS).load()
    assert not caplog.records


def test_the_miniature_is_made_once_and_is_the_same_for_every_seed(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = CIFAR10(root, source="miniature", **OPTIONS).splits["train"]
    monkeypatch.setattr(cifar, "write_miniature", lambda *_: pytest.fail("made again"))
    again = CIFAR10(root, source="miniature", **{**OPTIONS, "seed": 7}).splits["train"]
    np.testing.assert_array_equal(first.images, again.images)
    np.testing.assert_array_equal(first.index, again.index)


def test_splits_are_disjoint_and_the_test_pictures_new(root: Path) -> None:
    splits = CIFAR10(root, source="miniature", **OPTIONS).splits
    assert {name: len(split) for name, split in splits.items()} == {"train": 450, "val": 50, "test": 200}
    ids = np.concatenate([split[np.arange(len(split))].id for split in splits.values()])
    assert len(set(ids.tolist())) == 700
    pictures = splits["test"].images
    assert len({picture.tobytes() for picture in pictures}) == 700
    classes = np.bincount(splits["test"][list(range(200))].label)
    assert (classes == 20).all()


def test_the_validation_split_is_the_published_one() -> None:
    """S4 (arXiv:2111.00396) splits the 50,000 training images with torch's random_split and seed 42."""
    data = CIFAR10("nowhere", source="miniature", **OPTIONS)
    data.training_images, data.full_sizes = 50_000, {"train": 45_000, "val": 5_000, "test": 10_000}
    ours = data.split_indices()
    train, val = torch.utils.data.random_split(
        range(50_000), (45_000, 5_000), generator=torch.Generator().manual_seed(42)
    )
    np.testing.assert_array_equal(ours["train"], train.indices)
    np.testing.assert_array_equal(ours["val"], val.indices)
    assert hashlib.md5(np.sort(ours["val"]).astype("<i4").tobytes()).hexdigest() == "7efac6a9c90a798a4addf955ae8866be"


def test_subsets_are_named_and_nested(root: Path) -> None:
    whole = CIFAR10(root, source="miniature", **OPTIONS)
    part = CIFAR10(root, source="miniature", train_size=100, test_size=20, **OPTIONS)
    assert whole.spec.split == "official test, validation 50 of 500 (seed 42)"
    assert part.spec.split == "official test, validation 50 of 500 (seed 42), 100 of 450 train, 20 of 200 test"
    assert (part.spec.subset, whole.spec.subset) == (True, False)
    for name, size in (("train", 100), ("test", 20)):
        np.testing.assert_array_equal(part.splits[name].index, whole.splits[name].index[:size])


def test_coarse_labels_are_of_the_same_pictures(root: Path) -> None:
    fine, coarse = (CIFAR100(root, source="miniature", labels=kind, **OPTIONS) for kind in ("fine", "coarse"))
    assert (fine.spec.targets[0].classes, coarse.spec.targets[0].classes) == (100, 20)
    assert fine.spec.split != coarse.spec.split, "their numbers do not compare"
    first, second = (data.splits["test"][list(range(200))] for data in (fine, coarse))
    assert torch.equal(first.image, second.image)
    assert torch.equal(first.label // 5, second.label)


def test_sequences_are_the_pixels_row_by_row(root: Path) -> None:
    images = CIFAR10(root, source="miniature", **OPTIONS).splits["val"][[3, 5]]
    data = SequentialCIFAR10(root, source="miniature", **OPTIONS)
    batch = data.splits["val"][[3, 5]]
    assert (data.modality, data.spec.fields["sequence"].shape) == ("sequences", (1024, 3))
    assert batch.sequence.shape == (2, 1024, 3)
    for row, column in ((0, 0), (0, 31), (1, 0), (20, 7)):
        assert torch.equal(batch.sequence[:, 32 * row + column], images.image[:, :, row, column])
    assert torch.equal(batch.id, images.id)


def test_loaders_give_every_test_image_once(root: Path) -> None:
    data = CIFAR10(root, source="miniature", **OPTIONS)
    ids = torch.cat([batch.id for batch in data.test_dataloader()])
    assert torch.equal(ids, torch.arange(500, 700))
    batch = next(iter(data.train_dataloader()))
    assert batch.image.shape == (32, 3, 32, 32)
    assert batch.image.dtype == torch.float32
    assert (batch.image.min() >= 0) & (batch.image.max() <= 1)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"source": "offical"}, "auto, official or miniature, not 'offical'"),
        ({"labels": "coarse"}, "data.labels must be one of fine, not 'coarse'"),
        ({"train_size": 451}, "between 1 and 450"),
        ({"test_size": 0}, "between 1 and 200"),
        ({"val_fraction": 1.0}, "between 0 and 1"),
        ({"corrupted_test": True}, "needs the official data"),
    ],
)
def test_wrong_options_are_explained(tmp_path: Path, options: dict, reason: str) -> None:
    with pytest.raises(UserError, match=reason):
        CIFAR10(tmp_path, **{"source": "miniature", **OPTIONS, **options})
