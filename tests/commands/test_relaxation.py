"""Relaxations end where they must: at a known minimum, with fixed atoms where they were, and say where they did not."""

from pathlib import Path

import ase.io
import numpy as np
import pandas as pd
import pytest
import torch
from ase import Atoms
from ase.calculators.emt import EMT
from ase.constraints import FixAtoms
from torch import nn

from erlangen import cli, evaluate, is2rs, predict
from erlangen.ase_calculator import Calculator, to_dataset
from erlangen.datamodules.files.oc20_official import VALIDATION
from erlangen.datamodules.synthetic import slabs
from erlangen.errors import UserError
from erlangen.models.paper import Paper
from erlangen.relaxation import hold_fixed, relax
from erlangen.runs.config import compose_config, resolved
from erlangen.tasks.oc20 import SPLITS
from erlangen.tasks.spec import Field, Spec, Target
from erlangen.train import train

LENGTH = 1.1
"""Å, of the spring at rest."""
ENERGY = Target(name="energy", unit="eV")
FORCES = Target(name="forces", unit="eV/Å", irreps="1o", level="node", gradient_of="energy")


def surfaces(*targets: Target) -> Spec:
    fields = {
        "z": Field(categories=(1, 8, 13, 29)),
        "pos": Field(irreps="1o", translates=True),
        "cell": Field(level="graph", irreps="1o", shape=(3, 3)),
        "pbc": Field(level="graph", shape=(3,)),
        "tags": Field(categories=(0, 1, 2)),
        "fixed": Field(categories=(0, 1)),
    }
    return Spec("springs", "atoms", "none", "miniature", targets, fields)


class Springs(Paper):
    """A spring between every atom and the next one: E = 5 sum (r - 1.1)^2, with forces where the spec has them."""

    title, modalities, periodic = "Springs", frozenset({"atoms"}), True

    def __init__(self, spec: Spec):
        super().__init__(spec)
        self.network = nn.Identity()

    def forward(self, batch):
        with torch.enable_grad():
            pos = batch.pos if batch.pos.requires_grad else batch.pos.detach().requires_grad_()
            stretch = (pos[1:] - pos[:-1]).norm(dim=1) - LENGTH
            joined = batch.batch[1:] == batch.batch[:-1]
            terms = 5 * stretch.square() * joined
            energy = pos.new_zeros(batch.num_graphs).index_add(0, batch.batch[1:], terms)
            if len(self.spec.targets) == 1:
                return {"energy": energy}
            return {"energy": energy, "forces": -torch.autograd.grad(energy.sum(), pos)[0]}


class Endless(Springs):
    """Forces that fade slowly."""

    value = 1.0

    def forward(self, batch):
        return {"energy": torch.zeros(batch.num_graphs), "forces": self.value - 0.01 * batch.pos}


@pytest.fixture
def dimer() -> Atoms:
    return Atoms("OH", [(0, 0, 0), (0.3, 1.6, 0)], cell=[9, 9, 9], pbc=True)


@pytest.mark.parametrize("targets", [(ENERGY,), (ENERGY, FORCES)], ids=["by the gradient", "predicted"])
def test_a_spring_comes_to_rest_at_its_length(dimer: Atoms, targets: tuple[Target, ...]) -> None:
    done = relax(dimer, Calculator(Springs(surfaces(*targets))), fmax=0.01, steps=100)
    assert done.converged
    assert done.fmax < 0.01
    assert 0 < done.steps < 100
    assert done.atoms.get_distance(0, 1) == pytest.approx(LENGTH, abs=1e-3)
    assert done.atoms.get_potential_energy() == pytest.approx(0, abs=1e-4)
    assert dimer.get_distance(0, 1) > 1.6  # what was given is left alone
    assert dimer.calc is None


