"""The benchmark as a user meets it: splits, batches, rotations, the miniature, and what is said when something is wrong."""

import time
from pathlib import Path
from types import SimpleNamespace

import lightning as L
import numpy as np
import pytest
import torch

from erlangen.datamodules.clouds import AUGMENTATION, CloudDataset, held_out, normalized
from erlangen.datamodules.contact_sheet import contact_sheet
from erlangen.datamodules.files.modelnet import FORTY, TEN
from erlangen.datamodules.files.off import checked, sample_surface
from erlangen.datamodules.modelnet import ModelNet
from erlangen.datamodules.synthetic import modelnet as modelnet_miniature
from erlangen.datamodules.synthetic.cad_parts import (
    HELD_OUT,
    Draw,
    box,
    cylinder,
    ellipsoid,
    joined,
    lathe,
    pipe,
    prism,
    vessel,
)
from erlangen.datamodules.synthetic.cad_parts import volume as signed_volume
from erlangen.datamodules.synthetic.modelnet import family, make_shape, write_miniature
from erlangen.errors import UserError
from erlangen.tasks.point_classification import keyed_rotations, rotate_clouds

OPTIONS = {
    "source": "miniature",
    "classes": 10,
    "form": "mesh",
    "num_points": 256,
    "normals": False,
    "train_rotation": "none",
    "val_fraction": 0.25,
    "batch_size": 8,
    "eval_batch_size": 8,
}


@pytest.fixture(autouse=True)
def _few_shapes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(modelnet_miniature, "COUNTS", {"train": 8, "test": 3})


def modelnet(root: Path, seed: int = 1, **options) -> ModelNet:
    return ModelNet(root, seed, **{**OPTIONS, **options})


# the miniature's shapes


@pytest.mark.parametrize(
    ("mesh", "volume"),
    [
        (box((0, 0, 0), (1, 2, 3)), 6),
        (prism([(0, 0), (2, 0), (2, 1), (0, 1)], 0, 3), 6),
        (prism([(0, 0), (2, 0), (2, 1), (0, 1)], 0, 3, "x"), 6),
        (prism([(0, 0), (2, 0), (2, 1), (0, 1)], 0, 3, "y"), 6),
        (lathe([(0, 0), (1, 0), (1, 2), (0, 2)], 400), 2 * np.pi),
        (cylinder(1, 0, 2, 5, 5), 2 * 10 * np.sin(2 * np.pi / 20)),  # a prism over the regular 20-gon
        (pipe((1, 2, 3), (1, 2, 5), 1), 2 * 5 * np.sin(2 * np.pi / 10)),
        (pipe((0, 0, 0), (3, 4, 0), 1, 0.5), 5 * (1 + 0.5 + 0.25) / 3 * 5 * np.sin(2 * np.pi / 10)),
        (ellipsoid((1, 1, 1), (1, 2, 3)), 6 * signed_volume(ellipsoid((0, 0, 0), (1, 1, 1)))),
    ],
)
def test_parts_are_closed_and_face_outward(mesh, volume: float) -> None:
    assert signed_volume(mesh) == pytest.approx(volume, rel=1e-3)


def test_a_vessel_is_hollow() -> None:
    outer, inner = cylinder(1, 0, 2), cylinder(0.9, 0.1, 2)
    assert signed_volume(vessel([(1, 0), (1, 2)], 0.1)) == pytest.approx(signed_volume(outer) - signed_volume(inner))


def test_parameters_of_test_shapes_are_held_out() -> None:
    for split in (False, True):
        draw = Draw(np.random.default_rng(0), held_out=split)
        values = np.array([draw.between(2.0, 4.0) for _ in range(2000)]) / 2 - 1
        inside = np.any([(low <= values) & (values <= high) for low, high in HELD_OUT], axis=0)
        assert inside.all() if split else not inside.any()
        assert np.histogram(values, bins=10, range=(0, 1))[0].astype(bool).sum() >= (3 if split else 8)


def test_there_is_a_family_for_every_class() -> None:
    for name in FORTY:
        shapes = [make_shape(name, split, number) for split in ("train", "test") for number in (1, 2)]
        for shape in shapes:
            checked(shape, name)
            assert np.ptp(shape.vertices, axis=0).min() > 0
        again = make_shape(name, "train", 1)
        assert np.array_equal(again.vertices, shapes[0].vertices), "not deterministic"
        assert len({shape.vertices.tobytes() for shape in shapes}) == 4


def test_all_parts_can_be_dropped_but_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(modelnet_miniature, "DROPPED", 1.0)
    for name in FORTY:
        checked(make_shape(name, "train", 1), name)
    monkeypatch.setattr(modelnet_miniature, "DROPPED", 0.0)
    whole = make_shape("chair", "train", 1)
    parts = family("chair")(Draw(np.random.default_rng(0), False))
    assert len(whole.vertices) > len(joined(parts[:1]).vertices)


