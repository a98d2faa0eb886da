"""What is wrong with OC20's files is said in one line that names file and key, whatever form and process it is read in."""

import os
import pickle
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from datamodules.files.oc20_samples import fields, pickled, structure, write_lmdb
from torch_geometric.data import Data

from erlangen.datamodules.files import oc20_official
from erlangen.datamodules.files.aselmdb import AseStructures, pack, to_row
from erlangen.datamodules.files.oc20_lmdb import PickledStructures
from erlangen.datamodules.files.oc20_official import S2EF, VALIDATION
from erlangen.datamodules.files.structure import Structure
from erlangen.datamodules.oc20 import OC20
from erlangen.errors import UserError

PAGE = 4096


def with_nan_force(one: Structure) -> Structure:
    forces = one.forces.copy()
    forces[2, 1] = np.nan
    return one._replace(forces=forces)


FAULTS = {
    "NaN or infinite forces": with_nan_force,
    "NaN or infinite positions": lambda one: one._replace(pos=one.pos * np.inf),
    "unknown atomic number 105 .known are 1 to 89.": lambda one: one._replace(z=np.array([1, 6, 8, 29, 78, 105])),
    "a periodic cell of volume 0 ": lambda one: one._replace(cell=one.cell * [[1], [1], [0]]),
    "forces of shape .5, 3., should be .6, 3.": lambda one: one._replace(forces=one.forces[:5]),
}


def official(root: Path, monkeypatch: pytest.MonkeyPatch, training: Callable[[Path], Path], **options) -> OC20:
    """The benchmark on official files: three structures of training, as `training` writes them, three of every other split."""
    monkeypatch.setattr(oc20_official, "S2EF", {name: archive._replace(count=3) for name, archive in S2EF.items()})
    training(root / "oc20" / "s2ef" / "200k" / "train")
    for number, split in enumerate(VALIDATION):
        made = [referenced(structure(10 * number + row)) for row in range(3)]
        write(root / "oc20" / "s2ef" / "all" / split, made, "lmdb")
    defaults = {"source": "official", "task": "s2ef", "size": "200K", "reference": True, "max_atoms_per_batch": None}
    return OC20(**{"root": root, "seed": 1, "batch_size": 3, "eval_batch_size": 3, **defaults, **options})


def referenced(one: Structure) -> Structure:
    """With an adsorption energy, which pickles hold."""
    return one._replace(energy=-0.7, reference=0.0)


def write(folder: Path, structures: list[Structure], form: str) -> Path:
    if form == "lmdb":
        values = {str(key): pickled(one, "new", 2) for key, one in enumerate(structures)}
        return write_lmdb(folder / "data.0000.lmdb", {**values, "length": pickle.dumps(len(values))})
    values = {str(key): pack(to_row(one)) for key, one in enumerate(structures, start=1)}
    return write_lmdb(folder / "data.0000.aselmdb", {**values, "nextid": pack(len(values) + 1)})


@pytest.mark.parametrize("form", ["lmdb", "aselmdb"])
@pytest.mark.parametrize("message", FAULTS)
def test_a_bad_structure_is_named_by_file_and_key(tmp_path: Path, monkeypatch, form: str, message: str) -> None:
    made = [referenced(structure(row)) for row in range(3)]
    made[1] = FAULTS[message](made[1])
    data = official(tmp_path, monkeypatch, lambda folder: write(folder, made, form))
    key = {"lmdb": "1", "aselmdb": "2"}[form]
    with pytest.raises(UserError, match=f"data.0000.{form}, key '{key}': {message}") as caught:
        _ = data.splits["train"][[0, 1, 2]]
    assert "\n" not in str(caught.value)
    assert data.splits["train"][[0, 2]].num_graphs == 2


def test_a_process_that_makes_batches_says_the_same_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = [referenced(structure(row)) for row in range(3)]
    made[2] = with_nan_force(made[2])
    lines = []
    for workers in (0, 1):
        data = official(
            tmp_path / str(workers), monkeypatch, lambda folder: write(folder, made, "lmdb"), num_workers=workers
        )
        with pytest.raises(UserError) as caught:
            list(data.train_dataloader())
        lines.append(str(caught.value).replace(str(tmp_path / str(workers)), ""))
    assert lines[0] == lines[1] == "/oc20/s2ef/200k/train/data.0000.lmdb, key '2': NaN or infinite forces"


