"""OC20's pickled LMDB files: every version is read, nothing in them is run, and damage is named with file and key."""

import os
import pickle
from pathlib import Path

import numpy as np
import pytest
from datamodules.files.oc20_samples import pickled, structure, write_lmdb, write_pickles
from torch_geometric.data import Data

from erlangen.datamodules.files import safe_pickle
from erlangen.datamodules.files.lmdb_shards import HANDLES
from erlangen.datamodules.files.oc20_lmdb import PickledStructures
from erlangen.datamodules.files.torch_pickle import PYG, PickledTensor, Record, fields
from erlangen.errors import UserError


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("names", ["old", "new", "is2re"])
def test_every_version_is_read(tmp_path: Path, names: str, version: int) -> None:
    written = [structure(sid) for sid in range(3)]
    store = PickledStructures(write_pickles(tmp_path / "data.lmdb", written, names, version))
    assert len(store) == 3
    for row, one in enumerate(written):
        read = store.read(row)
        assert read.z.tolist() == one.z.tolist()
        assert read.tags.tolist() == one.tags.tolist()
        assert read.fixed.tolist() == one.fixed.tolist()
        np.testing.assert_allclose(read.pos, one.pos, rtol=1e-6)
        np.testing.assert_allclose(read.cell, one.cell, rtol=1e-6)
        assert read.energy == pytest.approx(one.energy - one.reference)
        assert (read.sid, read.fid) == (one.sid, one.fid)
        if names == "is2re":
            assert read.forces is None
            np.testing.assert_allclose(read.relaxed, one.pos + 0.1, rtol=1e-6)
        else:
            np.testing.assert_allclose(read.forces, one.forces, rtol=1e-6)


def test_a_folder_of_shards_is_one_list_and_length_may_be_missing(tmp_path: Path) -> None:
    write_pickles(tmp_path / "data.0000.lmdb", [structure(0), structure(1)])
    write_lmdb(
        tmp_path / "data.0001.lmdb", {"0": pickled(structure(2), "old", 1), "1": pickled(structure(3), "old", 1)}
    )
    store = PickledStructures(tmp_path)
    assert [store.read(row).sid for row in range(len(store))] == [0, 1, 2, 3]


def test_a_missing_shard_is_named(tmp_path: Path) -> None:
    for number in (0, 1, 3):
        write_pickles(tmp_path / f"data.{number:04d}.lmdb", [structure(number)])
    with pytest.raises(UserError, match="lacks its file number 2"):
        PickledStructures(tmp_path)


class Payload:
    """A pickle that runs a command where it may."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self) -> tuple:
        return os.system, (f"touch {self.path}",)


class Evaluated:
    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self) -> tuple:
        return eval, (f"open({str(self.path)!r}, 'w')",)


@pytest.mark.parametrize("planted", [Payload, Evaluated])
@pytest.mark.parametrize("where", ["alone", "field", "length"])
def test_a_planted_payload_is_not_run(tmp_path: Path, planted: type, where: str) -> None:
    trace = tmp_path / "trace"
    payload = planted(trace)
    good = pickled(structure(0), "new", 2)
    content = pickle.dumps(payload) if where == "alone" else pickle.dumps(Data(pos=payload))
    values = {"0": good, "length": pickle.dumps(payload)} if where == "length" else {"0": good, "1": content}
    path = write_lmdb(tmp_path / "data.lmdb", values)
    with pytest.raises(UserError, match=r"data.lmdb, key '(1|length)' asks for (posix|builtins|nt)\..*nothing was run"):
        PickledStructures(path).read(1)
    assert not trace.exists()


def test_no_class_of_torch_or_pyg_is_made_by_a_pickle() -> None:
    record = safe_pickle.load(pickled(structure(0), "new", 2), PYG, "a test")
    assert type(record) is Record
    assert type(record.state["_store"]) is Record
    assert {type(value) for value in fields(record).values()} == {int, np.float64, PickledTensor}
    assert not [name for name, stand_in in PYG.items() if getattr(stand_in, "__module__", "").startswith("torch")]


def test_a_pickle_cannot_change_what_stands_in_for_a_class(tmp_path: Path) -> None:
    """BUILD on the class itself, with the slots' form of a state, would set attributes of it."""
    content = b"\x80\x02ctorch_geometric.data.data\nData\nN}X\x05\x00\x00\x00stateK\x01s\x86b."
    path = write_lmdb(tmp_path / "data.lmdb", {"0": content})
    with pytest.raises(UserError, match="key '0'"):
        PickledStructures(path).read(0)
    good = write_pickles(tmp_path / "good.lmdb", [structure(0)])
    assert PickledStructures(good).read(0).sid == 0


@pytest.mark.parametrize(
    ("damage", "message"), [("cut", "cut off at"), ("noise", "no intact LMDB"), ("empty", "no intact")]
)
def test_a_damaged_file_is_named_before_it_is_read(tmp_path: Path, damage: str, message: str) -> None:
    path = write_pickles(tmp_path / "data.lmdb", [structure(sid, atoms=200) for sid in range(20)])
    content = path.read_bytes()
    broken = tmp_path / "broken.lmdb"
    kept = {"cut": content[: len(content) // 2], "noise": bytes(len(content)), "empty": b""}
    broken.write_bytes(kept[damage])
    with pytest.raises(UserError, match=message) as caught:
        PickledStructures(broken)
    assert "broken.lmdb" in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"noise", "no intact pickle"),
        (pickle.dumps({"pos": 1}), "no object of PyTorch Geometric"),
        (pickle.dumps(Data(pos=None)), "has no 'atomic_numbers'"),
        (pickled(structure(0), "new", 2)[:-40], "no intact pickle"),
    ],
)
def test_a_damaged_value_is_named_with_its_key(tmp_path: Path, content: bytes, message: str) -> None:
    path = write_lmdb(tmp_path / "data.lmdb", {"0": pickled(structure(0), "new", 2), "1": content})
    store = PickledStructures(path)
    with pytest.raises(UserError, match=message) as caught:
        store.read(1)
    assert "data.lmdb, key '1'" in str(caught.value)


def test_a_missing_key_is_named(tmp_path: Path) -> None:
    path = write_lmdb(tmp_path / "data.lmdb", {"0": pickled(structure(0), "new", 2), "length": pickle.dumps(5)})
    with pytest.raises(UserError, match="data.lmdb has no key '3'"):
        PickledStructures(path).read(3)


def test_a_tensor_cannot_reach_beyond_its_storage(tmp_path: Path) -> None:
    content = pickled(structure(0, atoms=6), "new", 2)
    shape = b"K\x06K\x03\x86"  # (6, 3) of the positions
    assert content.count(shape) >= 1
    path = write_lmdb(tmp_path / "data.lmdb", {"0": content.replace(shape, b"K\xffK\x03\x86")})
    with pytest.raises(UserError, match="key '0' is damaged"):
        PickledStructures(path).read(0)


def test_more_files_than_may_be_open_are_read_in_any_order_and_across_a_fork(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("erlangen.datamodules.files.lmdb_shards.OPEN_AT_MOST", 2)
    HANDLES.close()
    for number in range(5):
        write_pickles(tmp_path / f"data.{number:04d}.lmdb", [structure(number)])
    store = PickledStructures(tmp_path)
    order = [4, 0, 3, 0, 2, 1, 4]
    assert [store.read(row).sid for row in order] == order
    assert len(HANDLES.environments) <= 2
    child = os.fork()
    if child == 0:
        os._exit(0 if [store.read(row).sid for row in order] == order else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert store.read(1).sid == 1