def test_the_miniature_is_written_once_in_official_folders(tmp_path: Path) -> None:
    folder = write_miniature(tmp_path, 10)
    files = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.off"))
    assert len(files) == 10 * 11
    assert files[:9] == [f"bathtub/test/bathtub_{n:04d}.off" for n in (9, 10, 11)] + [
        f"bathtub/train/bathtub_{n:04d}.off" for n in range(1, 7)
    ]
    before = (folder / files[0]).stat().st_mtime_ns
    assert write_miniature(tmp_path, 10) == folder
    assert (folder / files[0]).stat().st_mtime_ns == before
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == [folder.parent.name]


# splits and batches


def test_splits_are_disjoint_and_stratified(tmp_path: Path) -> None:
    splits = modelnet(tmp_path).splits
    ids = {name: set(split.index.tolist()) for name, split in splits.items()}
    assert [len(ids[name]) for name in ("train", "val", "test")] == [60, 20, 30]
    assert not ids["train"] & ids["val"]
    assert not (ids["train"] | ids["val"]) & ids["test"]
    labels = splits["val"][np.arange(20)].label
    assert torch.equal(labels.bincount(), torch.full((10,), 2))
    other = modelnet(tmp_path, seed=2).splits
    assert set(other["val"].index.tolist()) != ids["val"]
    assert set(other["test"].index.tolist()) == ids["test"]


def test_without_validation_shapes_the_test_split_chooses_and_scores_say_so(tmp_path: Path) -> None:
    datamodule = modelnet(tmp_path, val_fraction=0.0)
    splits = datamodule.splits
    assert len(splits["train"]) == 80
    assert splits["val"].index.tolist() == splits["test"].index.tolist()
    assert not set(splits["train"].index) & set(splits["test"].index)
    assert datamodule.spec.split.endswith("best epoch on the test split")
    assert set(datamodule.task.compute("test")) == {
        f"{metric}_best_epoch{turn}" for metric in ("acc", "macc") for turn in ("", "_z", "_so3")
    }
    assert set(modelnet(tmp_path).task.compute("test")) == set(modelnet(tmp_path).task.units)


def test_holding_out_leaves_something_on_both_sides() -> None:
    label = np.array([0] * 10 + [1] * 2 + [2])
    among = np.ones(13, dtype=bool)
    among[9] = False
    stay, out = held_out(label, among, 0.1, np.random.default_rng(0))
    assert sorted([*stay, *out]) == [0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 11, 12]
    assert label[out].tolist() == [0, 1]


def test_batches_are_centred_in_the_unit_sphere(tmp_path: Path) -> None:
    datamodule = modelnet(tmp_path, normals=True)
    batch = datamodule.splits["train"][np.array([5, 0, 17])]
    assert batch.num_graphs == 3
    assert batch.ptr.tolist() == [0, 256, 512, 768]
    assert batch.batch.bincount().tolist() == [256] * 3
    assert batch.pos.dtype == batch.normal.dtype == torch.float32
    clouds = batch.pos.view(3, 256, 3)
    assert clouds.mean(1).abs().max() < 1e-6
    torch.testing.assert_close(clouds.norm(dim=-1).amax(1), torch.ones(3))
    torch.testing.assert_close(batch.normal.norm(dim=-1), torch.ones(768))
    assert set(datamodule.spec.fields) == {"pos", "normal"}
    assert datamodule.spec.fields["pos"].translates
    assert not datamodule.spec.fields["normal"].translates
    fewer = modelnet(tmp_path, num_points=10).splits["train"][np.array([5])]
    assert len(fewer.pos) == 10


def test_a_cloud_of_one_place_stays_finite() -> None:
    assert np.array_equal(normalized(np.ones((1, 4, 3), dtype=np.float32)), np.zeros((1, 4, 3)))


def test_a_thousand_clouds_a_second_from_the_cache(tmp_path: Path) -> None:
    split = modelnet(tmp_path, num_points=1024).splits["train"]
    indices = np.random.default_rng(0).integers(0, len(split), (20, 32))
    split[indices[0]]
    start = time.process_time()
    for batch in indices:
        split[batch]
    assert indices.size / (time.process_time() - start) > 1000


@pytest.mark.parametrize("rotation", ["z", "so3"])
def test_training_rotations_are_keyed_by_seed_epoch_and_sample(tmp_path: Path, rotation: str) -> None:
    def augmented(seed: int, epoch: int, indices: list[int], training: bool = True) -> torch.Tensor:
        datamodule = modelnet(tmp_path, seed, train_rotation=rotation)
        datamodule.trainer = SimpleNamespace(training=training, current_epoch=epoch)
        batch = modelnet(tmp_path, 1).splits["train"][np.array(indices)]
        return datamodule.on_after_batch_transfer(batch, 0).pos.view(len(indices), 256, 3)

    plain = augmented(1, 0, [0, 1], training=False)
    first = augmented(1, 0, [0, 1])
    torch.testing.assert_close(first.norm(dim=-1), plain.norm(dim=-1))
    assert torch.equal(first, augmented(1, 0, [1, 0]).flip(0)), "depends on the place in the batch"
    for other in (augmented(1, 1, [0, 1]), augmented(2, 0, [0, 1]), plain):
        assert (first - other).abs().amax((1, 2)).min() > 1e-2
    assert torch.allclose(first[..., 2], plain[..., 2]) == (rotation == "z")


