"""Fashion-MNIST: idx files, from the authors or from Debian."""

import gzip
import hashlib
from pathlib import Path

import numpy as np
import pytest

from erlangen.datamodules import fashion_mnist
from erlangen.datamodules.fashion_mnist import DEBIAN, FILES, FashionMNIST, read_idx, write_idx
from erlangen.errors import UserError

OPTIONS = {"seed": 1, "batch_size": 32, "eval_batch_size": 500, "val_fraction": 0.1, "split_seed": 42}


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without Debian's package, and with a miniature of a few hundred pictures."""
    monkeypatch.setattr(fashion_mnist, "DEBIAN", tmp_path / "not installed")
    monkeypatch.setattr(fashion_mnist, "MINIATURE", (300, 100))


def write_official(folder: Path, monkeypatch: pytest.MonkeyPatch, size: int = 28, label: int = 9) -> np.ndarray:
    """Four small files in the official form whose checksums are taken for the official ones."""
    folder.mkdir(parents=True, exist_ok=True)
    images = np.random.default_rng(0).integers(0, 256, (30, size, size), dtype=np.uint8)
    labels = (np.arange(30) % (label + 1)).astype(np.uint8)
    parts = {"train": slice(0, 20), "t10k": slice(20, 30)}
    digests = {}
    for name in FILES:
        path = folder / f"{name}.gz"
        write_idx(path, (images if "images" in name else labels)[parts[name.split("-")[0]]])
        zipped = path.read_bytes()
        digests[name] = tuple(hashlib.md5(content).hexdigest() for content in (zipped, gzip.decompress(zipped)))
    monkeypatch.setattr(fashion_mnist, "FILES", digests)
    return images


def test_idx_is_read_as_it_is_specified() -> None:
    content = bytes.fromhex("00000803 00000002 00000001 00000003".replace(" ", "")) + bytes([1, 2, 3, 4, 5, 255])
    np.testing.assert_array_equal(read_idx(content, "x"), [[[1, 2, 3]], [[4, 5, 255]]])


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"\0\0\x0d\x01\0\0\0\x01\0", "no idx file of unsigned bytes: it begins with 00000d01"),
        (b"\0\0\x08", "no idx file"),
        (b"\0\0\x08\x02\0\0\0\x01", "no idx file"),
        (b"\0\0\x08\x01\0\0\0\x03ab", r"says that it holds \(3,\) bytes, and holds 2"),
        (b"\0\0\x08\x01\xff\xff\xff\xffab", "and holds 2"),
    ],
)
def test_other_files_are_refused(content: bytes, reason: str) -> None:
    with pytest.raises(UserError, match=reason):
        read_idx(content, "x")


def test_official_files_are_read_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = write_official(tmp_path / "fashion_mnist", monkeypatch)
    data = FashionMNIST(tmp_path, source="auto", **OPTIONS)
    assert (data.spec.source, data.spec.fields["image"].shape) == ("official", (1, 28, 28))
    found, labels = data.read()
    np.testing.assert_array_equal(found[:, 0], images)
    np.testing.assert_array_equal(labels, np.arange(30) % 10)


def test_a_package_with_the_same_content_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Debian compressed the files anew, so only their content is the official one."""
    images = write_official(tmp_path / "package", monkeypatch)
    for path in (tmp_path / "package").iterdir():
        path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes()), 9, mtime=1))
    monkeypatch.setattr(fashion_mnist, "DEBIAN", tmp_path / "package")
    data = FashionMNIST(tmp_path / "root", source="official", **OPTIONS)
    np.testing.assert_array_equal(data.read()[0][:, 0], images)


def test_changed_files_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "fashion_mnist"
    write_official(folder, monkeypatch)
    path = folder / "t10k-labels-idx1-ubyte.gz"
    write_idx(path, np.zeros(10, dtype=np.uint8))
    with pytest.raises(UserError, match="has MD5"):
        FashionMNIST(tmp_path, source="official", **OPTIONS).read()
    monkeypatch.setattr(fashion_mnist, "DEBIAN", folder)
    with pytest.raises(UserError, match="what is in .*t10k-labels.* has MD5"):
        FashionMNIST(tmp_path / "root", source="official", **OPTIONS).read()
    path.write_bytes(path.read_bytes()[:-12])
    with pytest.raises(UserError, match="is damaged"):
        FashionMNIST(tmp_path / "root", source="official", **OPTIONS).read()


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [({"size": 32}, r"shape \(1, 32, 32\)"), ({"label": 10}, "the label 10; labels go from 0 to 9")],
)
def test_images_of_another_size_and_labels_out_of_range(tmp_path: Path, monkeypatch, wrong: dict, reason: str) -> None:
    write_official(tmp_path / "fashion_mnist", monkeypatch, **wrong)
    with pytest.raises(UserError, match=reason):
        FashionMNIST(tmp_path, source="official", **OPTIONS).read()


def test_the_miniature_comes_through_the_official_reader(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    data = FashionMNIST(tmp_path, source="auto", **OPTIONS)
    assert data.spec.source == "miniature"
    assert {name: len(split) for name, split in data.splits.items()} == {"train": 270, "val": 30, "test": 100}
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "dataset-fashion-mnist" in caplog.text
    batch = data.splits["train"][list(range(270))]
    assert batch.image.shape == (270, 1, 28, 28)
    assert set(batch.label.tolist()) == set(range(10))


@pytest.mark.skipif(not DEBIAN.exists(), reason="Debian's package dataset-fashion-mnist is not installed")
def test_debians_package_is_fashion_mnist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fashion_mnist, "DEBIAN", DEBIAN)
    data = FashionMNIST(tmp_path, source="auto", train_size=10_000, **OPTIONS)
    assert data.spec.split == "official test, validation 6000 of 60000 (seed 42), 10000 of 54000 train"
    images, labels = data.read()
    assert images.shape == (70_000, 1, 28, 28)
    assert (np.bincount(labels[:60_000]) == 6000).all()
    assert (np.bincount(labels[60_000:]) == 1000).all()
    assert abs(images[:60_000].mean() / 255 - 0.2860) < 5e-5  # the mean and deviation that everyone normalises with
    assert abs(images[:60_000].std() / 255 - 0.3530) < 5e-5
