"""The benchmark as a user meets it: views and what lies between them, splits, bad files, the picture to look at."""

import logging
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.spatial.transform import Rotation

from erlangen.datamodules import threediebench
from erlangen.datamodules.files import threediebench as files
from erlangen.datamodules.sampling import Draw, Seeded
from erlangen.datamodules.synthetic import threediebench as miniature
from erlangen.datamodules.threediebench import ThreeDIEBench, ThreeDIEBenchT
from erlangen.errors import UserError
from erlangen.geometry.rotations import quaternion_to_matrix
from erlangen.preview import preview

OPTIONS = {
    "source": "miniature",
    "views": 2,
    "resolution": 32,
    "val_fraction": 0.25,
    "split_seed": 0,
    "quick_objects": 8,
    "probe_epochs": 1,
    "probe_batch_size": 16,
    "probe_lr": 1e-3,
    "probe_width": 16,
    "batch_size": 8,
    "eval_batch_size": 4,
}
VIEWS = 4


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with a miniature of 40 training and 20 test objects, four views each."""
    root = tmp_path_factory.mktemp("data")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(miniature, "COUNTS", {"train": 4, "val": 2})
        patch.setattr(miniature, "VIEWS", VIEWS)
        miniature.write_miniature(root / "3diebench", 32)
    return root


@pytest.fixture(autouse=True)
def _few_views(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threediebench, "VIEWS", {"official": VIEWS, "miniature": VIEWS})


@pytest.fixture
def root(made: Path, tmp_path: Path) -> Path:
    """A copy that a test may spoil, nothing of which was read before."""
    shutil.copytree(made, tmp_path / "data", ignore=shutil.ignore_patterns("cache-*"))
    return tmp_path / "data"


def data(root: Path, **options) -> ThreeDIEBench:
    return ThreeDIEBench(root, 1, **{**OPTIONS, **options})


def folder_of(root: Path) -> Path:
    return next((root / "3diebench").glob("miniature-*"))


def first_object(root: Path, split: str = "train") -> Path:
    folder = folder_of(root)
    return folder / files.IMAGES / str(np.load(folder / f"{split}_images.npy")[0]).strip("/")


def test_a_batch_holds_views_and_what_lies_between_them(made: Path) -> None:
    batch = data(made, views=3).splits["train"][np.arange(5)]
    assert batch.images.shape == (5, 3, 3, 32, 32)
    assert 0 <= batch.images.min() < batch.images.max() <= 1
    assert batch.latents.shape == (5, 3, 7)
    assert batch.color.shape == (5, 2, 2)
    turns = [Rotation.from_euler("xyz", batch.latents[:, view, :3].numpy()) for view in range(3)]
    for step in range(2):
        expected = (turns[step].inv() * turns[step + 1]).as_matrix()
        np.testing.assert_allclose(quaternion_to_matrix(batch.rotation[:, step]).numpy(), expected, atol=1e-5)


def test_images_and_latents_belong_together(made: Path) -> None:
    """Each drawn view is the picture that its latents make, whichever views are drawn."""
    dataset = data(made).splits["train"]
    everything = data(made).splits["test"]
    assert everything[np.array([0])].images.shape[1] == VIEWS
    batch = dataset[np.arange(6)]
    for images, latents, number in zip(batch.images, batch.latents, batch.id.tolist(), strict=True):
        views = [int(np.abs(dataset.latents[number] - latent.numpy()).sum(-1).argmin()) for latent in latents]
        assert views[0] != views[1]
        for image, view in zip(images, views, strict=True):
            assert np.array_equal((255 * image).round().numpy(), dataset.pixels.images[number, view])


def test_views_are_drawn_by_seed(made: Path) -> None:
    dataset = Seeded(data(made).splits["train"])
    draws = [dataset[Draw(seed, np.arange(20))].latents for seed in (5, 5, 6)]
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])


def test_no_object_is_in_two_splits(made: Path) -> None:
    splits = data(made).splits
    ids = {name: set(splits[name][np.arange(len(splits[name]))].id.tolist()) for name in splits}
    assert {name: len(members) for name, members in ids.items()} == {"train": 30, "val": 10, "test": 20}
    assert len(set.union(*ids.values())) == 60
    names = [np.load(folder_of(made) / f"{split}_images.npy") for split in ("train", "val")]
    assert not set(names[0]) & set(names[1])


def test_the_miniature_is_in_the_official_layout(made: Path) -> None:
    place = first_object(made)
    assert sorted(path.name for path in place.iterdir()) == sorted(
        [f"image_{view}.jpg" for view in range(VIEWS)] + [f"latent_{view}.npy" for view in range(VIEWS)]
    )
    latent = np.load(place / "latent_0.npy")
    assert latent.shape == (7,)
    assert np.abs(latent[:3]).max() <= np.pi / 2
    assert place.parent.name in miniature.CLASSES.values()


def test_official_files_are_found_and_views_decoded_when_asked_for(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = data(root).splits["test"][np.arange(4)]
    for path in list(folder_of(root).iterdir()):
        path.rename(root / "3diebench" / path.name)
    monkeypatch.setattr(threediebench, "CACHE_LIMIT", 0)
    official = data(root, source="auto")
    assert official.source == official.spec.source == "official"
    assert torch.equal(official.splits["test"][np.arange(4)].images, kept.images)
    smaller = data(root, source="auto", resolution=16).splits["test"][np.arange(4)].images
    assert smaller.shape[-2:] == (16, 16)
    assert float((smaller.mean((-1, -2)) - kept.images.mean((-1, -2))).abs().max()) < 0.02


def test_without_official_files_it_says_what_to_get(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"should hold the folder 3DIEBench .*3DIEBench\.tar\.gz"):
        data(tmp_path, source="official").load()


def test_objects_that_lack_views_are_left_out_with_a_count(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    place = first_object(root)
    (place / "image_1.jpg").unlink()  # one view is missing
    other = first_object(root, "val")
    for view in range(1, VIEWS):
        (other / f"latent_{view}.npy").unlink()  # one view is left
    with caplog.at_level(logging.WARNING, "erlangen"):
        splits = data(root).splits
    assert sum(map(len, splits.values())) == 58
    assert f"2 of 60 objects in {folder_of(root) / files.IMAGES} lack views" in caplog.text
    assert f"{place.parent.name}/{place.name} has 3 of 4" in caplog.text


def test_no_whole_object_is_an_error(root: Path) -> None:
    shutil.rmtree(folder_of(root) / files.IMAGES)
    with pytest.raises(UserError, match="60 of 60 objects .* too few are left"):
        data(root).load()


@pytest.mark.parametrize("values", [np.zeros(9), np.zeros((1, 7)), np.full(7, np.nan), np.zeros(7, dtype=int)])
def test_latents_must_be_seven_finite_numbers(root: Path, values: np.ndarray) -> None:
    path = first_object(root) / "latent_2.npy"
    np.save(path, values)
    with pytest.raises(UserError, match=f"{path} holds .* it should hold 7 finite numbers"):
        data(root).load()


@pytest.mark.parametrize("kind", ["text", "png", "cut"])
def test_images_must_be_whole_jpegs(root: Path, kind: str) -> None:
    path = first_object(root) / "image_0.jpg"
    if kind == "text":
        path.write_text("no picture")
    elif kind == "png":
        Image.new("RGB", (32, 32)).save(path, format="PNG")
    else:
        path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(UserError, match=f"{path} is no whole JPEG image"):
        data(root).load()


@pytest.mark.parametrize("name", ["/../../etc/", "/etc/passwd/more", "//02691156/..", "C:\\data\\x", "/02691156/", ""])
def test_split_files_cannot_lead_out_of_the_data(root: Path, name: str) -> None:
    path = folder_of(root) / "train_images.npy"
    names = np.load(path)
    np.save(path, np.array([name, *names[1:]]))
    with pytest.raises(UserError, match=r"train_images\.npy names .* no folder SYNSET/OBJECT inside the data"):
        data(root).load()


def test_an_absolute_path_means_the_datas_folder(root: Path) -> None:
    """ "/etc/passwd" is the folder etc/passwd of the data, which is not there."""
    path = folder_of(root) / "train_images.npy"
    names = np.load(path)
    np.save(path, np.array(["/etc/passwd", *names[1:]]))
    assert sum(map(len, data(root).splits.values())) == 59


def test_pickled_split_files_are_not_run(root: Path) -> None:
    np.save(folder_of(root) / "val_labels.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(UserError, match=r"val_labels\.npy is no readable array"):
        data(root).load()


def test_labels_must_fit_the_objects(root: Path) -> None:
    path = folder_of(root) / "train_labels.npy"
    labels = np.load(path)
    np.save(path, labels[:-1])
    with pytest.raises(UserError, match="one integer for each of"):
        data(root).load()
    np.save(path, labels + 10)
    with pytest.raises(UserError, match="classes go from 0 to 9"):
        data(root).load()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"views": 1}, "data.views must lie between 2 and"),
        ({"resolution": 512}, "data.resolution must"),
        ({"source": "real"}, "data.source must"),
    ],
)
def test_wrong_options_are_named(tmp_path: Path, options: dict, said: str) -> None:
    with pytest.raises(UserError, match=said):
        data(tmp_path, **options)


def test_with_translation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(miniature, "COUNTS", {"train": 1, "val": 1})
    monkeypatch.setattr(miniature, "VIEWS", VIEWS)
    shifted = ThreeDIEBenchT(tmp_path, 1, **OPTIONS)
    assert shifted.splits["train"][np.arange(2)].latents.shape == (2, 2, 10)
    assert "translation_base_r2_all" in shifted.task.units


def test_preview_draws_every_class(made: Path, tmp_path: Path) -> None:
    path = tmp_path / "sheet.png"
    options = ["data=3diebench", "data.resolution=32", "data.source=miniature", f"paths.data={made}"]
    assert preview(options, "test", path) == 10
    assert Image.open(path).size[0] > 500


@pytest.mark.slow
def test_thousands_of_views_in_a_minute_of_two_cores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In seconds of processor time, so that a busy machine is no failure."""
    monkeypatch.undo()
    start = time.process_time()
    miniature.write_miniature(tmp_path, 64)
    assert len(list((tmp_path).glob("miniature-*/3DIEBench/*/*/*.jpg"))) == 16_000
    assert time.process_time() - start < 2 * 60
