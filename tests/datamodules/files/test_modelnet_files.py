"""Official files of each form are read as they are meant, and bad ones refused by name and reason."""

import functools
import http.server
import io
import shutil
import ssl
import subprocess
import threading
import zipfile
from pathlib import Path

import numpy as np
import pytest

from erlangen.datamodules.clouds import POINTS
from erlangen.datamodules.files import modelnet as modelnet_files
from erlangen.datamodules.files.modelnet import TEN, Archive, download, find, fingerprint, read_clouds, verify
from erlangen.datamodules.files.off import Mesh, normals_and_areas, read_off, sample_surface, write_off
from erlangen.errors import UserError

TETRAHEDRON = "4 4 6\n0 0 0\n1 0 0\n0 1 0\n0 0 1\n3 0 2 1\n3 0 1 3\n3 0 3 2\n3 1 2 3\n"


def off(text: str) -> Mesh:
    return read_off(text.encode(), "shape.off")


def test_reads_what_it_writes() -> None:
    mesh = off("OFF\n" + TETRAHEDRON)
    assert mesh.vertices.tolist() == [[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]]
    assert mesh.triangles.tolist() == [[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]]
    again = read_off(write_off(mesh), "again.off")
    assert np.array_equal(again.vertices, mesh.vertices)
    assert np.array_equal(again.triangles, mesh.triangles)


@pytest.mark.parametrize(
    "text",
    [
        "OFF" + TETRAHEDRON,  # the broken header of ModelNet
        "OFF " + TETRAHEDRON,
        "# made by hand\nOFF\n" + TETRAHEDRON.replace("0 0 1\n", "0 0 1 # the top\n\n"),
        "OFF\r\n" + TETRAHEDRON.replace("\n", "\r\n"),
        "OFF\n" + TETRAHEDRON.replace("3 0 2 1", "3 0 2 1 255 0 0"),  # a coloured face
    ],
)
def test_reads_variants_of_the_format(text: str) -> None:
    expected = off("OFF\n" + TETRAHEDRON)
    mesh = off(text)
    assert np.array_equal(mesh.vertices, expected.vertices)
    assert np.array_equal(mesh.triangles, expected.triangles)


def test_polygons_become_fans_of_the_same_area() -> None:
    square = off("OFF\n4 1 4\n0 0 0\n2 0 0\n2 3 0\n0 3 0\n4 0 1 2 3\n")
    assert square.triangles.tolist() == [[0, 1, 2], [0, 2, 3]]
    assert normals_and_areas(square)[1].sum() == pytest.approx(6)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "no OFF file"),
        ("PLY\n1 2 3", "no OFF file"),
        ("OFF\n", "empty"),
        ("OFF\n0 0 0\n", "0 vertices and 0 faces"),
        ("OFF\n4 4 6\n0 0 0\n1 0", "cut short in its vertices"),
        ("OFF\n" + TETRAHEDRON.replace("1 0 0\n", "1 x 0\n"), "damaged: it has words"),
        ("OFF\n" + TETRAHEDRON.removesuffix("3 1 2 3\n"), "cut short in its faces"),
        ("OFF\n" + TETRAHEDRON.replace("1 0 0\n", "nan 0 0\n"), "vertex 2 is not finite"),
        ("OFF\n" + TETRAHEDRON.replace("3 1 2 3", "3 1 2 4"), "face 4 refers to vertices"),
        ("OFF\n" + TETRAHEDRON.replace("3 1 2 3", "2 1 2"), "face 4 has fewer than 3 corners"),
        ("OFF\n3 1 3\n0 0 0\n1 1 1\n2 2 2\n3 0 1 2\n", "area zero"),
    ],
)
def test_a_bad_file_is_named_with_the_reason(text: str, reason: str) -> None:
    with pytest.raises(UserError, match="shape.off.*" + reason) as error:
        off(text)
    assert "\n" not in str(error.value)