class Recorder(L.LightningModule):
    """Keeps the batches that a trainer shows it."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.seen: dict[str, list] = {"train": [], "val": []}

    def training_step(self, batch, batch_idx: int) -> torch.Tensor:
        self.seen["train"].append((self.trainer.current_epoch, batch))
        return self.weight * 1.0

    def validation_step(self, batch, batch_idx: int) -> None:
        self.seen["val"].append((self.trainer.current_epoch, batch))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def test_a_trainer_turns_training_clouds_and_no_others(tmp_path: Path) -> None:
    """Validation clouds come as they are: the task turns them, always in the same way."""
    datamodule, recorder = modelnet(tmp_path, train_rotation="so3"), Recorder()
    quiet = {
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    trainer = L.Trainer(accelerator="cpu", max_epochs=2, num_sanity_val_steps=1, limit_train_batches=2, **quiet)
    trainer.fit(recorder, datamodule=datamodule)
    everything = CloudDataset(datamodule.splits["train"].arrays, np.arange(110), 256, False)
    for stage, batches in recorder.seen.items():
        assert {epoch for epoch, _ in batches} == {0, 1}
        for epoch, batch in batches:
            expected = everything[batch.id.numpy()]
            if stage == "train":
                turns = keyed_rotations("so3", (AUGMENTATION, 1, epoch), batch.id)
                expected = rotate_clouds(expected, datamodule.spec, turns)
            assert torch.equal(batch.pos, expected.pos)


def test_what_the_spec_says_needs_no_data(tmp_path: Path) -> None:
    datamodule = modelnet(tmp_path, classes=40, train_rotation="so3")
    assert datamodule.spec.split == "40 classes, mesh, 256 points, trained on SO(3), 25% of training held out"
    assert datamodule.spec.source == "miniature"
    assert datamodule.task.monitor == "acc"
    assert not list(tmp_path.iterdir())


# sources, and what is wrong


def test_auto_takes_official_data_where_they_are(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert modelnet(tmp_path, source="auto").spec.source == "miniature"
    modelnet(tmp_path, source="auto").splits  # noqa: B018
    said = [record.getMessage() for record in caplog.records if "MINIATURE" in record.getMessage()]
    assert len(said) == 1
    assert "data.source=official" in said[0]
    assert "\n" not in said[0]
    made = write_miniature(tmp_path / "modelnet", 10)
    made.rename(tmp_path / "modelnet" / "ModelNet10")
    official = modelnet(tmp_path, source="auto")
    assert official.spec.source == "official"
    assert len(official.splits["test"]) == 30
    assert "80 training and 30 test shapes; ModelNet10 has 3991 and 908" in caplog.text


def test_a_changed_folder_is_read_anew(tmp_path: Path) -> None:
    write_miniature(tmp_path / "modelnet", 10).rename(tmp_path / "modelnet" / "ModelNet10")
    assert len(modelnet(tmp_path, source="official").splits["test"]) == 30
    (tmp_path / "modelnet/ModelNet10/bed/test/bed_0011.off").unlink()
    assert len(modelnet(tmp_path, source="official").splits["test"]) == 29


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"classes": 11}, "data.form=mesh data.classes=11 does not exist"),
        ({"form": "h5", "classes": 10}, "data.form=h5 data.classes=10 does not exist"),
        ({"form": "txt"}, "the miniature is OFF meshes: use data.form=mesh"),
        ({"form": "h5", "classes": 40, "source": "auto"}, "there is no modelnet40_ply_hdf5_2048 in"),
        ({"source": "real"}, "data.source must be auto, official or miniature"),
        ({"num_points": 4096}, "data.num_points must lie between 1 and 2048"),
        ({"train_rotation": "y"}, "data.train_rotation must be none, z or so3"),
        ({"val_fraction": 1.0}, "data.val_fraction must be 0, or lie between 0 and 1"),
        ({"votes": 1}, "data.votes must be null, or 2 or more"),
    ],
)
def test_options_that_do_not_exist_are_refused(tmp_path: Path, options: dict, reason: str) -> None:
    with pytest.raises(UserError, match=reason):
        modelnet(tmp_path, **options)


def test_a_contact_sheet_shows_every_class(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    clouds = {name: sample_surface(make_shape(name, "train", 1), 64, rng)[0] for name in TEN}
    contact_sheet(clouds, tmp_path / "sheet.png")
    assert (tmp_path / "sheet.png").read_bytes().startswith(b"\x89PNG")
