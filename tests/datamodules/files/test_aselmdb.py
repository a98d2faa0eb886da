"""Raw S2EF files and `.aselmdb`: read as ASE reads and writes them, converted once, with stops, and damage is named."""

import io
import json
import lzma
import zlib
from pathlib import Path

import ase.io
import lmdb
import numpy as np
import pytest
from ase.io.jsonio import encode
from datamodules.files.oc20_samples import raw_folder, structure, write_lmdb

from erlangen.datamodules.files import aselmdb
from erlangen.datamodules.files.aselmdb import AseStructures, convert, decode, pack, to_row
from erlangen.datamodules.files.oc20_raw import frame_text, raw_pairs, read_pair, wrapped, write_pair
from erlangen.datamodules.files.structure import Structure, fault
from erlangen.errors import UserError


def test_ase_reads_the_same_from_a_raw_file(tmp_path: Path) -> None:
    """fairchem reads these files with ase.io.read."""
    folder = raw_folder(tmp_path / "raw", files=1, frames=3)
    text = lzma.decompress((folder / "0.extxyz.xz").read_bytes()).decode()
    ours = list(read_pair(folder / "0.extxyz.xz", folder / "0.txt.xz"))
    theirs = ase.io.read(io.StringIO(text), ":", format="extxyz")
    for one, atoms in zip(ours, theirs, strict=True):
        assert one.z.tolist() == atoms.numbers.tolist()
        assert one.tags.tolist() == atoms.get_tags().tolist()
        assert np.flatnonzero(one.fixed).tolist() == atoms.constraints[0].index.tolist()
        assert one.energy == atoms.get_potential_energy()
        np.testing.assert_array_equal(one.forces, atoms.get_forces(apply_constraint=False))
        np.testing.assert_allclose(one.cell, atoms.cell.array, atol=1e-12)
        np.testing.assert_allclose(one.pos, atoms.get_positions(wrap=True, eps=0), atol=1e-7)


def test_columns_may_come_in_another_order(tmp_path: Path) -> None:
    one = structure(0)
    text = frame_text(one).splitlines()
    rows = [line.split() for line in text[2:]]
    header = text[1].replace("species:S:1:pos:R:3:move_mask:L:1:tags:I:1", "tags:I:1:species:S:1:pos:R:3:move_mask:L:1")
    swapped = [" ".join([row[5], *row[:5], *row[6:]]) for row in rows]
    for name, lines in (("0.extxyz.xz", [text[0], header, *swapped]), ("0.txt.xz", ["random7,frame12,-3.5"])):
        with lzma.open(tmp_path / name, "wt") as file:
            file.write("\n".join(lines) + "\n")
    (read,) = read_pair(tmp_path / "0.extxyz.xz", tmp_path / "0.txt.xz")
    assert (read.sid, read.fid, read.reference) == (7, 12, -3.5)
    assert read.tags.tolist() == one.tags.tolist()
    np.testing.assert_array_equal(read.forces, one.forces)


def test_wrapping_leaves_what_is_inside_alone() -> None:
    cell = np.array([[4.0, 0, 0], [2.0, 3.0, 0], [0, 0, 20.0]])
    inside = np.array([[0.5, 0.2, 0.3], [4.1, 2.2, 19.12345678]])
    np.testing.assert_array_equal(wrapped(inside, cell), inside)
    moved = inside + [[1, -2, 0], [0, 3, 1]] @ cell
    np.testing.assert_allclose(wrapped(moved, cell), inside, atol=1e-8)


def test_conversion_keeps_every_number(tmp_path: Path) -> None:
    store = AseStructures(convert(raw_folder(tmp_path / "raw"), tmp_path / "out" / "train"))
    assert len(store) == 6
    summary = store.summary()
    for row in range(6):
        one, read = structure(row), store.read(row)
        for name in ("z", "tags", "fixed", "forces", "cell"):
            np.testing.assert_array_equal(getattr(read, name), getattr(one, name), err_msg=name)
        np.testing.assert_allclose(read.pos, wrapped(one.pos, one.cell), atol=1e-8)
        assert (read.energy, read.reference, read.sid, read.fid) == (one.energy, one.reference, one.sid, one.fid)
        assert (summary["energy"][row], summary["reference"][row], summary["natoms"][row]) == (
            one.energy,
            one.reference,
            len(one.z),
        )


def test_a_stopped_conversion_goes_on_where_it_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aselmdb, "PAIRS_PER_SHARD", 3)
    raw = raw_folder(tmp_path / "raw", files=5)
    read: list[str] = []

    def stopping(frames: Path, log: Path):
        read.append(frames.name)
        if len(read) == 5:
            yield structure(99)
            raise KeyboardInterrupt
        yield from read_pair(frames, log)

    monkeypatch.setattr(aselmdb, "read_pair", stopping)
    with pytest.raises(KeyboardInterrupt):
        convert(raw, tmp_path / "train")
    assert not (tmp_path / "train").exists()
    stopped = convert(raw, tmp_path / "train")
    assert read == ["0.extxyz.xz", "1.extxyz.xz", "2.extxyz.xz", "3.extxyz.xz", "4.extxyz.xz", "4.extxyz.xz"]
    straight = convert(raw, tmp_path / "straight")
    stores = [AseStructures(folder) for folder in (stopped, straight)]
    assert len(stores[0]) == len(stores[1]) == 15
    values = [[store.shards.value(row) for row in range(15)] for store in stores]
    assert values[0] == values[1]


