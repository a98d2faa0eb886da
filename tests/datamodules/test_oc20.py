"""OC20: the benchmark on planted official files and on a miniature of the miniature; energies referenced exactly once."""

import logging
import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from datamodules.files.oc20_samples import raw_folder, structure, write_lmdb, write_pickles

from erlangen.datamodules import oc20
from erlangen.datamodules.files import oc20_official
from erlangen.datamodules.files.aselmdb import pack, to_row
from erlangen.datamodules.files.oc20_official import S2EF, VALIDATION, Archive
from erlangen.datamodules.files.oc20_raw import write_pair
from erlangen.datamodules.oc20 import NORMALIZERS, OC20
from erlangen.datamodules.synthetic import slabs
from erlangen.errors import UserError
from erlangen.kernels.neighbor_list import neighbor_list
from erlangen.tasks.oc20 import SPLITS
from erlangen.tasks.symmetry import act, random_motion

FEW = {"train": 12, **dict.fromkeys(VALIDATION, 3)}


def data(root: Path, **options) -> OC20:
    task = options.get("task", "s2ef")
    defaults = {
        "root": root,
        "seed": 1,
        "source": "auto",
        "task": task,
        "size": {"s2ef": "200K", "is2re": "10k"}[task],
        "reference": True,
        "max_atoms_per_batch": None,
        "batch_size": 4,
        "eval_batch_size": 8,
    }
    return OC20(**{**defaults, **options})


