"""What is sent to the cluster, and what comes back: sweeps, resources, and jobs that fail."""

import json
import re
import signal
import subprocess
import sys
from datetime import datetime
from pathlib import Path

import pytest
from runs.training_process import REPOSITORY
from slurm.cluster import LAUNCH, ONE, TWO, Cluster, send, sent_job, wait_until

pytestmark = pytest.mark.slurm


def results(runs: Path) -> list[dict]:
    return [json.loads(path.read_text()) for path in runs.glob("*/result.json")]


def test_a_sweep_of_six_jobs_on_two_ranks_each(cluster: Cluster, whole: dict, runs: Path) -> None:
    grid = ("model.hidden=[16],[8]", "seed=1,2,3")
    sweep = cluster.train(runs, "-m", *LAUNCH, *TWO, "trainer.devices=2", *grid, "hydra.launcher.array_parallelism=3")
    assert sweep.finish(timeout=400) == 0, sweep.output
    folders = sorted(path for path in runs.iterdir() if not path.name.startswith("."))
    assert len(folders) == 6
    assert {(run["world_size"], run["epochs"], run["steps"]) for run in results(runs)} == {(2, 2, 22)}
    # ranks of one job met each other and nobody else: every seed and width has numbers of its own, and ...
    texts = [(folder / "metrics.csv").read_text() for folder in folders]
    assert len(set(texts)) == 6
    # ... those of the one that was also run by itself are the same to the last bit
    assert whole[2]["metrics.csv"] in texts
    report = [sys.executable, "-m", "erlangen.cli", "report", runs]
    shown = subprocess.run(report, cwd=REPOSITORY, capture_output=True, text=True, timeout=120)
    assert shown.returncode == 0, shown.stderr
    assert re.search(r"seeds +3 +3\b", shown.stdout), shown.stdout


def test_jobs_that_fail_are_cancelled_and_requeued_beside_each_other(cluster: Cluster, runs: Path) -> None:
    jobs = ("optimizer.lr=-1,0.01,0.02", "+model.pause=0.3")
    sweep = cluster.train(runs, "-m", *LAUNCH, *ONE, *jobs)
    wait_until(lambda: len(list(runs.glob("*/metrics.csv"))) == 2, 120, f"steps\n{sweep.output}")
    array = sent_job(runs)
    cluster("scancel", f"{array}_1")
    cluster("scancel", "--signal=USR2", f"{array}_2")
    assert sweep.finish() == 1
    assert "Traceback" not in sweep.output
    assert f"job {array}_1 of the cluster ended without a result (CANCELLED by 0)" in sweep.output
    cluster.wait_for(f"{array}_2", "COMPLETED", runs / ".slurm" / f"{array}_2_0_log.err")
    assert [cluster.state(f"{array}_{number}") for number in range(3)] == ["FAILED", "CANCELLED", "COMPLETED"]
    assert [cluster.restarts(f"{array}_{number}") for number in range(3)] == [0, 0, 1]
    assert len(results(runs)) == 1


def test_mistakes_come_home_in_one_line(cluster: Cluster, runs: Path) -> None:
    for place, mistake, answer in (
        ("job", "optimizer.lr=-1", "optimizer: Invalid learning rate: -1"),
        (
            "sending",
            "hydra.launcher.partition=x",
            "the cluster does not take the job: sbatch: error: invalid partition",
        ),
    ):
        sent = cluster.train(runs / place, *LAUNCH, *ONE, mistake)
        assert sent.finish() == 1
        assert "Traceback" not in sent.output
        assert sent.output.splitlines()[-1].startswith(f"error: {answer}")


def test_the_other_rank_of_a_dead_one_does_not_wait(cluster: Cluster, runs: Path) -> None:
    nodes = ("trainer.num_nodes=2", "trainer.devices=1", "+model.pause=0.3")
    sent = cluster.train(runs, *LAUNCH, *TWO, *nodes)
    wait_until(lambda: any(runs.glob("*/metrics.csv")), 120, f"a step\n{sent.output}")
    send(cluster.ranks("n2"), signal.SIGKILL)
    assert sent.finish(timeout=120) == 1
    assert "Traceback" not in sent.output
    job = sent_job(runs)
    assert cluster.state(job) == "FAILED"


def test_a_job_takes_less_than_ten_seconds_beside_its_imports(cluster: Cluster, runs: Path) -> None:
    profiled = "hydra.launcher.setup=['export PYTHONPROFILEIMPORTTIME=1']"
    sent = cluster.train(runs, *LAUNCH, *ONE, "trainer.max_epochs=1", profiled)
    assert sent.finish() == 0, sent.output
    job = sent_job(runs)
    log = runs / ".slurm" / f"{job}_0_log.err"
    cluster.wait_for(job, "COMPLETED", log)
    imports = sum(map(int, re.findall(r"^import time: +(\d+) \|", log.read_text(), re.MULTILINE))) / 1e6  # microseconds
    assert imports > 0.5
    began, ended = cluster("squeue", "--noheader", "--states=all", "--format=%S %e", f"--jobs={job}").split()
    took = datetime.fromisoformat(ended) - datetime.fromisoformat(began)
    assert took.total_seconds() - imports < 10


def test_what_is_asked_for_is_given(cluster: Cluster, runs: Path) -> None:
    asked = ("partition=patient", "constraint=rack2", "timeout_min=7", "gpus_per_node=${trainer.devices}")
    options = (*LAUNCH, *(f"hydra.launcher.{option}" for option in asked))
    sent = cluster.train(runs, *options, *ONE, "trainer.max_epochs=1")
    assert sent.finish() == 0, sent.output
    job = sent_job(runs)
    shown = cluster("scontrol", "--oneliner", "show", "job", job)
    for given in ("Partition=patient", "NodeList=n2", "TimeLimit=00:07:00", "Requeue=1", "gres:gpu:1", "mem=1G"):
        assert given in shown
