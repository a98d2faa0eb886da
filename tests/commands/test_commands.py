"""The commands on one small trained run: what they print is what training measured."""

import json
import sys
from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase.build import molecule

import erlangen
from erlangen import certify, cli, evaluate, predict
from erlangen.errors import UserError
from erlangen.runs.assemble import build_data
from erlangen.runs.checkpoints import KEY, load
from erlangen.runs.config import compose_config, resolved
from erlangen.runs.loading import load_run
from erlangen.train import train

OVERRIDES = ["model=egnn", "data=qm9", "data.targets=[U0,gap]", "model.layers=2", "model.channels=16", "trainer=cpu"]
SIZES = ["data.train_size=200", "data.val_size=50", "data.test_size=70", "trainer.max_epochs=2"]


@pytest.fixture(scope="module")
def run(qm9_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two epochs on 200 molecules."""
    runs = tmp_path_factory.mktemp("runs")
    config = resolved(*compose_config([*OVERRIDES, *SIZES, f"paths.data={qm9_root}", f"paths.runs={runs}"]))
    train(config)
    (folder,) = (path for path in runs.iterdir() if path.is_dir())
    return folder


@pytest.fixture
def molecules(tmp_path: Path) -> Path:
    path = tmp_path / "molecules.xyz"
    ase.io.write(path, [molecule("H2O"), molecule("CH4"), molecule("H")])
    return path


def test_evaluate_gives_the_number_of_training(run: Path) -> None:
    recorded = json.loads((run / "result.json").read_text())["metrics"]
    for name, metric in evaluate.evaluate(str(run), "test").items():
        assert metric["value"] == pytest.approx(recorded[name]["value"], rel=1e-6)
        assert metric["unit"] == recorded[name]["unit"]


def test_evaluate_takes_other_options_of_the_benchmark(run: Path) -> None:
    fewer = evaluate.evaluate(str(run), "test", options=["data.test_size=30", "data.eval_batch_size=7"])
    errors = np.load(run / "test.npz")
    among = np.isin(errors["id"], build_data(load_run(run)[1]).splits["test"].values("id")[:30])
    assert fewer["test/mae_gap"]["value"] == pytest.approx(errors["mae_gap"][among].mean(), rel=1e-5)
    for wrong in ("data.tset_size=30", "model.layers=3", "+data.test_size=3", "data.test_size=3,4"):
        with pytest.raises(UserError, match=r"cannot evaluate with .*data\.test_size"):
            evaluate.evaluate(str(run), "test", options=[wrong])
    for wrong in ("data.test_size=[", "data.test_size"):
        with pytest.raises(UserError, match="cannot read data.test_size"):
            evaluate.evaluate(str(run), "test", options=[wrong])
    with pytest.raises(UserError, match="--relax has structures of its own"):
        evaluate.main([str(run), "data.test_size=30", "--relax", "1"])
    with pytest.raises(UserError, match="trained for another"):
        evaluate.evaluate(str(run), "test", options=["data.targets=[mu]"])


def test_a_result_says_what_it_was_measured_on(run: Path) -> None:
    result = json.loads((run / "result.json").read_text())
    assert result["source"] == "official"
    assert result["subset"]
    assert result["split"] == "cormorant, 200 of 100000 train, 50 of 17748 val, 70 of 13083 test"
    assert result["kernels"]["segment_sum"]
    assert result["metrics"]["test/mae_gap"]["unit"] == "meV"
    errors = np.load(run / "test.npz")
    assert len(errors["id"]) == len(np.unique(errors["id"])) == 70
    assert errors["mae_gap"].mean() == pytest.approx(result["metrics"]["test/mae_gap"]["value"], rel=1e-5)


def test_predictions_are_total_energies_with_units(run: Path, molecules: Path) -> None:
    paper, _ = load_run(run)
    table = predict.predict_frames(paper, predict.read_structures(molecules, paper.spec))
    assert list(table.columns) == ["structure", "formula", "U0 [meV]", "gap [meV]"]
    # an untrained network guesses QM9's mean atomisation, 76 eV, for water; its free atoms are 2,070 eV
    assert table["U0 [meV]"][0] == pytest.approx(-76.4047 * 27211.386, abs=1e5)
    assert np.isfinite(table["gap [meV]"]).all()


def test_the_calculators_forces_are_the_gradient_of_its_energy(run: Path) -> None:
    atoms = molecule("CH3OH")
    atoms.calc = erlangen.calculator(run)
    forces, step = atoms.get_forces(), 1e-2
    energies = []
    for sign in (1, -1):
        moved = atoms.copy()
        moved.positions[0, 0] += sign * step
        moved.calc = atoms.calc
        energies.append(moved.get_potential_energy())
    assert forces[0, 0] == pytest.approx(-(energies[0] - energies[1]) / (2 * step), abs=2e-2 * np.abs(forces).max())
    np.testing.assert_allclose(forces.sum(0), 0, atol=1e-4)  # translation invariance


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("2\n\nC 0 0 0\nBr 0 0 1.9\n", "structure 1: atom 2 is Br, which qm9 does not have; it has H, C, N, O, F"),
        ("2\n\nC 0 0 0\nH 1 x 0\n", r"line 4: 'H 1 x 0' is no element and three coordinates"),
        ("two\n\nC 0 0 0\n", "line 1: 'two' is no number of atoms"),
        ("1\n\nC 0 0 nan\n", "a coordinate is not a finite number"),
    ],
)
def test_structures_that_cannot_be_predicted_are_named(run: Path, tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "wrong.xyz"
    path.write_text(text)
    with pytest.raises(UserError, match=message):
        predict.read_structures(path, load_run(run)[0].spec)


def test_certify_measures_before_and_after_and_writes_it_down(run: Path, capsys: pytest.CaptureFixture) -> None:
    certify.main([str(run), "--samples", "8", "--draws", "2"])
    certificate = json.loads((run / "certificate.json").read_text())
    assert set(certificate["rows"]) == {"before training", "after training"}
    for rows in certificate["rows"].values():
        kept = {(row["element"], row["target"], row["precision"]): row for row in rows}
        assert kept["rotation", "gap", "float64"]["error"] < 1e-8
        assert kept["reflection", "U0", "float32"]["holds"]
        assert kept["rotation", "gap", "bfloat16"]["holds"] is None
        assert kept["energy is smooth", "U0", "float64"]["holds"]
    assert "holds" in capsys.readouterr().out


def test_what_ties_decide_is_measured_and_told_but_not_required(capsys: pytest.CaptureFixture) -> None:
    rotation = {"element": "rotation", "target": "label", "promise": "exact", "precision": "float32"}
    row = {**rotation, "error": 1e-6, "limit": 1e-4, "holds": True, "left_out": 2, "error_of_all": 0.25}
    certificate = {"draws": 1, "samples": 32, "rows": {"before training": [row]}}
    for table in certify.certificate_tables(certificate):
        certify.console.print(table)
    words = " ".join(capsys.readouterr().out.split())
    assert "without the 2 worst" in words
    assert "with them 2.5e-01" in words


def test_a_checkpoint_is_not_trusted_to_build_anything(run: Path, tmp_path: Path) -> None:
    import torch

    checkpoint = load(run / "checkpoints" / "best.ckpt")
    checkpoint[KEY]["config"]["model"]["_target_"] = "os.system"
    torch.save(checkpoint, tmp_path / "evil.ckpt")
    with pytest.raises(UserError, match=r"asks to build os\.system, which is outside erlangen"):
        erlangen.load(tmp_path / "evil.ckpt")


def test_command_line_errors_are_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, tmp_path: Path
) -> None:
    for arguments, message in {
        ("fly",): "there is no command fly; there are train, evaluate",
        ("evaluate", str(tmp_path)): "has no checkpoint",
    }.items():
        monkeypatch.setattr(sys, "argv", ["erlangen", *arguments])
        with pytest.raises(SystemExit, match=message):
            cli.main()
