"""A job that SLURM takes away goes on in the same folder, and ends as if nothing had happened, to the last bit."""

import signal
from pathlib import Path

import pytest
from runs.training_process import differences, outcome
from slurm.cluster import LAUNCH, ONE, TRAIN, TWO, Cluster, send, sent_job, wait_until

pytestmark = [pytest.mark.slurm, pytest.mark.usefixtures("short_of_time")]
TWO_NODES = (*TWO, "trainer.num_nodes=2", "trainer.devices=1")


def srun(runs: Path, *options: str) -> str:
    return " ".join(["srun --kill-on-bad-exit", TRAIN, *options, f"paths.runs={runs}"])


def says(log: Path, text: str) -> bool:
    return log.exists() and text in log.read_text()


def only_run(runs: Path) -> Path:
    (folder,) = (path for path in runs.iterdir() if not path.name.startswith("."))
    return folder


@pytest.fixture(scope="module")
def short_of_time(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """A job that needs 100 s and is given 120, less the half minute for saving and the half that SLURM takes for its rounds.

    It mostly sleeps, beside the other tests.
    """
    log = tmp_path_factory.mktemp("short") / "log"
    options = ("--time=2", "--signal=USR2@30", "--nodelist=n1")
    return cluster.sbatch(log, srun(log.parent / "runs", *ONE, "+model.pause=2.2"), *options), log


def test_a_sent_job_on_two_nodes_that_is_told_to_end(cluster: Cluster, whole: dict, runs: Path) -> None:
    sent = cluster.train(runs, *LAUNCH, *TWO_NODES, "+model.pause=0.3")
    wait_until(lambda: any(runs.glob("*/metrics.csv")), 120, f"a step\n{sent.output}")
    job = sent_job(runs)
    log = runs / ".slurm" / f"{job}_0_log.err"
    cluster("scancel", "--signal=USR2", job)
    assert sent.finish() == 0, log.read_text() + sent.output  # it waits for the job to be started again
    assert cluster.restarts(job) == 1
    assert says(log, "told to end: everything up to step")
    assert not says(log, "step 22 is saved")
    assert differences(whole[2], outcome(only_run(runs))) == []


def test_preempted_by_a_more_urgent_job(cluster: Cluster, whole: dict, runs: Path) -> None:
    log = runs / "log"
    job = cluster.sbatch(log, srun(runs / "runs", *TWO_NODES, "+model.pause=0.3"), "--nodes=2", "--ntasks-per-node=1")
    wait_until(lambda: any(runs.glob("runs/*/metrics.csv")), 120, "a step")
    cluster.sbatch(runs / "urgent", "true", "--partition=urgent", "--nodelist=n2", "--exclusive")
    cluster.wait_for(job, "COMPLETED", log)
    assert cluster.restarts(job) == 1
    assert says(log, "DUE TO PREEMPTION")
    assert says(log, "told to end: everything up to step")
    assert differences(whole[2], outcome(only_run(runs / "runs"))) == []


def test_told_to_end_before_there_is_anything_to_save(cluster: Cluster, whole: dict, runs: Path) -> None:
    log = runs / "log"
    job = cluster.sbatch(log, srun(runs / "runs", *ONE, "+model.preparation=6"))
    wait_until(lambda: says(log, "preparing"), 120, "preparing")
    cluster("scancel", "--signal=USR2", job)
    cluster.wait_for(job, "PENDING", log)
    assert not list(runs.glob("runs/*/checkpoints/*"))
    wait_until(lambda: log.read_text().count("preparing") == 2, 120, "preparing again")
    cluster("scancel", "--signal=USR2", job)
    cluster.wait_for(job, "COMPLETED", log)
    assert says(log, "not requeued again: there was no time for a single step")
    assert cluster.restarts(job) == 1
    assert differences(whole[1], outcome(only_run(runs / "runs"))) == []


def test_a_node_that_falls_silent(cluster: Cluster, whole: dict, runs: Path) -> None:
    log = runs / "log"
    options = (*TWO_NODES, "+model.pause=0.3", "checkpoint.every_n_steps=2")
    job = cluster.sbatch(log, srun(runs / "runs", *options), "--nodes=2", "--ntasks-per-node=1")
    wait_until(lambda: any(runs.glob("runs/*/checkpoints/last.ckpt")), 120, "a checkpoint")
    lost = cluster.processes("n2")
    assert len(lost) >= 3  # slurmd, slurmstepd, the rank
    send(lost, signal.SIGSTOP)
    cluster("scontrol", "update", "nodename=n2", "state=down", "reason=silent")  # as after SlurmdTimeout
    cluster.wait_for(job, "PENDING", log)
    send(lost, signal.SIGKILL)
    cluster.start_slurmd("n2")  # which brings the node back (ReturnToService)
    cluster.wait_for(job, "COMPLETED", log)
    assert cluster.restarts(job) == 1
    assert not says(log, "told to end")
    assert differences(whole[2], outcome(only_run(runs / "runs"))) == []


def test_the_time_is_nearly_up(cluster: Cluster, whole: dict, short_of_time: tuple[str, Path]) -> None:
    job, log = short_of_time
    cluster.wait_for(job, "COMPLETED", log, timeout=300)
    assert cluster.restarts(job) == 1
    assert says(log, "told to end: everything up to step")
    assert differences(whole[1], outcome(only_run(log.parent / "runs"))) == []