def test_fixed_atoms_stay_and_do_not_count(dimer: Atoms, tmp_path: Path) -> None:
    dimer.set_constraint(FixAtoms([0]))
    done = relax(dimer, Calculator(Springs(surfaces(ENERGY, FORCES))), 0.01, 100, tmp_path / "all.traj")
    np.testing.assert_array_equal(done.atoms.positions[0], dimer.positions[0])
    assert done.atoms.get_distance(0, 1) == pytest.approx(LENGTH, abs=1e-3)
    frames = ase.io.read(tmp_path / "all.traj", ":")
    assert len(frames) == done.steps + 1
    energies = [frame.get_potential_energy() for frame in frames]
    assert energies[0] > energies[-1] == pytest.approx(done.atoms.get_potential_energy())


def test_tags_hold_atoms_where_nothing_else_does(dimer: Atoms) -> None:
    assert not hold_fixed(dimer).constraints
    dimer.set_tags([0, 2])
    assert hold_fixed(dimer).constraints[0].index.tolist() == [0]
    assert not dimer.constraints
    dimer.set_constraint(FixAtoms([1]))
    assert hold_fixed(dimer).constraints[0].index.tolist() == [1]
    batch = to_dataset([dimer, dimer], surfaces(ENERGY))[[0, 1]]
    assert batch.fixed.tolist() == [False, True] * 2
    assert batch.tags.tolist() == [0, 2] * 2
    assert batch.cell.shape == (2, 3, 3)
    assert batch.pbc.all()


def test_what_does_not_converge_is_said_and_what_is_not_finite_stops(dimer: Atoms) -> None:
    paper = Endless(surfaces(ENERGY, FORCES))
    done = relax(dimer, Calculator(paper), fmax=0.05, steps=4)
    assert (done.converged, done.steps) == (False, 4)
    assert done.fmax > 1
    paper.value = float("nan")
    with pytest.raises(UserError, match="NaN or infinite in step 0"):
        relax(dimer, Calculator(paper), fmax=0.05, steps=4)
    for fmax, steps in ((0.0, 5), (0.1, 0), (float("nan"), 5)):
        with pytest.raises(UserError, match="--fmax above 0 and --steps of 1 or more"):
            relax(dimer, Calculator(paper), fmax, steps)