def test_points_are_uniform_on_the_surface() -> None:
    """Counts by area, centroids and second moments of a triangle, against their closed forms."""
    corners = [[0, 0, 0], [1, 0, 0], [0, 1, 0], [5, 0, 0], [8, 0, 0], [5, 2, 0], [9, 9, 9], [9, 9, 9], [9, 9, 9]]
    mesh = Mesh(np.array(corners, dtype=float), np.arange(9).reshape(3, 3))  # areas 1/2, 3 and 0
    points, normals = sample_surface(mesh, 40_000, np.random.default_rng(0))
    small = points[:, 0] < 2
    assert small.mean() == pytest.approx(0.5 / 3.5, abs=0.006)
    assert (points[:, 0] <= 8).all(), "a triangle without area was chosen"
    assert points[small].mean(0) == pytest.approx([1 / 3, 1 / 3, 0], abs=0.01)
    assert (points[small, :2] ** 2).mean(0) == pytest.approx([1 / 6, 1 / 6], abs=0.01)
    assert np.array_equal(normals, np.tile([0.0, 0, 1], (40_000, 1)))


def plant(root: Path, per_class: int = 1) -> Path:
    """ModelNet10 in its official folders, each shape a tetrahedron of its own."""
    for label, name in enumerate(TEN):
        for split in ("train", "test"):
            (root / name / split).mkdir(parents=True)
            for number in range(per_class):
                text = "OFF\n" + TETRAHEDRON.replace("0 0 1\n", f"0 0 {1 + label + number / 10}\n")
                (root / name / split / f"{name}_{number:04d}.off").write_text(text)
    return root


def zipped(folder: Path, path: Path, extra: dict[str, str] | None = None) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(folder.rglob("*"), reverse=True):  # an order of its own
            if file.is_file():
                archive.write(file, f"ModelNet10/{file.relative_to(folder)}")
        for name, text in (extra or {}).items():
            archive.writestr(name, text)
    return path


def test_folder_and_zip_give_the_same_clouds_and_litter_is_ignored(tmp_path: Path) -> None:
    folder = plant(tmp_path / "ModelNet10", per_class=2)
    clean = read_clouds(folder, "mesh", 10)
    assert clean["pos"].shape == (40, POINTS, 3)
    assert clean["test"].sum() == 20
    assert sorted(clean["name"].tolist()) == clean["name"].tolist()
    assert clean["label"].tolist() == [TEN.index(name.split("/")[0]) for name in clean["name"].tolist()]
    (folder / ".DS_Store").write_text("x")
    (folder / "bed" / "train" / "._bed_0000.off").write_text("x")
    (folder / "__MACOSX" / "bed" / "train").mkdir(parents=True)
    (folder / "__MACOSX" / "bed" / "train" / "bed_0000.off").write_text("x")
    (folder / "README.txt").write_text("x")
    littered = read_clouds(folder, "mesh", 10)
    archive = zipped(folder, tmp_path / "a.zip", {"__MACOSX/ModelNet10/bed/train/bed_9.off": "x", "ModelNet10/": ""})
    from_zip = read_clouds(archive, "mesh", 10)
    for name in clean:
        assert np.array_equal(littered[name], clean[name])
        assert np.array_equal(from_zip[name], clean[name])


