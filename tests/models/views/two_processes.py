"""Run by test_two_processes: the gradient of each paper's loss on two gloo processes and on one with the joined batch."""

import itertools
import os
import socket
from typing import Any

import torch
from synthetic import synthetic_batch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from erlangen.models.views.barlow_twins import BarlowTwins
from erlangen.models.views.care import CARE
from erlangen.models.views.equicaps import EquiCaps
from erlangen.models.views.essl import ESSL
from erlangen.models.views.self_supervised import SelfSupervised
from erlangen.models.views.seq_jepa import SeqJEPA
from erlangen.models.views.sie import SIE
from erlangen.models.views.simclr import SimCLR
from erlangen.models.views.vicreg import VICReg
from erlangen.runs.pairing import default_data
from erlangen.tasks.batch import TensorBatch

SHARES = (slice(0, 4), slice(4, 12))
SIZES = {"blocks": [1], "channels": 8, "projector": [16]}
WEIGHTS = {"sim": 10.0, "std": 10.0, "cov": 1.0}
OBJECTS = default_data("3diebench").spec
IMAGES = default_data("cifar10").offered_to(frozenset({"views"})).spec


class Fixed(nn.Module):
    """An augmentation without chance, so that both sides meet the same images."""

    def view(self, images: Tensor, size: tuple[int, int] | None = None, share: int = 1) -> Tensor:
        return images[..., :16, :16] if size else images.flip(-1)


def papers() -> dict[str, SelfSupervised]:
    care = {"temperature": 0.5, "weight": 1.0, "group": 2, "bottleneck": False}
    capsules = {"capsules": 3, "motion": "rotation", "equi_factor": 5.0, **WEIGHTS}
    sequence = {"actions": ["rotation"], "augmentations": ["crop"], "action_channels": 8, "dropout": 0.0, "decay": 0.9}
    sequence |= {"heads": 2, "layers": 1, "hidden": 16}
    backbone = {"blocks": SIZES["blocks"], "channels": SIZES["channels"]}
    essl = {"temperature": 0.5, "weight": 1.0, "hidden": 16, "crop": 16}
    found = {
        "simclr": SimCLR(OBJECTS, **SIZES, temperature=0.5),
        "vicreg": VICReg(OBJECTS, **SIZES, **WEIGHTS),
        "barlow_twins": BarlowTwins(OBJECTS, **SIZES, redundancy=5e-3),
        "sie": SIE(OBJECTS, **SIZES, **WEIGHTS, equivariant=4, equi_factor=0.45),
        "essl of objects": ESSL(OBJECTS, **SIZES, **essl),
        "essl of images": ESSL(IMAGES, **SIZES, **essl),
        "care": CARE(IMAGES, **SIZES, **care),
        "equicaps": EquiCaps(OBJECTS, **backbone, **capsules),
        "seq_jepa": SeqJEPA(OBJECTS, **backbone, **sequence),
    }
    for paper in found.values():
        without_batch_norm(paper)
        paper.double()
    found["essl of images"].augment = Fixed()
    transforms = itertools.cycle([torch.tanh, torch.sin])
    found["care"].transform = lambda images, share: next(transforms)(images)
    return found


def without_batch_norm(module: nn.Module) -> None:
    for name, child in module.named_children():
        if isinstance(child, nn.BatchNorm1d | nn.BatchNorm2d):
            setattr(module, name, nn.Identity())
        without_batch_norm(child)


class Loss(nn.Module):
    def __init__(self, paper: SelfSupervised):
        super().__init__()
        self.paper = paper

    def forward(self, batch: Any) -> Tensor:
        return self.paper.loss(batch)


def batch_for(paper: SelfSupervised) -> TensorBatch:
    batch = synthetic_batch(paper.spec, 12).to(torch.float64)
    if paper.spec is IMAGES:
        source = batch.images[:, 0]
        batch = TensorBatch(images=torch.stack([source.tanh(), source.flip(-1)], 1), source=source)
    return batch


def gradients(module: nn.Module, batch: TensorBatch) -> list[Tensor]:
    module.zero_grad()
    module(batch).backward()
    return [p.grad.clone() for p in module.parameters() if p.requires_grad]  # a teacher's need none


def work(rank: int, port: int) -> None:
    os.environ |= {"MASTER_ADDR": "localhost", "MASTER_PORT": str(port), "GLOO_SOCKET_IFNAME": "lo"}
    torch.set_num_threads(1)
    torch.manual_seed(0)
    found = papers()
    alone = {name: gradients(Loss(paper), batch_for(paper)) for name, paper in found.items()}
    distributed.init_process_group("gloo", rank=rank, world_size=2)
    for name, paper in found.items():
        whole = batch_for(paper)
        mine = TensorBatch(**{field: whole[field][SHARES[rank]] for field in whole})
        for shared, one in zip(gradients(DistributedDataParallel(Loss(paper)), mine), alone[name], strict=True):
            assert float((shared - one).abs().max()) <= 1e-6 * max(1.0, float(one.abs().max())), name
        if rank == 0:
            print(name)
    distributed.destroy_process_group()


if __name__ == "__main__":
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        port = probe.getsockname()[1]
    torch.multiprocessing.spawn(work, (port,), nprocs=2)
