"""Furniture libraries: the catalogue and OBJ models are read as they are meant; the labels are what they say."""

import zipfile
from pathlib import Path

import numpy as np
import pytest

from erlangen.datamodules import furniture
from erlangen.datamodules.files.furniture_labels import MODELS
from erlangen.datamodules.files.off import normals_and_areas
from erlangen.datamodules.files.sweethome import read_catalogue, read_model, read_obj
from erlangen.datamodules.furniture import DEBIAN, Furniture
from erlangen.errors import UserError

OPTIONS = {
    "num_points": 128,
    "normals": False,
    "train_rotation": "none",
    "val_fraction": 0.2,
    "batch_size": 4,
    "eval_batch_size": 4,
}
CUBE = b"""# a unit square and a triangle
v 0 0 0
v 1 0 0
v 1 2 0
v 0 2 0
vt 0 0
vn 0 0 1
f 1/1/1 2/1/1 3/1/1 4/1/1
v 0 0 3
f -1 -5 -4
l 1 2
"""
LABELS = {"slab": {"Makers": "slab1 slab2 slab3 slab4"}, "post": {"Makers": "post1 post2 post3", "Others": "post4"}}


def library(path: Path, names: list[str], rotation: str = "", extra: bytes = b"") -> None:
    """A library whose models are slabs (wide) or posts (tall along y)."""
    rows = ["id=test", "# a comment"]
    with zipfile.ZipFile(path, "w") as archive:
        for number, name in enumerate(names, start=1):
            size = (4, 1, 3) if "slab" in name else (1, 6, 1)
            corners = [[c * s for c, s in zip(corner, size, strict=True)] for corner in np.ndindex(2, 2, 2)]
            quads = [(1, 2, 4, 3), (5, 7, 8, 6), (1, 5, 6, 2), (3, 4, 8, 7), (1, 3, 7, 5), (2, 6, 8, 4)]
            text = "\n".join(
                [*(f"v {x} {y} {z}" for x, y, z in corners), *(f"f {' '.join(map(str, q))}" for q in quads)]
            )
            archive.writestr(f"makers/{name}/{name}.obj", text.encode() + extra)
            rows += [
                f"id#{number}=Makers#{name}",
                f"name#{number}=M\u00f6bel",
                f"model#{number}=/makers/{name}/{name}.obj",
            ]
            rows += [f"creator#{number}=Ann", *([f"modelRotation#{number}={rotation}"] if rotation else [])]
        archive.writestr("PluginFurnitureCatalog.properties", "\n".join(rows).encode("latin-1"))


@pytest.fixture
def planted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(furniture, "MODELS", LABELS)
    monkeypatch.setattr(furniture, "LIBRARIES", ["Makers", "Others"])
    folder = tmp_path / "libraries"
    folder.mkdir()
    library(folder / "Makers.sh3f", ["slab1", "slab2", "slab3", "slab4", "post1", "post2", "post3", "unlabelled"])
    library(folder / "Others.sh3f", ["post4"])
    return folder


def test_obj_models_with_polygons_and_relative_corners() -> None:
    mesh = read_obj(CUBE, "square.obj")
    assert mesh.triangles.tolist() == [[0, 1, 2], [0, 2, 3], [4, 0, 1]]
    assert normals_and_areas(mesh)[1].tolist() == [1, 1, 1.5]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "x.obj is empty: it has 0 vertices and 0 faces"),
        (b"v 0 0 0\nv 1 0 0\nv 1 1 0\n", "3 vertices and 0 faces"),
        (b"v 0 0 zero\n", "x.obj is no OBJ model"),
        (b"v 0 0 0\nv 1 0 0\nv 1 1 0\nf 1 2 9\n", "refers to vertices"),
        (b"v 0 0 0\nv nan 0 0\nv 1 1 0\nf 1 2 3\n", "vertex 2 is not finite"),
        (b"v 0 0 0\nv 1 0 0\nv 2 0 0\nf 1 2 3\n", "area zero"),
    ],
)
def test_bad_models_are_named(data: bytes, reason: str) -> None:
    with pytest.raises(UserError, match=reason):
        read_obj(data, "x.obj")


def test_models_stand_upright_and_are_turned_as_the_catalogue_says(tmp_path: Path) -> None:
    library(tmp_path / "Plain.sh3f", ["post1"])
    library(tmp_path / "Turned.sh3f", ["post1"], rotation="0 1 0 -1 0 0 0 0 1")
    extents = []
    for path in (tmp_path / "Plain.sh3f", tmp_path / "Turned.sh3f"):
        catalogue = read_catalogue(path)
        assert catalogue["post1"].creator == "Ann"
        with zipfile.ZipFile(path) as archive:
            extents.append(np.ptp(read_model(archive, catalogue["post1"]).vertices, axis=0).tolist())
    assert extents == [[1, 1, 6], [6, 1, 1]]  # y was up and is z; the rotation lays the post along x


def test_splits_are_the_same_for_every_seed_but_validation(tmp_path: Path, planted: Path) -> None:
    splits = [Furniture(tmp_path / "data", seed, str(planted), **OPTIONS).splits for seed in (1, 2)]
    assert [len(splits[0][name]) for name in ("train", "val", "test")] == [4, 2, 2]
    assert splits[0]["test"].index.tolist() == splits[1]["test"].index.tolist()
    everything = np.concatenate([split.index for split in splits[0].values()])
    assert sorted(everything) == list(range(8))
    batch = splits[0]["test"][np.arange(2)]
    assert sorted(batch.label.tolist()) == [0, 1]
    for cloud, label in zip(batch.pos.view(2, 128, 3), batch.label, strict=True):
        tall = cloud[:, 2].abs().max() > cloud[:, :2].abs().max()
        assert bool(tall) == bool(label == 1)


def test_missing_libraries_and_models_are_named(tmp_path: Path, planted: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="has no Makers.sh3f: apt install sweethome3d-furniture"):
        Furniture(tmp_path, 1, str(tmp_path / "nowhere"), **OPTIONS).load()
    assert DEBIAN.endswith("usr/share/sweethome3d/furniture")
    monkeypatch.setattr(furniture, "MODELS", {"slab": {"Makers": "slab9"}})
    with pytest.raises(UserError, match="Makers.sh3f has no model slab9"):
        Furniture(tmp_path, 1, str(planted), **OPTIONS).load()
    (planted / "Makers.sh3f").write_bytes(b"no zip")
    with pytest.raises(UserError, match="Makers.sh3f is no furniture library of Sweet Home 3D"):
        Furniture(tmp_path, 1, str(planted), **OPTIONS).load()


def test_every_model_has_one_label_and_every_class_enough_models() -> None:
    models = [
        (library, name)
        for libraries in MODELS.values()
        for library, names in libraries.items()
        for name in names.split()
    ]
    assert len(models) == len(set(models)) == 283
    assert len(MODELS) == 20
    assert list(MODELS) == sorted(MODELS)
    assert all(sum(len(names.split()) for names in libraries.values()) >= 7 for libraries in MODELS.values())


@pytest.mark.slow
def test_debians_package_is_read_whole(tmp_path: Path) -> None:
    path = Path("/usr/share/sweethome3d/furniture")
    if not path.exists():
        pytest.skip("Debian's package sweethome3d-furniture is not installed")
    splits = Furniture(tmp_path, 1, str(path), **OPTIONS).splits
    assert sum(len(split) for split in splits.values()) == 283
    assert set(splits["test"][np.arange(len(splits["test"]))].label.tolist()) == set(range(20))