def test_each_file_has_its_own_seed(tmp_path: Path) -> None:
    """A cloud does not depend on which other files there are, and equal shapes are sampled differently."""
    folder = plant(tmp_path / "ModelNet10", per_class=2)
    before = read_clouds(folder, "mesh", 10)
    for name in TEN:
        (folder / name / "train" / f"{name}_0000.off").unlink()
    after = read_clouds(folder, "mesh", 10)
    kept = np.isin(before["name"], after["name"])
    assert np.array_equal(before["pos"][kept], after["pos"])
    pair = [list(after["name"]).index(f"bed/{split}/bed_0001") for split in ("train", "test")]
    assert not np.array_equal(*after["pos"][pair])


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda root: (root / "bed").rename(root / "beds"), "'beds' is no class of ModelNet10; did you mean bed"),
        (
            lambda root: (root / "airplane" / "train").mkdir(parents=True) or plant_one(root / "airplane/train/a.off"),
            "airplane",
        ),
        (lambda root: (root / "sofa/train/sofa_0000.off").unlink(), "no training shapes of sofa"),
        (lambda root: (root / "desk/test/desk_0000.off").unlink(), "no test shapes of desk"),
        (lambda root: plant_one(root / "stray.off"), "stray.off should lie in a folder CLASS/train or CLASS/test"),
        (lambda root: (root / "bed/train/bed_0000.off").write_text(""), "bed/train/bed_0000.off is no OFF file"),
    ],
)
def test_wrong_folders_are_named(tmp_path: Path, change, reason: str) -> None:
    folder = plant(tmp_path / "ModelNet10")
    change(folder)
    with pytest.raises(UserError, match=reason):
        read_clouds(folder, "mesh", 10)


def plant_one(path: Path) -> None:
    path.write_text("OFF\n" + TETRAHEDRON)


def plant_txt(root: Path) -> Path:
    """modelnet40_normal_resampled with one training and one test cloud a class: points on a segment along y, label up."""
    for split in ("train", "test"):
        names = [f"{name}_{1 + (split == 'test'):04d}" for name in TEN]
        (root / f"modelnet10_{split}.txt").parent.mkdir(exist_ok=True)
        (root / f"modelnet10_{split}.txt").write_text("\n".join(names) + "\n")
        for label, name in enumerate(names):
            (root / name.rsplit("_", 1)[0]).mkdir(exist_ok=True)
            rows = [f"{0.1:.6f},{label + i / POINTS:.6f},{0.3:.6f},0,1,0" for i in range(POINTS + 10)]
            (root / name.rsplit("_", 1)[0] / f"{name}.txt").write_text("\n".join(rows) + "\n")
    return root


def test_txt_files_are_read_and_stood_upright(tmp_path: Path) -> None:
    arrays = read_clouds(plant_txt(tmp_path / "modelnet40_normal_resampled"), "txt", 10)
    assert arrays["pos"].shape == arrays["normal"].shape == (20, POINTS, 3)
    assert arrays["label"].tolist() == 2 * list(range(10))
    assert arrays["test"].tolist() == 10 * [False] + 10 * [True]
    # y was up: (x, y, z) is now (x, -z, y), a rotation
    assert arrays["pos"][3, 7] == pytest.approx([0.1, -0.3, 3 + 7 / POINTS], abs=1e-5)
    assert arrays["normal"][3, 7].tolist() == [0, 0, 1]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda root: (root / "modelnet10_test.txt").unlink(), "no modelnet10_test.txt"),
        (lambda root: (root / "bed/bed_0001.txt").unlink(), "no bed_0001.txt, which its lists name"),
        (
            lambda root: (root / "bed/bed_0001.txt").write_text("1,2,3,0,0,1\n"),
            "bed_0001.txt should begin with 2048 lines",
        ),
        (lambda root: (root / "bed/bed_0001.txt").write_text("1,2,3,0,0,1\n" * POINTS), "all points are the same"),
        (lambda root: (root / "bed/bed_0001.txt").write_text("nan,2,3,0,0,1\n" * POINTS), "not finite"),
        (
            lambda root: (root / "bed/bed_0001.txt").write_text("1,2,3,0,0,1\n1,2,4,nan,0,1\n" * (POINTS // 2)),
            "bed_0001 has a normal that is not finite",
        ),
        (lambda root: (root / "modelnet10_train.txt").write_text("sled_0001\n"), "'sled' is no class"),
    ],
)
def test_bad_txt_files_are_named(tmp_path: Path, change, reason: str) -> None:
    root = plant_txt(tmp_path / "modelnet40_normal_resampled")
    change(root)
    with pytest.raises(UserError, match=reason):
        read_clouds(root, "txt", 10)


