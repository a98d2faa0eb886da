"""trainer=fsdp: a paper shared out among processes learns what it learns on each of them whole, and anybody can load it."""

import copy
import math
import re
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
import torch
from runs.command import TINY, Command
from runs.training_process import NOISY, SMALL, Training, differences, outcome
from synthetic import synthetic_batch, unit_statistics
from torch import distributed
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.tensor import DTensor

from erlangen.errors import UserError
from erlangen.evaluate import evaluate
from erlangen.models.paper import Paper
from erlangen.nn.boltzmann import ConvolutionalRBM
from erlangen.runs.assemble import build_paper
from erlangen.runs.config import available, compose_config, resolved
from erlangen.runs.folder import RunFolder
from erlangen.runs.pairing import default_data, mismatch, model_class
from erlangen.runs.sharding import FullySharded, layers, load_weights, shard, whole

ON_CPU = ("trainer.accelerator=cpu", "trainer.devices=2")
CLOSE = 1e-5
PAPERS = {model_class(name): name for name in reversed(available("model")) if model_class(name).trains}.values()
"""One file of conf/model for every class of papers."""


@pytest.fixture
def mesh() -> Iterator[DeviceMesh]:
    """Of this one process: every weight is a shard, and is gathered, as among many."""
    distributed.init_process_group("gloo", rank=0, world_size=1, store=distributed.HashStore())
    yield init_device_mesh("cpu", (1,))
    distributed.destroy_process_group()


def benchmark_of(model: str) -> str:
    fitting = (name for name in ("qm9", *available("data")) if not mismatch(model_class(model), default_data(name)))
    return next(fitting)


def tiny(model: str, data: str, *options: str) -> Paper:
    sizes = (f"model.{key}={value}" for key, value in model_class(model).tiny.items())
    config = resolved(*compose_config([f"model={model}", f"data={data}", "kernels=reference", *sizes, *options]))
    datamodule = default_data(data)
    paper = build_paper(config, datamodule.spec)
    paper.prepare(
        datamodule.task, unit_statistics(datamodule.spec), lambda: [synthetic_batch(datamodule.spec, 16, seed=9)]
    )
    return paper.train()


def step(paper: Paper, data: str) -> tuple[float, float]:
    """Loss and gradient's norm on one batch."""
    torch.manual_seed(1)
    loss = paper.training_step(synthetic_batch(default_data(data).spec), 0)
    loss.backward()
    norm = torch.nn.utils.get_total_norm([p.grad for p in paper.parameters() if p.grad is not None])
    return loss.item(), (norm.full_tensor() if isinstance(norm, DTensor) else norm).item()


def assert_the_same_step(model: str, mesh: DeviceMesh) -> Paper:
    data = benchmark_of(model)
    whole, sharded = tiny(model, data), tiny(model, data)
    shard(sharded, mesh)
    assert all(isinstance(parameter, DTensor) for parameter in sharded.parameters())
    assert step(sharded, data) == pytest.approx(step(whole, data), rel=1e-4)
    return sharded


@pytest.mark.parametrize("model", ["egnn", "equiformer_v2"])
def test_each_layer_is_shared_out_by_itself_and_changes_nothing(model: str, mesh: DeviceMesh) -> None:
    sharded = assert_the_same_step(model, mesh)
    assert len(list(layers(sharded))) == 2  # of the tiny size, which has two


@pytest.mark.slow
@pytest.mark.parametrize("model", PAPERS)
def test_every_paper_can_be_shared_out_or_is_refused(model: str, mesh: DeviceMesh) -> None:
    parts = list(tiny(model, benchmark_of(model)).modules())
    if any(hasattr(part, "own_optimizer") for part in parts):
        with pytest.raises(UserError, match="trainer=fsdp: .* on a manifold"):
            tiny(model, benchmark_of(model), "trainer=fsdp")
    elif any(isinstance(part, ConvolutionalRBM) for part in parts):
        with pytest.raises(UserError, match="trainer=fsdp: .* outside of a forward pass"):
            tiny(model, benchmark_of(model), "trainer=fsdp")
    else:
        assert_the_same_step(model, mesh)


def test_whole_weights_are_loaded_into_a_sharded_paper(mesh: DeviceMesh) -> None:
    plain, sharded = tiny("egnn", "qm9"), tiny("egnn", "qm9", "seed=2")
    shard(sharded, mesh)
    load_weights(sharded, plain.state_dict())
    found = {name: whole(value) for name, value in sharded.state_dict().items()}
    assert found.keys() == plain.state_dict().keys()
    assert all(torch.equal(found[name], value) for name, value in plain.state_dict().items())


