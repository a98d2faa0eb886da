"""Run by test_ssl_losses: gradients under two gloo processes beside those of one process with the joined batch."""

import os
import socket
from collections.abc import Callable

import torch
from torch import Tensor, distributed, nn
from torch.nn.functional import mse_loss
from torch.nn.parallel import DistributedDataParallel

from erlangen.models.views.sie import Hypernetwork
from erlangen.nn.gather import gather
from erlangen.nn.ssl_losses import barlow_twins, nt_xent, regularization, variance, vicreg

SHARES = (slice(0, 5), slice(5, 12))


class Pair(nn.Module):
    """An encoder without batch norm, and a predictor that moves the first view's embedding."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(6, 16), nn.Tanh(), nn.Linear(16, 8))
        self.predictor = Hypernetwork(8)

    def forward(self, a: Tensor, b: Tensor, g: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        a = self.encoder(a)
        return a, self.encoder(b), self.predictor(a, g)


def sie(a: Tensor, b: Tensor, predicted: Tensor) -> Tensor:
    return mse_loss(predicted, b) + variance(predicted) / 2 + regularization(a, b, 1.0, 1.0)


LOSSES: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "vicreg": lambda a, b, p: vicreg(a, b, 10.0, 10.0, 1.0) + 0 * p.sum(),
    "nt_xent": lambda a, b, p: nt_xent(a, b, 0.1) + 0 * p.sum(),
    "barlow_twins": lambda a, b, p: barlow_twins(a, b, 5e-3) + 0 * p.sum(),
    "sie": sie,
}


def gradients(model: nn.Module, loss: Callable, *inputs: Tensor) -> list[Tensor]:
    model.zero_grad()
    loss(*(gather(output) for output in model(*inputs))).backward()
    return [parameter.grad.clone() for parameter in model.parameters()]


def work(rank: int, port: int) -> None:
    os.environ |= {"MASTER_ADDR": "localhost", "MASTER_PORT": str(port), "GLOO_SOCKET_IFNAME": "lo"}
    torch.manual_seed(0)
    inputs = [torch.randn(12, size, dtype=torch.float64) for size in (6, 6, 4)]
    model = Pair().double()
    alone = {name: gradients(model, loss, *inputs) for name, loss in LOSSES.items()}
    distributed.init_process_group("gloo", rank=rank, world_size=2)
    parallel = DistributedDataParallel(model)
    mine = [tensor[SHARES[rank]] for tensor in inputs]
    for name, loss in LOSSES.items():
        for shared, one in zip(gradients(parallel, loss, *mine), alone[name], strict=True):
            assert float((shared - one).abs().max()) <= 1e-6 * max(1.0, float(one.abs().max())), name
        if rank == 0:
            print(name)
    # The last to hold the group must not be the wrapper: freed by Python, it joins gloo's threads while these wait for Python.
    del parallel
    distributed.destroy_process_group()


if __name__ == "__main__":
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        port = probe.getsockname()[1]
    torch.multiprocessing.spawn(work, (port,), nprocs=2)
