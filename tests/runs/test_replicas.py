"""What keeps processes alike, on one process; test_resume.py and test_many_processes.py have several."""

from collections.abc import Iterator

import pytest
import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

from erlangen.errors import UserError
from erlangen.runs.replicas import arrange_messages, check_gradients


@pytest.fixture
def process_group() -> Iterator[None]:
    distributed.init_process_group("gloo", rank=0, world_size=1, store=distributed.HashStore())
    yield
    distributed.destroy_process_group()


def test_messages_are_arranged_once_and_leave_no_trace(process_group: None) -> None:
    network = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2, dtype=torch.complex64))
    network[0].bias.requires_grad_(False)
    before = [parameter.clone() for parameter in network.parameters()]
    ddp = DistributedDataParallel(network)
    arrange_messages(ddp)
    assert all(parameter.grad is None for parameter in network.parameters())
    assert all(torch.equal(*pair) for pair in zip(before, network.parameters(), strict=True))
    assert "forward" not in vars(network)
    assert ddp.reducer._rebuild_buckets()  # what the first step would do
    assert not ddp.reducer._rebuild_buckets()


def test_what_gets_no_gradient_is_named() -> None:
    network = nn.ModuleDict({"used": nn.Linear(3, 1), "left": nn.Linear(3, 1), "frozen": nn.Linear(3, 1)})
    network["frozen"].requires_grad_(False)
    network["used"](torch.ones(3)).backward()
    with pytest.raises(UserError, match="and left.weight, left.bias got none: set their requires_grad to False"):
        check_gradients(network)
    network["left"].requires_grad_(False)
    check_gradients(network)
