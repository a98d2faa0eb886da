import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from runs.training_process import Training, outcome
from slurm.cluster import ONE, TWO, Cluster


def free_ports(count: int) -> int:
    """The first of so many ports in a row that nobody listens on."""
    for port in range(21000, 60000, count):
        with ExitStack() as held:
            try:
                for offset in range(count):
                    held.enter_context(socket.socket()).bind(("127.0.0.1", port + offset))
            except OSError:
                continue
            return port
    raise AssertionError("no free ports")


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    cluster = Cluster(tmp_path_factory.mktemp("cluster"), free_ports(5))
    try:
        cluster.up()
        yield cluster
    finally:
        cluster.down()


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[int, dict]:
    """What a run must come to on one rank and on two: by plain commands without SLURM, which nobody interrupts."""
    folder = tmp_path_factory.mktemp("whole")
    commands = {1: ONE, 2: (*TWO, "trainer.devices=2")}
    trainings = {ranks: Training(folder / str(ranks), folder, *options) for ranks, options in commands.items()}
    for training in trainings.values():
        assert training.finish() == 0, training.output
    return {ranks: outcome(training.folder) for ranks, training in trainings.items()}


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    return tmp_path / "runs"
