"""What a job on a cluster knows of itself, tried without one; tests/slurm has the real thing."""

import importlib.util
import subprocess
import sys

import pytest
from hydra import compose, initialize_config_module
from runs.command import TINY, Command

from erlangen.errors import UserError
from erlangen.runs.cluster import as_sweep, going_on

LAUNCHER = "hydra/launcher=slurm"


def test_a_single_command_is_sent_as_a_sweep_of_one_job(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name)
    assert as_sweep(["model=egnn", LAUNCHER]) == ["model=egnn", LAUNCHER, "hydra.mode=MULTIRUN"]
    assert as_sweep(["-m", LAUNCHER, "seed=1,2"]) == ["-m", LAUNCHER, "seed=1,2"]
    assert as_sweep([LAUNCHER, "hydra/launcher=basic"]) == [LAUNCHER, "hydra/launcher=basic"]
    assert as_sweep(["model=egnn"]) == ["model=egnn"]


def test_a_launcher_that_is_not_installed_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"needs the package hydra-submitit-launcher: pip install 'erlangen\[slurm\]'"):
        as_sweep([LAUNCHER])


def test_a_task_a_device() -> None:
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher")
    overrides = [LAUNCHER, "model=mlp", "data=digits", "trainer.devices=4", "trainer.num_nodes=2"]
    with initialize_config_module("erlangen.conf", version_base="1.3"):
        launcher = compose("train", overrides, return_hydra_config=True).hydra.launcher
        assert (launcher.nodes, launcher.tasks_per_node, launcher.gpus_per_node) == (2, 4, 4)


@pytest.mark.parametrize(
    ("job", "restarts", "goes_on"),
    [("7", "1", True), ("7", "0", False), ("8", "1", False), (None, None, False)],
    ids=["started again", "its second command", "another job's folder", "no cluster"],
)
def test_only_a_job_that_was_started_again_goes_on_with_what_it_began(
    monkeypatch: pytest.MonkeyPatch, job: str | None, restarts: str | None, goes_on: bool
) -> None:
    for name, value in (("SLURM_JOB_ID", job), ("SLURM_RESTART_COUNT", restarts)):
        if value is None:
            monkeypatch.delenv(name, raising=False)
        else:
            monkeypatch.setenv(name, value)
    as_asked = {"resume": False, "overwrite": True, "seed": 3}
    expected = {"resume": True, "overwrite": False, "seed": 3} if goes_on else as_asked
    assert going_on(as_asked, began="7") == expected


def test_a_job_started_again_overwrites_no_second_time(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    assert command(*TINY, "overwrite=true").code == 0
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    code, out, _ = command(*TINY, "overwrite=true")
    assert (code, out) == (0, f"{command.folder} is finished already\n")
    monkeypatch.setenv("SLURM_JOB_ID", "8")
    code, out, _ = command(*TINY, "overwrite=true")
    assert code == 0
    assert "epoch 1/2" in out


def test_a_failed_run_is_a_failed_job_even_where_its_exception_is_kept() -> None:
    code = "from erlangen.runs.cluster import fail_job; fail_job(); print('sent home')"
    for environment, exit_code in ({"SUBMITIT_EXECUTOR": "slurm"}, 1), ({}, 0):
        done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
        assert (done.returncode, done.stdout) == (exit_code, "sent home\n")