def test_duplicate_points_are_read_as_they_are(tmp_path: Path) -> None:
    root = plant_txt(tmp_path / "modelnet40_normal_resampled")
    (root / "bed/bed_0001.txt").write_text("1,2,3,0,0,1\n" * (POINTS - 1) + "1,2,4,0,0,1\n")
    assert np.isfinite(read_clouds(root, "txt", 10)["pos"]).all()


def plant_h5(root: Path, labels: int = 40) -> Path:
    h5py = pytest.importorskip("h5py")
    root.mkdir()
    rng = np.random.default_rng(0)
    for split, parts in (("train", 11), ("test", 1)):
        for part in range(parts):
            with h5py.File(root / f"ply_data_{split}{part}.h5", "w") as file:
                data = rng.normal(size=(labels, POINTS, 3)).astype(np.float32)
                data[:, 0] = (part, 1, 2)
                file["data"], file["normal"] = data, data
                file["label"] = np.arange(labels, dtype=np.uint8)[:, None]
    return root


def test_h5_files_are_read_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    arrays = read_clouds(plant_h5(tmp_path / "modelnet40_ply_hdf5_2048"), "h5", 40)
    assert arrays["pos"].shape == arrays["normal"].shape == (12 * 40, POINTS, 3)
    assert arrays["test"].sum() == 40
    assert arrays["pos"][::40, 0].tolist() == [[part, -2, 1] for part in [*range(11), 0]]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda path: path.write_bytes(b"no HDF5"), "is damaged, or has no data and label"),
        (lambda path: path.write_bytes(path.read_bytes()[:5000]), "is damaged, or has no data and label"),
        (lambda path: rewrite(path, label=None), "is damaged, or has no data and label .*label"),
        (lambda path: rewrite(path, data=np.zeros((1, 100, 3))), r"should have data .* and has data \(1, 100, 3\)"),
        (lambda path: rewrite(path, data=np.zeros((0, POINTS, 3)), label=np.zeros(0)), "and labels none"),
        (lambda path: rewrite(path, label=np.array([0.5])), "and labels 0.5 to 0.5"),
        (lambda path: rewrite(path, data=np.full((1, POINTS, 3), np.nan)), "has a point that is not finite"),
    ],
)
def test_a_bad_h5_file_is_named_with_the_reason(tmp_path: Path, change, reason: str) -> None:
    root = plant_h5(tmp_path / "modelnet40_ply_hdf5_2048", labels=1)
    change(root / "ply_data_train3.h5")
    with pytest.raises(UserError, match="ply_data_train3.*" + reason) as error:
        read_clouds(root, "h5", 40)
    assert "\n" not in str(error.value)


def rewrite(path: Path, **arrays: np.ndarray | None) -> None:
    """The file with other data or label, or without."""
    whole = {"data": np.random.default_rng(0).normal(size=(1, POINTS, 3)), "label": np.zeros(1)}
    with pytest.importorskip("h5py").File(path, "w") as file:
        for name, array in (whole | arrays).items():
            if array is not None:
                file[name] = array


def test_labels_and_numbers_of_h5_files_are_checked(tmp_path: Path) -> None:
    root = plant_h5(tmp_path / "a", labels=41)
    with pytest.raises(UserError, match=r"ply_data_train0.h5 should have .* labels below 40, and has .* 0 to 40"):
        read_clouds(root, "h5", 40)
    (root / "ply_data_test0.h5").unlink()
    with pytest.raises(UserError, match="ply_data_test0.h5"):
        read_clouds(root, "h5", 40)


def test_h5_without_its_package_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "h5py", None)
    with pytest.raises(UserError, match=r"pip install 'erlangen\[h5\]'"):
        read_clouds(tmp_path, "h5", 40)


