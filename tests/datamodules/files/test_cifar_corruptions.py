"""CIFAR-C: the corrupted twin of every test image, in the files' own order."""

import hashlib
import io
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch

from erlangen.datamodules.files.cifar_corruptions import NAMES, SEVERITIES, CorruptedImages, CorruptionRelease
from erlangen.datamodules.image_tests import ImageClassification
from erlangen.errors import UserError
from erlangen.tasks.batch import TensorBatch
from erlangen.tasks.spec import Field, Spec, Target

RELEASE = CorruptionRelease("CIFAR-10-C", "https://invalid./CIFAR-10-C.tar", "0" * 32, 10)
IMAGES, FIRST = 8, 50
LABELS = np.arange(IMAGES) % 10
SPEC = Spec(
    benchmark="cifar10",
    modality="images",
    split="test",
    source="official",
    fields={"image": Field(level="graph", shape=(3, 32, 32))},
    targets=(Target(name="label", classes=10),),
)


def files() -> dict[str, np.ndarray]:
    """Every pixel of an image says which corruption, severity and test image it is."""
    arrays = {"labels": np.tile(LABELS, SEVERITIES)}
    for number, name in enumerate(NAMES):
        array = np.zeros((SEVERITIES * IMAGES, 32, 32, 3), dtype=np.uint8)
        array[..., 0] = number
        array[..., 1] = np.repeat(np.arange(SEVERITIES), IMAGES)[:, None, None]
        array[..., 2] = np.tile(np.arange(IMAGES), SEVERITIES)[:, None, None]
        arrays[name] = array
    return arrays


def write(home: Path, arrays: dict[str, np.ndarray]) -> CorruptedImages:
    folder = home / RELEASE.folder
    folder.mkdir(parents=True, exist_ok=True)
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)
    return CorruptedImages(home, RELEASE, FIRST)


def batch_of(*positions: int) -> TensorBatch:
    position = torch.tensor(positions)
    return TensorBatch(
        image=torch.zeros(len(positions), 3, 32, 32), label=torch.from_numpy(LABELS)[position], id=position + FIRST
    )


def test_every_severity_of_just_the_images_in_the_batch(tmp_path: Path) -> None:
    corruptions = write(tmp_path, files())
    corruptions.check(LABELS)
    for number, name in enumerate(NAMES):
        batch = corruptions(name, batch_of(6, 1))
        pixels = (255 * batch.image).round().long()
        assert batch.image.shape == (10, 3, 32, 32)
        assert (pixels[:, 0] == number).all()
        assert pixels[:, 1, 4, 4].tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
        assert pixels[:, 2, 9, 0].tolist() == [6, 1] * 5
        assert batch.label.tolist() == [6, 1] * 5


def test_mca_is_the_mean_over_corruptions(tmp_path: Path) -> None:
    """A predictor that fails from some severity on, a different one for every corruption."""
    corruptions = write(tmp_path, files())
    task = ImageClassification(SPEC, corruptions=corruptions)

    def predict(batch):
        pixels = (255 * batch.image[:, :, 0, 0]).round().long()
        right = pixels[:, 1] < pixels[:, 0] % 6
        return {
            "label": torch.nn.functional.one_hot(torch.where(right, batch.label, (batch.label + 1) % 10), 10).float()
        }

    for positions in ((0, 1, 2), (3, 4, 5, 6, 7)):
        task.score("test", predict, batch_of(*positions))
    metrics = {name: float(value) for name, value in task.compute("test").items()}
    expected = [100 * (number % 6) / 5 for number in range(len(NAMES))]
    assert [metrics[f"acc_{name}"] for name in NAMES] == pytest.approx(expected)
    assert metrics["mca"] == pytest.approx(np.mean(expected))
    assert metrics["acc"] == 0
    assert set(metrics) == set(task.units)
    task.score("val", predict, batch_of(0, 1))
    assert set(task.compute("val")) == {"acc", "macc"}


def pack(home: Path, arrays: dict[str, np.ndarray], prefix: str = "CIFAR-10-C/") -> str:
    home.mkdir(parents=True, exist_ok=True)
    with tarfile.open(home / "CIFAR-10-C.tar", "w") as tar:
        for name, array in arrays.items():
            file = io.BytesIO()
            np.save(file, array)
            member = tarfile.TarInfo(f"{prefix}{name}.npy")
            member.size = file.tell()
            file.seek(0)
            tar.addfile(member, file)
    return hashlib.md5((home / "CIFAR-10-C.tar").read_bytes()).hexdigest()


def test_the_archive_is_checked_and_unpacked(tmp_path: Path) -> None:
    digest = pack(tmp_path, files())
    with pytest.raises(UserError, match="has MD5"):
        CorruptedImages(tmp_path, RELEASE, FIRST).check(LABELS)
    release = CorruptionRelease(RELEASE.folder, RELEASE.url, digest, 10)
    CorruptedImages(tmp_path, release, FIRST).check(LABELS)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["CIFAR-10-C", "CIFAR-10-C.tar"]


def test_members_that_lead_out_of_the_folder_are_refused(tmp_path: Path) -> None:
    digest = pack(tmp_path / "home", {"labels": LABELS}, prefix="../../")
    release = CorruptionRelease(RELEASE.folder, RELEASE.url, digest, 10)
    with pytest.raises(UserError, match="cannot unpack"):
        CorruptedImages(tmp_path / "home", release, FIRST).check(LABELS)
    assert [path.name for path in tmp_path.rglob("*")] == ["home", "CIFAR-10-C.tar"]


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda a: {**a, "labels": np.roll(a["labels"], 1)}, "not of this benchmark's test images"),
        (lambda a: {**a, "fog": a["fog"][:, :28, :28]}, r"fog.npy holds images of shape \(28, 28, 3\)"),
        (lambda a: {**a, "snow": a["snow"][:-1]}, "39 images, but labels"),
        (lambda a: {**a, "frost": np.array([None])}, "cannot read .*frost.npy"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, spoil, reason: str) -> None:
    corruptions = write(tmp_path, spoil(files()))
    with pytest.raises(UserError, match=reason):
        corruptions.check(LABELS)


def test_a_missing_corruption_is_named(tmp_path: Path) -> None:
    arrays = files()
    arrays.pop("pixelate")
    with pytest.raises(UserError, match="cannot read .*pixelate.npy"):
        write(tmp_path, arrays).check(LABELS)