@pytest.fixture(scope="module")
def small_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with a miniature of 16 systems instead of 460."""
    root = tmp_path_factory.mktemp("oc20")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(slabs, "SYSTEMS", FEW)
        slabs.write_miniature(root / "oc20")
    return root


def whole(data: OC20, split: str):
    dataset = data.splits[split]
    return dataset[np.arange(len(dataset))]


def test_the_miniature_has_the_splits_that_it_says(small_root: Path) -> None:
    made_of = {}
    for kind in ("s2ef", "is2re"):
        benchmark = data(small_root, task=kind)
        assert benchmark.spec.source == "miniature"
        assert benchmark.spec.split == "miniature"
        assert not benchmark.spec.subset
        test = whole(benchmark, "test")
        for number, name in enumerate(SPLITS):
            made_of[kind, name] = composition(test, (test.split == number).nonzero().flatten())
        train = whole(benchmark, "train")
        made_of[kind, "train"] = composition(train, torch.arange(train.num_graphs))
        assert set(whole(benchmark, "val").id.tolist()) == set(test.id[test.split == 0].tolist())
        ids = test.id.tolist() + train.id.tolist()
        assert len(ids) == len(set(ids))
    for (_, name), pairs in made_of.items():
        for metals, adsorbate in pairs:
            assert (metals in new_metals()) == (name in ("ood_cat", "ood_both")), (name, metals)
            assert (adsorbate in new_adsorbates()) == (name in ("ood_ads", "ood_both")), (name, adsorbate)


def composition(batch, graphs: torch.Tensor) -> set[tuple]:
    """(metals, elements of the adsorbate) of each structure."""
    found = set()
    for graph in graphs.tolist():
        mine = batch.batch == graph
        z, adsorbed = batch.z[mine], batch.tags[mine] == 2
        found.add((tuple(sorted(set(z[~adsorbed].tolist()))), tuple(sorted(z[adsorbed].tolist()))))
    return found


def new_metals() -> set[tuple]:
    numbers = slabs.atomic_numbers
    return {tuple(sorted(numbers[metal] for metal in catalyst)) for catalyst in slabs.NEW_CATALYSTS}


def new_adsorbates() -> set[tuple]:
    numbers = slabs.atomic_numbers
    return {tuple(sorted(numbers[s] for s in slabs.ADSORBATES[name][0])) for name in slabs.NEW_ADSORBATES}


def test_training_has_every_element_and_new_adsorbates_are_no_isomers_of_known_ones() -> None:
    known = {name: tuple(sorted(symbols)) for name, (symbols, _) in slabs.ADSORBATES.items()}
    trained = [name for name in known if name not in slabs.NEW_ADSORBATES]
    assert {symbol for name in trained for symbol in known[name]} == {"H", "C", "N", "O"}
    assert not {known[name] for name in trained} & {known[name] for name in slabs.NEW_ADSORBATES}
    metals = {metal for catalyst in slabs.CATALYSTS if catalyst not in slabs.NEW_CATALYSTS for metal in catalyst}
    assert metals == set(slabs.METALS)
    assert set(slabs.NEW_CATALYSTS) < set(slabs.CATALYSTS)


def test_a_system_is_the_same_whenever_it_is_made(small_root: Path) -> None:
    again = slabs.Laboratory().relaxation("val_ood_ads", 1)
    test = whole(data(small_root), "test")
    frames = {frame.sid << 20 | frame.fid + 1: frame for frame in again}
    mine = [graph for graph, number in enumerate(test.id.tolist()) if number in frames]
    assert mine
    for graph in mine:
        frame, nodes = frames[int(test.id[graph])], test.batch == graph
        assert float(test.energy[graph]) == pytest.approx(frame.energy - frame.reference, abs=1e-6)
        np.testing.assert_allclose(test.forces[nodes], frame.forces, atol=1e-6)


def test_labels_are_the_potentials_gradient_and_fixed_atoms_do_not_move(small_root: Path) -> None:
    frames = slabs.Laboratory().relaxation("train", 0)
    first, last = frames[0], frames[-1]
    assert last.energy <= first.energy
    np.testing.assert_array_equal(first.pos[first.fixed], last.pos[last.fixed])
    assert (first.fixed == (first.tags == 0)).all()
    atoms = slabs.Atoms(first.z, first.pos, cell=first.cell, pbc=True, calculator=slabs.EMT())
    index = int(np.flatnonzero(first.tags == 2)[0])
    step = 1e-4
    for axis in range(3):
        energies = []
        for sign in (1, -1):
            atoms.positions = first.pos
            atoms.positions[index, axis] += sign * step
            energies.append(atoms.get_potential_energy())
        assert -(energies[0] - energies[1]) / (2 * step) == pytest.approx(first.forces[index, axis], abs=1e-4)


def test_energies_are_referenced_exactly_once(small_root: Path) -> None:
    referenced, total = data(small_root), data(small_root, reference=False)
    frames = {frame.sid << 20 | frame.fid + 1: frame for frame in slabs.Laboratory().relaxation("train", 3)}
    adsorption, raw = whole(referenced, "train"), whole(total, "train")
    assert torch.equal(adsorption.id, raw.id)
    checked = 0
    for number, energy, all_of_it in zip(adsorption.id.tolist(), adsorption.energy, raw.energy, strict=True):
        if number in frames:
            frame = frames[number]
            assert float(energy) == pytest.approx(frame.energy - frame.reference, abs=1e-6)
            assert float(all_of_it) == pytest.approx(frame.energy, abs=1e-5)
            checked += 1
    assert checked
    assert "total energies" in total.spec.split
    assert referenced.statistics()["energy"].mean == pytest.approx(float(adsorption.energy.double().mean()), abs=1e-5)
    assert total.statistics()["energy"].mean == pytest.approx(float(raw.energy.double().mean()), abs=1e-4)


def test_is2re_has_the_initial_structure_and_the_relaxed_energy(small_root: Path) -> None:
    benchmark = data(small_root, task="is2re")
    train = whole(benchmark, "train")
    frames = slabs.Laboratory().relaxation("train", 5)
    graph = train.id.tolist().index(frames[0].sid << 20)
    assert float(train.energy[graph]) == pytest.approx(frames[-1].energy - frames[-1].reference, abs=1e-6)
    expected = slabs.wrapped(frames[0].pos, frames[0].cell)
    np.testing.assert_allclose(train.pos[train.batch == graph], expected, atol=1e-5)
    assert "forces" not in train
    structure = benchmark.splits["train"].structure(graph)
    np.testing.assert_allclose(structure.relaxed, slabs.wrapped(frames[-1].pos, frames[-1].cell), atol=1e-5)


def official(root: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Planted official raw files: three structures for training, three of every validation split."""
    few = {name: archive._replace(count=3) for name, archive in S2EF.items()}
    monkeypatch.setattr(oc20_official, "S2EF", few)
    for number, name in enumerate(("200K", *VALIDATION)):
        folder = root / "oc20" / few[name].folder
        folder.mkdir(parents=True)
        write_pair(folder, "0", [structure(10 * number + frame) for frame in range(3)])
    return root