def test_an_archive_is_pinned_on_first_use(tmp_path: Path) -> None:
    archive = Archive("https://example.org/ModelNet10.zip")
    path = zipped(plant(tmp_path / "x"), tmp_path / "ModelNet10.zip")
    verify(path, archive)
    assert (tmp_path / "ModelNet10.zip.sha256").read_text().endswith("  ModelNet10.zip\n")
    verify(path, archive)
    path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(UserError, match="had another when it was first used"):
        verify(path, archive)
    with pytest.raises(UserError, match="should have MD5 0123"):
        verify(path, Archive(archive.url, "0123"))


def test_downloads_and_finds(tmp_path: Path) -> None:
    (tmp_path / "served").mkdir()
    zipped(plant(tmp_path / "x"), tmp_path / "served" / "ModelNet10.zip")
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=tmp_path / "served")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        archive = Archive(f"http://127.0.0.1:{server.server_port}/ModelNet10.zip")
        root = tmp_path / "data"
        assert find(root, archive) is None
        path = download(root, archive)
        server.shutdown()
    assert find(root, archive) == path == root / "ModelNet10.zip"
    assert len(read_clouds(path, "mesh", 10)["label"]) == 20


def test_without_a_network_it_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"could not download .* put the file at .*ModelNet10.zip"):
        download(tmp_path, Archive("http://127.0.0.1:9/ModelNet10.zip"))


@pytest.mark.skipif(shutil.which("openssl") is None, reason="makes a certificate with openssl")
def test_a_certificate_that_nobody_vouches_for_is_refused(tmp_path: Path) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    making = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", certificate, *names]
    subprocess.run(making, check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    (tmp_path / "served").mkdir()
    zipped(plant(tmp_path / "x"), tmp_path / "served" / "ModelNet10.zip")
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=tmp_path / "served")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        archive = Archive(f"https://localhost:{server.server_port}/ModelNet10.zip")
        with pytest.raises(UserError, match="could not download .*certificate"):
            download(tmp_path / "data", archive)
        server.shutdown()
    assert find(tmp_path / "data", archive) is None


def test_a_damaged_zip_is_named(tmp_path: Path) -> None:
    (tmp_path / "ModelNet10.zip").write_bytes(b"PK no more")
    with pytest.raises(UserError, match=r"ModelNet10.zip is damaged"):
        read_clouds(tmp_path / "ModelNet10.zip", "mesh", 10)
    whole = io.BytesIO()
    with zipfile.ZipFile(whole, "w") as archive:
        for name in TEN:
            for split in ("train", "test"):
                archive.writestr(f"ModelNet10/{name}/{split}/a.off", "OFF\n" + TETRAHEDRON)
    bytes_ = bytearray(whole.getvalue())
    bytes_[70] ^= 255  # in the first file's contents: its checksum no longer fits
    (tmp_path / "ModelNet10.zip").write_bytes(bytes_)
    with pytest.raises(UserError, match=r"ModelNet10.zip is damaged"):
        read_clouds(tmp_path / "ModelNet10.zip", "mesh", 10)


def test_the_fingerprint_follows_the_files(tmp_path: Path) -> None:
    folder = plant(tmp_path / "ModelNet10")
    before, archived = fingerprint(folder), fingerprint(zipped(folder, tmp_path / "a.zip"))
    assert fingerprint(folder) == before
    plant_one(folder / "bed/train/bed_0009.off")
    assert fingerprint(folder) != before
    assert fingerprint(zipped(folder, tmp_path / "a.zip")) != archived


def test_the_official_archives_are_the_published_ones() -> None:
    urls = {archive.url for archive in modelnet_files.ARCHIVES.values()}
    assert all(url.startswith("https://") for url in urls)
    assert len(modelnet_files.FORTY) == 40
    assert set(TEN) < set(modelnet_files.FORTY)
    assert sorted(modelnet_files.FORTY) == modelnet_files.FORTY