def test_a_shard_that_is_missing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aselmdb, "PAIRS_PER_SHARD", 1)
    folder = convert(raw_folder(tmp_path / "raw", files=3), tmp_path / "train")
    (folder / "data.0002.aselmdb").unlink()
    with pytest.raises(UserError, match="has 2 of 3 .aselmdb files"):
        AseStructures(folder)
    (folder / "data.0000.aselmdb").unlink()
    with pytest.raises(UserError, match="lacks its file number 0"):
        AseStructures(folder)


def foreign(path: Path, rows: dict[int, dict], **special) -> Path:
    """A file as fairchem's writer leaves it."""
    values = {str(number): zlib.compress(encode(row).encode()) for number, row in rows.items()}
    return write_lmdb(path, {**values, **{name: pack(value) for name, value in special.items()}})


@pytest.mark.parametrize("deleted", [None, [], [2]])
def test_files_of_other_writers_with_and_without_deleted_ids(tmp_path: Path, deleted: list[int] | None) -> None:
    rows = {number: to_row(structure(number)) for number in (1, 2, 3) if number not in (deleted or [])}
    for row in rows.values():
        row["data"] = {"sid": f"random{row['data']['sid']}"}
    special = {"nextid": 4} | ({} if deleted is None else {"deleted_ids": deleted})
    store = AseStructures(foreign(tmp_path / "val.aselmdb", rows, **special))
    assert [store.read(row).sid for row in range(len(store))] == list(rows)
    assert store.read(0).reference is None
    assert store.summary() is None


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (b"noise", "is damaged"),
        (zlib.compress(b"{}"), "has no 'numbers'"),
        (zlib.compress(b"[1, 2"), "is damaged"),
        (zlib.compress(json.dumps({"numbers": {"__ndarray__": [[1], "object", [1]]}}).encode()), "an array of object"),
    ],
)
def test_a_damaged_row_is_named_with_its_key(tmp_path: Path, value: bytes, message: str) -> None:
    path = write_lmdb(tmp_path / "a.aselmdb", {"1": value, "nextid": pack(2)})
    with pytest.raises(UserError, match=message) as caught:
        AseStructures(path).read(0)
    assert "a.aselmdb, key '1'" in str(caught.value)


def damaged(folder: Path, change) -> Path:
    """Raw files whose second one has a changed second frame."""
    raw_folder(folder)
    write_pair(folder, "1", [structure(0), change(structure(1)), structure(2)])
    return folder


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda one: one._replace(forces=one.forces * np.nan), "NaN or infinite forces"),
        (lambda one: one._replace(energy=float("nan")), "NaN or infinite energy"),
        (lambda one: one._replace(pos=one.pos + np.inf), "NaN or infinite positions"),
        (lambda one: one._replace(cell=one.cell * [1, 1, 0]), "cell of volume 0"),
        (lambda one: one._replace(tags=one.tags + 3), "tags .3, 4, 5., should be 0, 1 or 2"),
    ],
)
def test_bad_numbers_stop_a_conversion_naming_file_and_frame(tmp_path: Path, change, message: str) -> None:
    raw = damaged(tmp_path / "raw", change)
    with pytest.raises(UserError, match=message) as caught:
        convert(raw, tmp_path / "train")
    assert "1.extxyz.xz, frame 1" in str(caught.value)


def test_raw_files_that_are_cut_off_or_missing_are_named(tmp_path: Path) -> None:
    raw = raw_folder(tmp_path / "raw", files=3)
    content = (raw / "1.extxyz.xz").read_bytes()
    (raw / "1.extxyz.xz").write_bytes(content[: len(content) // 2])
    with pytest.raises(UserError, match=r"1.extxyz.xz, frame \d cannot be read"):
        convert(raw, tmp_path / "train")
    (raw / "1.extxyz.xz").unlink()
    with pytest.raises(UserError, match="lacks 1.extxyz.xz"):
        raw_pairs(raw)
    (raw / "2.txt.xz").unlink()
    with pytest.raises(UserError, match="lacks 2.txt.xz"):
        raw_pairs(raw)
    with pytest.raises(UserError, match="no folder of OC20"):
        raw_pairs(tmp_path)


@pytest.mark.parametrize("lines", [2, 4])
def test_frames_and_their_log_must_be_as_many(tmp_path: Path, lines: int) -> None:
    raw = raw_folder(tmp_path / "raw", files=1)
    with lzma.open(raw / "0.txt.xz", "wt") as file:
        file.write("".join(f"random{number},frame0,-1.0\n" for number in range(lines)))
    with pytest.raises(UserError, match=f"0.extxyz.xz, frame {min(lines, 3)}"):
        list(read_pair(raw / "0.extxyz.xz", raw / "0.txt.xz"))


def test_an_unknown_atomic_number_is_a_fault() -> None:
    one = structure(0)
    assert not fault(one, known=90)
    assert "unknown atomic number 78 (known are 1 to 30)" in fault(one, known=30)
    assert "unknown atomic number 0" in fault(one._replace(z=0 * one.z), known=90)
    nothing: Structure = one._replace(z=one.z[:0], pos=one.pos[:0], tags=one.tags[:0], fixed=one.fixed[:0], forces=None)
    assert fault(nothing, known=90) == "no atoms"


def test_lmdb_metadata_is_what_fairchem_expects(tmp_path: Path) -> None:
    folder = convert(raw_folder(tmp_path / "raw", files=1), tmp_path / "train")
    environment = lmdb.open(str(folder / "data.0000.aselmdb"), subdir=False, readonly=True, lock=False)
    with environment.begin() as transaction:
        assert decode(transaction.get(b"nextid")) == 4
        assert json.loads(zlib.decompress(transaction.get(b"1")))["positions"]["__ndarray__"][:2] == [[6, 3], "float64"]
    environment.close()
