"""Run by test_representation: a representation scored by two gloo processes, and by one with all samples."""

import os
import socket

import torch
from test_representation import batches, knows_everything, knows_the_class, task
from torch import distributed


def scored(represent, mine: list) -> dict[str, float]:
    one = task()
    for batch in mine:
        one.score("val", represent, batch)
    return {name: float(value) for name, value in one.compute("val").items()}


def work(rank: int, port: int) -> None:
    os.environ |= {"MASTER_ADDR": "localhost", "MASTER_PORT": str(port), "GLOO_SOCKET_IFNAME": "lo"}
    torch.set_num_threads(1)
    everything = batches(40, 2)
    alone = {represent: scored(represent, everything) for represent in (knows_everything, knows_the_class)}
    distributed.init_process_group("gloo", rank=rank, world_size=2)
    for represent, expected in alone.items():
        found = scored(represent, everything[rank::2])  # three batches and two
        assert found.keys() == expected.keys()
        for name, value in expected.items():
            assert abs(found[name] - value) <= 1e-6 * max(1, abs(value)), (name, found[name], value)
    distributed.destroy_process_group()


if __name__ == "__main__":
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        port = probe.getsockname()[1]
    torch.multiprocessing.spawn(work, (port,), nprocs=2)
