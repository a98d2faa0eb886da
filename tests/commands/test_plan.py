"""`erlangen plan`: every experiment is composed and built without memory, and says what it would take."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf

from erlangen import plan
from erlangen.errors import UserError
from erlangen.runs.assemble import build_data
from erlangen.runs.config import available, compose_config, resolved

LARGE = {
    "equiformer_v2_oc20_2m": (83_164_802, 31_250, 375_000),
    "equiformer_v2_oc20_2m_30_epochs": (83_164_802, 31_250, 937_500),
    "equiformer_v2_oc20_all_md_31m": (31_058_690, 336_425, 1_009_275),
    "equiformer_v2_oc20_all_md_153m": (153_602_690, 336_425, 336_425),
    "equiformer_v2_oc20_all_153m": (153_602_690, 523_180, 523_180),
    "equiformer_v2_oc20_is2re": (38_397_953, 14_386, 287_720),
    "equiformer_v2_qm9": (11_263_137, 1_719, 515_700),
    "escn_oc20_2m": (51_837_952, 20_834, 250_008),
    "escn_oc20_all_md": (200_227_840, 2_691_398, 64_593_552),
}
"""Parameters (11.20M are published for QM9, which says nothing of the head), steps an epoch and in all."""


def composed(*overrides: str) -> dict[str, Any]:
    return resolved(*compose_config(list(overrides)))


def planned(capsys: pytest.CaptureFixture, *arguments: str) -> str:
    """What the command prints, on one line."""
    plan.main(list(arguments))
    return " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize("name", LARGE)
def test_published_experiments_are_built_without_memory_and_counted(name: str, capsys: pytest.CaptureFixture) -> None:
    parameters, epoch, total = LARGE[name]
    config = composed(f"experiment={name}")
    paper = plan.build_on_meta(config, build_data(config))
    assert all(p.is_meta for p in paper.parameters())
    printed = planned(capsys, f"experiment={name}")
    for line in (
        f"parameters {parameters:,}",
        f"steps {epoch:,} an epoch, {total:,} in all",
        "no measured throughput",
        "activations not measured",
    ):
        assert line in printed


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted({*available("experiment")} - {*LARGE}))
def test_every_other_experiment_too(name: str, capsys: pytest.CaptureFixture) -> None:
    assert "no measured throughput" in planned(capsys, f"experiment={name}")


def test_a_closed_form_takes_no_steps(capsys: pytest.CaptureFixture) -> None:
    printed = planned(capsys, "model=composition", "data=oc20")
    assert "closed form" in printed
    assert "steps" not in printed


@pytest.mark.parametrize(
    ("overrides", "kept"),
    [
        (["adam"], 2),
        (["adamw", "+optimizer.amsgrad=true"], 3),
        (["sgd", "optimizer.momentum=0.0", "optimizer.nesterov=false"], 0),
        (["sgd"], 1),
    ],
)
def test_what_an_optimiser_keeps(overrides: list[str], kept: int) -> None:
    assert plan.kept_per_weight(composed(f"optimizer={overrides[0]}", *overrides[1:])["optimizer"]) == kept


@pytest.mark.parametrize("optimizer", available("optimizer"))
def test_every_optimiser_can_be_asked(optimizer: str) -> None:
    assert 0 <= plan.kept_per_weight(composed(f"optimizer={optimizer}")["optimizer"]) <= 4


def test_memory_adds_up() -> None:
    config = composed("experiment=equiformer_v2_oc20_2m")
    paper = plan.build_on_meta(config, build_data(config))
    weights = 4 * 83_164_802
    held = plan.memory(config, paper)
    assert (held.parameters, held.gradients, held.optimizer, held.average) == (weights, weights, 2 * weights, weights)
    assert held.total == 5 * weights
    shared = composed("experiment=equiformer_v2_oc20_2m", "trainer=fsdp", "ema_decay=null")  # 2 nodes of 8
    assert plan.memory(shared, paper).total == pytest.approx(4 * weights / 16, abs=3)
    half = composed("experiment=equiformer_v2_oc20_2m", "trainer.precision=bf16-true")
    assert plan.memory(half, paper).total == pytest.approx(held.total / 2)
    for parameter in list(paper.parameters())[:3]:
        parameter.requires_grad_(False)
    assert plan.memory(config, paper).gradients < weights


def test_hours_are_those_of_the_throughput_that_was_given(capsys: pytest.CaptureFixture) -> None:
    printed = planned(capsys, "experiment=equiformer_v2_oc20_2m", "--samples-per-second", "10")
    assert "device-hours 666.7 for 24,000,000 samples, 41.7 hours if 16 devices are 16 times as fast" in printed
    assert "published 1412 V100-hours" in printed
    assert "published 965 V100-hours" in planned(capsys, "experiment=equiformer_v2_oc20_2m", "model.lmax=4")
    with pytest.raises(UserError, match="must be more than 0, not 0"):
        plan.main(["experiment=egnn_qm9", "--samples-per-second", "0"])


def test_steps_are_cut_as_training_cuts_them() -> None:
    def steps(*overrides: str) -> tuple[int, int]:
        return plan.steps(composed("experiment=egnn_qm9", *overrides), 100_000)

    assert steps() == (1042, 1_042_000)
    assert steps("trainer.accumulate_grad_batches=4") == (261, 261_000)
    assert steps("trainer.limit_train_batches=10") == (10, 10_000)
    assert steps("trainer.limit_train_batches=0.5") == (521, 521_000)
    assert steps("trainer.max_steps=77") == (1042, 77)
    assert steps("trainer.max_epochs=-1", "trainer.max_steps=77") == (1042, 77)
    assert steps("trainer.max_epochs=-1") == (1042, 0)


def finished(folder: Path, *overrides: str, **result: Any) -> Path:
    folder.mkdir()
    OmegaConf.save(OmegaConf.create(composed(*overrides)), folder / "config.yaml")
    known = {"benchmark": "oc20", "source": "miniature", "precision": "32-true", "device": "a device", "world_size": 4}
    (folder / "result.json").write_text(json.dumps({**known, **result}))
    return folder


def test_a_run_of_the_same_network_brings_its_throughput(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    run = finished(tmp_path / "run", "experiment=equiformer_v2_oc20_2m", train_samples_per_second=40.0)
    printed = planned(capsys, "experiment=equiformer_v2_oc20_2m", "--measured", str(run))
    assert "throughput 10 samples/s a device (a device, oc20, miniature data, batches of 4, 32-true)" in printed
    assert "device-hours 666.7" in printed
    with pytest.raises(UserError, match="of another network: layers 12 .here 8."):
        plan.main(["experiment=equiformer_v2_oc20_2m", "model.layers=8", "--measured", str(run)])
    short = finished(tmp_path / "short", "experiment=equiformer_v2_oc20_2m", train_samples_per_second=None)
    for path in (short, tmp_path / "nothing"):
        with pytest.raises(UserError, match="no result.json with a throughput"):
            plan.main(["experiment=equiformer_v2_oc20_2m", "--measured", str(path)])


def test_activations_are_those_of_the_network_and_scale_with_the_batch(tmp_path: Path) -> None:
    config = composed("model=linear", "data=digits", f"paths.data={tmp_path}")
    measured = plan.measure_activations(config)
    weight = 4 * 64 * 10
    inputs = 4 * 2 * 64
    assert (measured.samples, measured.atoms) == (2, 0)
    assert inputs <= measured.bytes < weight  # what the layer reads; its weight is no activation
    assert measured.of_batch(100, None) == pytest.approx(50 * measured.bytes)
    by_atoms = plan.Activations(bytes=600, samples=1, atoms=20, source="miniature")
    assert by_atoms.of_batch(4, 78.0) == pytest.approx(30 * 78 * 4)
    assert by_atoms.of_batch(4, None) == 2400
    atoms = plan.measure_activations(composed("experiment=gwl_schnet", f"paths.data={tmp_path}"))
    assert (atoms.samples, atoms.atoms) == (2, 12)
    assert atoms.bytes > 0


def test_devices_that_a_machine_has_are_counted_here() -> None:
    assert plan.world(composed("experiment=egnn_qm9", "trainer=ddp", "trainer.num_nodes=3")) == 3 * max(
        1, torch.cuda.device_count()
    )
    assert plan.world(composed("experiment=egnn_qm9", "trainer.devices=2", "trainer.num_nodes=3")) == 6