def test_official_raw_files_are_converted_and_have_the_published_normaliser(tmp_path: Path, monkeypatch) -> None:
    benchmark = data(official(tmp_path, monkeypatch))
    assert benchmark.spec.source == "official"
    assert benchmark.spec.split == "200K"
    train = whole(benchmark, "train")
    expected = [structure(number).energy - structure(number).reference for number in range(3)]
    assert train.energy.tolist() == pytest.approx(expected, abs=1e-5)
    known = benchmark.statistics()["energy"]
    assert (known.mean, known.std) == NORMALIZERS["s2ef"]
    test = whole(benchmark, "test")
    assert test.split.tolist() == [number for number in range(4) for _ in range(3)]


def test_a_split_that_is_too_small_is_refused(tmp_path: Path, monkeypatch) -> None:
    root = official(tmp_path, monkeypatch)
    shutil.rmtree(root / "oc20" / "s2ef_val_ood_cat")
    raw_folder(root / "oc20" / "s2ef_val_ood_cat", files=1, frames=2)
    with pytest.raises(UserError, match="val_ood_cat holds 2 structures, should be 3"):
        _ = data(root).splits


def pickled_official(root: Path, monkeypatch: pytest.MonkeyPatch, shift: float) -> Path:
    """LMDBs as fairchem's preprocess_ef.py leaves them; with `shift`, as it does without --ref-energy."""
    monkeypatch.setattr(oc20_official, "S2EF", {name: archive._replace(count=3) for name, archive in S2EF.items()})
    for number, place in enumerate(("200k/train", *(f"all/{split}" for split in VALIDATION))):
        made = [structure(10 * number + frame) for frame in range(3)]
        made = [one._replace(energy=one.reference - 0.7 + shift) for one in made]
        write_pickles(root / "oc20" / "s2ef" / place / "data.0000.lmdb", made, names="old", version=1)
    return root


def test_raw_energies_under_a_referenced_normaliser_are_refused(tmp_path: Path, monkeypatch) -> None:
    root = pickled_official(tmp_path, monkeypatch, shift=-320.0)
    with pytest.raises(UserError, match="total energies .*321 eV in the median.* without references"):
        _ = data(root).splits
    total = data(root, reference=False)
    assert total.statistics()["energy"].mean == pytest.approx(
        -320.7, abs=1e-3
    )  # measured: the published one is another's


def test_referenced_energies_are_not_taken_for_total_ones(tmp_path: Path, monkeypatch) -> None:
    root = pickled_official(tmp_path, monkeypatch, shift=0.0)
    assert whole(data(root), "train").energy.tolist() == pytest.approx([-0.7] * 3, abs=1e-5)
    with pytest.raises(UserError, match="referenced already"):
        _ = data(root, reference=False).splits


def test_an_archive_is_unpacked_once_and_safely(tmp_path: Path, monkeypatch) -> None:
    import tarfile

    root = official(tmp_path, monkeypatch)
    raw = root / "oc20" / "s2ef_train_200K"
    packed = root / "oc20" / "s2ef_train_200K.tar"
    with tarfile.open(packed, "w") as tar:
        tar.add(raw, arcname="s2ef_train_200K/s2ef_train_200K")
    shutil.rmtree(raw)
    few = {**oc20_official.S2EF, "200K": Archive(packed.name, oc20_md5(packed), 3)}
    monkeypatch.setattr(oc20_official, "S2EF", few)
    assert len(data(root).splits["train"]) == 3
    assert (raw / "s2ef_train_200K" / "0.extxyz.xz").exists()
    shutil.rmtree(root / "oc20" / "s2ef")
    (raw / "s2ef_train_200K" / "0.extxyz.xz").unlink()
    with pytest.raises(UserError, match="s2ef_train_200K has nothing of train: remove it"):
        _ = data(root).splits