def test_predict_says_which_structures_did_not_converge(
    dimer: Atoms, tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    resting = Atoms("OH", [(0, 0, 0), (0, LENGTH, 0)], cell=[9, 9, 9], pbc=True)
    ase.io.write(tmp_path / "two.extxyz", [resting, dimer])
    monkeypatch.setattr(predict, "load_run", lambda run: (Springs(surfaces(ENERGY, FORCES)), {}))
    options = ["--input", str(tmp_path / "two.extxyz"), "--output", str(tmp_path / "two.csv"), "--device", "cpu"]
    predict.main(["run", *options, "--relax", str(tmp_path / "out"), "--steps", "1", "--fmax", "0.01"])
    assert "NOT CONVERGED in 1 steps, forces above 0.01 eV/Å: structure 2" in capsys.readouterr().out
    table = pd.read_csv(tmp_path / "two.csv")
    assert table["converged"].tolist() == ["yes", "NO"]
    assert table["steps"].tolist() == [0, 1]
    assert table["largest force [eV/Å]"][1] > 0.01


def test_a_cell_without_volume_is_named(dimer: Atoms) -> None:
    spec = surfaces(ENERGY)
    dimer.cell[2] = dimer.cell[0]
    with pytest.raises(UserError, match="slab.xyz, structure 3: its cell has no volume"):
        predict.check_structure(dimer, spec, "slab.xyz, structure 3")
    dimer.pbc = (True, True, False)  # a slab without a third vector is one that ASE users have
    dimer.cell[2] = 0
    predict.check_structure(dimer, spec, "slab.xyz")


FEW = {"train": 12, **dict.fromkeys(VALIDATION, 3)}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The floor `composition` on a miniature of 16 systems: its forces are zero."""
    root = tmp_path_factory.mktemp("relaxation")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(slabs, "SYSTEMS", FEW)
        slabs.write_miniature(root / "data" / "oc20")
    overrides = ["model=composition", "data=oc20", "trainer=cpu"]
    train(resolved(*compose_config([*overrides, f"paths.data={root}/data", f"paths.runs={root}/runs"])))
    return next(path for path in (root / "runs").iterdir() if path.is_dir())


def test_predict_relaxes_and_writes_where_everything_went(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = [slabs.Laboratory().relaxation("val_id", number)[0] for number in (0, 1)]
    frames = [Atoms(one.z, one.pos, cell=one.cell, pbc=True, tags=one.tags) for one in first]
    ase.io.write(tmp_path / "slabs.extxyz", frames)
    arguments = ["predict", str(run), "--input", str(tmp_path / "slabs.extxyz"), "--relax", str(tmp_path / "out")]
    monkeypatch.setattr("sys.argv", ["erlangen", *arguments])
    cli.main()
    printed = capsys.readouterr().out
    assert "yes" in printed
    assert "NOT CONVERGED" not in printed
    assert "all atoms will move" not in printed
    relaxed = ase.io.read(tmp_path / "out" / "relaxed.extxyz", ":")
    for given, atoms in zip(frames, relaxed, strict=True):  # without forces nothing moves
        np.testing.assert_allclose(atoms.positions, given.positions, atol=1e-6)
        assert atoms.constraints[0].index.tolist() == np.flatnonzero(given.get_tags() == 0).tolist()
    assert (tmp_path / "out" / "2.traj").exists()
    for atoms in frames:
        atoms.set_tags(0)
    ase.io.write(tmp_path / "slabs.extxyz", frames)
    monkeypatch.setattr("sys.argv", ["erlangen", *arguments[:-1], str(tmp_path / "untagged")])
    cli.main()
    assert "all atoms will move, none is fixed by a constraint or a tag: structure 1, 2" in capsys.readouterr().out
    monkeypatch.setattr("sys.argv", ["erlangen", *arguments])
    with pytest.raises(SystemExit, match="cannot make the folder .*out: File exists"):
        cli.main()


def test_relaxing_with_no_forces_scores_as_the_structures_were(run: Path, capsys: pytest.CaptureFixture) -> None:
    metrics = is2rs.is2rs(str(run), 2, fmax=0.05, steps=10, device="cpu")
    for suffix in ("", *(f"_{split}" for split in SPLITS)):
        assert metrics[f"adwt{suffix}"] == metrics[f"unmoved_adwt{suffix}"]
        assert metrics[f"steps{suffix}"]["value"] == 0
        assert metrics[f"converged{suffix}"]["value"] == 1
    assert metrics["energy_mae"]["unit"] == metrics["energy_mae_ood_cat"]["unit"] == "eV"
    evaluate.main([str(run), "--relax", "1", "--steps", "3"])
    assert "unmoved_adwt" in capsys.readouterr().out


def test_relaxing_with_the_true_potential_finds_the_reference(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The labels' own potential in the network's place, relaxed as far as the labels were, by another optimiser."""
    monkeypatch.setattr(is2rs, "Calculator", lambda paper: EMT())
    metrics = is2rs.is2rs(str(run), 2, fmax=0.05, steps=200, device="cpu")
    assert metrics["converged"]["value"] == 1
    assert metrics["adwt"]["value"] > 0.8
    assert metrics["adwt"]["value"] > metrics["unmoved_adwt"]["value"]


def test_only_runs_on_s2ef_relax(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paper = Springs(surfaces(ENERGY))
    monkeypatch.setattr(is2rs, "load_run", lambda run: (paper, {}))
    with pytest.raises(UserError, match="runs on OC20's S2EF .*of springs"):
        is2rs.is2rs("run", 2, fmax=0.05, steps=3, device="cpu")