@pytest.mark.parametrize(
    "options",
    [("optimizer=sgd", "optimizer.momentum=0", "optimizer.nesterov=false"), ("optimizer=sgd",), ("optimizer=adamw",)],
)
def test_an_optimizer_is_saved_as_any_other_and_goes_on(mesh: DeviceMesh, options: tuple[str, ...]) -> None:
    strategy, paper, kept = FullySharded(), tiny("egnn", "qm9", *options), []
    twin = tiny("egnn", "qm9", *options)
    for sharded in (paper, twin):
        shard(sharded, mesh)
        strategy.optimizers = [sharded.recipe.optimizer(sharded.param_groups())]
        if kept:
            load_weights(twin, kept[0])
            strategy.load_optimizer_state_dict({"optimizer_states": [kept[1]]})
        else:
            step(sharded, "qm9")
            strategy.optimizers[0].step()
            weights = {name: whole(value) for name, value in sharded.state_dict().items()}
            kept = copy.deepcopy([weights, strategy.optimizer_state(strategy.optimizers[0])])
            assert not any(isinstance(v, DTensor) for state in kept[1]["state"].values() for v in state.values())
        sharded.zero_grad()
        step(sharded, "qm9")
        strategy.optimizers[0].step()
    for one, other in zip(paper.parameters(), twin.parameters(), strict=True):
        assert torch.equal(whole(one), whole(other))


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (("model=mean",), "model=mean has no weights to share out"),
        (("model=egnn", "ema_decay=0.9"), "ema_decay would keep a whole second network"),
        (("model=egnn", "compile=true"), "compile=true traces weights"),
        (("model=egnn", "optimizer=sam"), "optimizer=sam looks at whole tensors"),
        (("model=egnn", "data=oc20"), "model=egnn takes forces from the energy's gradient"),
        (("model=shapenets3d-small", "data=modelnet"), "model=shapenets3d-small reads its layers' weights outside"),
        (("model=resnet", "data=cifar10", "head=gcr"), "model=resnet with head=gcr has weights on a manifold"),
        (("model=egnn", "trainer.precision=64-true"), "does not support .*64-true"),
    ],
)
def test_what_cannot_be_shared_out_is_refused(command: Command, options: tuple[str, ...], reason: str) -> None:
    refused = command("trainer=fsdp", *ON_CPU, "data.num_workers=0", *options)
    assert refused.code == 1
    assert refused.err.startswith("error: ")
    assert re.search(reason, refused.err), refused.err
    assert "Traceback" not in refused.err


def test_a_run_goes_on_in_the_middle_of_an_epoch(command: Command) -> None:
    options = (*TINY, "trainer=fsdp", "trainer.accelerator=cpu", "trainer.devices=1", "checkpoint.every_n_steps=2")
    done = command(*options)
    assert done.code == 0, done.err
    folder = command.folder
    expected = outcome(folder)
    (folder / "checkpoints" / "last.ckpt").unlink()
    assert torch.load(folder / "checkpoints" / "previous.ckpt", weights_only=True)["global_step"] == 6  # of 2 x 4
    RunFolder(folder).mark("failed")
    again = command(*options, "resume=true")
    assert again.code == 0, again.err
    assert f"{folder} goes on from previous.ckpt" in again.out
    assert differences(expected, outcome(folder)) == []


TWO = (*ON_CPU, "checkpoint.every_n_steps=2", "trainer.max_epochs=3")
CLIPPED = (*SMALL, *TWO, "trainer.gradient_clip_val=0.5", "data.val_size=67", "data.test_size=65")


@pytest.mark.slow
def test_two_processes_learn_what_ddp_learns(tmp_path: Path, qm9_root: Path) -> None:
    ddp = Training(tmp_path / "ddp", qm9_root, *CLIPPED, "trainer=ddp")
    assert ddp.finish() == 0, ddp.output
    fsdp = Training(tmp_path / "fsdp", qm9_root, *CLIPPED, "trainer=fsdp")
    assert fsdp.finish() == 0, fsdp.output
    expected, found = (pd.read_csv(run.folder / "metrics.csv") for run in (ddp, fsdp))
    assert found["name"].tolist() == expected["name"].tolist()
    assert found["value"].to_numpy() == pytest.approx(expected["value"].to_numpy(), rel=CLOSE)
    expected, found = outcome(ddp.folder), outcome(fsdp.folder)
    for part in ("best", "state_dict"):
        assert found[part].keys() == expected[part].keys()
        close = (torch.allclose(found[part][k], v, rtol=CLOSE, atol=CLOSE) for k, v in expected[part].items())
        assert all(close)
    assert optimizer_shapes(found) == optimizer_shapes(expected)
    result = found["metrics"]["test/mae_gap"]["value"]
    alone = evaluate(str(fsdp.folder), "test")["test/mae_gap"]["value"]
    assert math.isclose(alone, result, rel_tol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("options", [CLIPPED, (*NOISY, *TWO)], ids=["egnn", "noise-teacher-buffers"])
def test_two_processes_that_are_killed_go_on_as_if_nothing_had_been(
    tmp_path: Path, qm9_root: Path, options: tuple[str, ...]
) -> None:
    whole = Training(tmp_path / "whole", qm9_root, *options, "trainer=fsdp")
    assert whole.finish() == 0, whole.output
    stopped = Training(tmp_path / "stopped", qm9_root, *options, "trainer=fsdp")
    stopped.kill_when(stopped.has_checkpoint)
    again = Training(tmp_path / "stopped", qm9_root, *options, "trainer=fsdp", "resume=true")
    assert again.finish() == 0, again.output
    assert differences(outcome(whole.folder), outcome(again.folder)) == []


def optimizer_shapes(outcome: dict) -> list:
    (state,) = outcome["optimizer_states"]
    return [(number, name, value.shape) for number, kept in state["state"].items() for name, value in kept.items()]


def test_the_preset_composes_on_every_machine() -> None:
    config = resolved(*compose_config(["trainer=fsdp", *TINY[2:5]]))
    assert config["trainer"]["strategy"] == {"_target_": "erlangen.runs.sharding.FullySharded"}