def oc20_md5(path: Path) -> str:
    from erlangen.datamodules.files.cache import md5

    return md5(path)


def test_bad_structures_in_a_batch_are_named(tmp_path: Path, monkeypatch) -> None:
    root = official(tmp_path, monkeypatch)
    bad = structure(1)._replace(z=np.array([6, 8, 29, 78, 1, 105]))
    rows = {str(number): pack(to_row(one)) for number, one in ((1, structure(0)), (2, bad), (3, structure(2)))}
    write_lmdb(root / "oc20" / "s2ef" / "200K" / "train" / "data.0000.aselmdb", {**rows, "nextid": pack(4)})
    train = data(root).splits["train"]
    assert train[[0, 2]].num_graphs == 2
    with pytest.raises(UserError, match="data.0000.aselmdb, key '2': unknown atomic number 105"):
        _ = train[[0, 1]]


def test_workers_and_resumes_meet_the_same_batches(small_root: Path) -> None:
    def batches(workers: int, done: int = 0) -> list[list[int]]:
        benchmark = data(small_root, num_workers=workers, max_atoms_per_batch=150)
        benchmark.load_state_dict({"epoch": 2, "batch": done})
        loader = benchmark.train_dataloader()
        return [batch.id.tolist() for batch in loader]

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        alone = batches(0)
        assert batches(2) == alone
        assert batches(1, done=3) == alone[3:]
    benchmark = data(small_root, max_atoms_per_batch=150)
    assert max(len(batch.z) for batch in benchmark.train_dataloader()) <= 150
    assert sorted(sum(alone, [])) == sorted(whole(benchmark, "train").id.tolist())


def test_subsets_say_so_and_are_the_same_in_every_run(small_root: Path) -> None:
    first, second = (data(small_root, train_size=5, test_size=2, seed=seed) for seed in (1, 2))
    assert first.spec.subset
    assert first.spec.split == "miniature, 5 train, 2 test"
    assert whole(first, "train").id.tolist() == whole(second, "train").id.tolist()
    assert whole(first, "test").split.tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    with pytest.raises(UserError, match="train_size=100000 is more than"):
        _ = data(small_root, train_size=100_000).splits


def test_a_rotation_turns_the_cell_with_the_atoms_and_keeps_the_neighbours(small_root: Path, generator) -> None:
    benchmark = data(small_root)
    batch = benchmark.splits["train"][[0, 1]]
    moved = act(batch, random_motion("rotation", batch, generator), benchmark.spec)
    assert not torch.allclose(moved.cell, batch.cell)
    lengths = [
        neighbor_list(one.pos.double(), one.ptr, one.cell.double(), one.pbc, cutoff=4.3)
        .vector.norm(dim=1)
        .sort()
        .values
        for one in (batch, moved)
    ]
    torch.testing.assert_close(lengths[0], lengths[1], rtol=1e-5, atol=1e-5)


def test_auto_says_that_it_uses_the_miniature(small_root: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "erlangen"):
        _ = data(small_root).splits
    assert "MINIATURE" in caplog.text
    assert "data.source=official" in caplog.text


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"task": "is2re", "size": "200K"}, "no training split '200K'; it has 10k, 100k, all"),
        ({"size": "10k"}, "no training split '10k'; it has 200K"),
        ({"source": "dft"}, "auto, official or miniature"),
        ({"task": "is2re", "reference": False}, "referenced energies only"),
        ({"train_size": 0}, "train_size must be at least 1"),
    ],
)
def test_wrong_options_name_the_right_ones(tmp_path: Path, options: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        data(tmp_path, **options)


def test_an_unknown_task_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="s2ef or is2re, not 'is2rs'"):
        oc20.OC20(tmp_path, 1, "auto", "is2rs", "all", True, None, 4, 4)