class Payload:
    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self) -> tuple:
        return os.system, (f"touch {self.path}",)


def test_a_planted_payload_stops_the_benchmark_and_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def planted(folder: Path) -> Path:
        good = fields(referenced(structure(0)), "new")
        values = {"0": pickle.dumps(Data(**good)), "1": pickle.dumps(Data(**good, extra=Payload(tmp_path / "trace")))}
        return write_lmdb(folder / "data.0000.lmdb", {**values, "2": values["0"], "length": pickle.dumps(3)})

    data = official(tmp_path, monkeypatch, planted)
    with pytest.raises(UserError, match=r"data.0000.lmdb, key '1' asks for (posix|nt).system.*nothing was run"):
        _ = data.splits
    assert not (tmp_path / "trace").exists()


@pytest.mark.parametrize("form", ["lmdb", "aselmdb"])
def test_a_shard_that_is_missing_or_cut_off_is_named(tmp_path: Path, monkeypatch, form: str) -> None:
    def two(folder: Path) -> Path:
        path = write(folder, [referenced(structure(row, atoms=200)) for row in range(3)], form)
        return path.rename(folder / f"data.0001.{form}")

    data = official(tmp_path, monkeypatch, two)
    with pytest.raises(UserError, match="200k/train lacks its file number 0"):
        _ = data.splits
    shard = tmp_path / "oc20" / "s2ef" / "200k" / "train" / f"data.0001.{form}"
    content = shard.read_bytes()
    (shard.parent / f"data.0000.{form}").write_bytes(content[: len(content) // 2])
    with pytest.raises(UserError, match=f"data.0000.{form} is cut off at {len(content) // 2} of {len(content)} bytes"):
        _ = official(tmp_path, monkeypatch, lambda folder: folder).splits


@pytest.mark.parametrize("form", ["lmdb", "aselmdb"])
def test_no_damaged_page_kills_the_process_or_goes_by_unnamed(tmp_path: Path, form: str) -> None:
    """Every page of a file but the two that describe it, made noise one at a time."""
    reader = {"lmdb": PickledStructures, "aselmdb": AseStructures}[form]
    intact = write(tmp_path / "intact", [referenced(structure(row, atoms=40)) for row in range(12)], form).read_bytes()
    folder = tmp_path / "damaged"
    folder.mkdir()
    for page in range(2, len(intact) // PAGE):
        path = folder / f"page{page}.{form}"
        path.write_bytes(intact[: page * PAGE] + random.Random(page).randbytes(PAGE) + intact[(page + 1) * PAGE :])
        child = os.fork()
        if child == 0:
            os._exit(read_through(reader, path))
        status = os.waitpid(child, 0)[1]
        assert os.WIFEXITED(status), f"page {page}: signal {os.WTERMSIG(status)}"
        assert os.WEXITSTATUS(status) == 1, f"page {page}: {('unnoticed', '', 'another error')[os.WEXITSTATUS(status)]}"


def read_through(reader: Callable, path: Path) -> int:
    """1 where a UserError names the file, 0 where all structures are read, 2 for anything else."""
    try:
        store = reader(path)
        for row in range(len(store)):
            store.read(row)
    except UserError as error:
        return 1 if path.name in str(error) else 2
    except BaseException:
        return 2
    return 0


def test_all_and_molecular_dynamics_are_one_training_split(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def both(folder: Path) -> Path:
        base = tmp_path / "oc20" / "s2ef"
        write(base / "md" / "train", [referenced(structure(50 + row)) for row in range(3)], "lmdb")
        return write(base / "all" / "train", [referenced(structure(row)) for row in range(3)], "lmdb")

    data = official(tmp_path, monkeypatch, both, size="all_md")
    assert data.spec.split == "all_md"
    assert data.training_samples == 6
    train = data.splits["train"]
    assert (train[np.arange(len(train))].id >> 20).tolist() == [0, 1, 2, 50, 51, 52]
    assert len(data.splits["test"]) == 12
    assert oc20_official.training_count("is2re", "all") == 460_328
    with pytest.raises(UserError, match="size=all_md is two sets"):
        official(tmp_path / "other", monkeypatch, lambda folder: folder, size="all_md", train_size=3)
