"""A benchmark of pictures in a few numbers, and networks at the size of their conf/model file."""

import torch

from erlangen.models.paper import Paper
from erlangen.runs.assemble import build
from erlangen.runs.config import compose_config, resolved
from erlangen.tasks.batch import TensorBatch
from erlangen.tasks.spec import Field, Spec, Target


def spec(channels: int = 3, size: int = 32, classes: int = 10) -> Spec:
    return Spec(
        benchmark="pictures",
        modality="images",
        split="all",
        source="miniature",
        fields={"image": Field(level="graph", shape=(channels, size, size))},
        targets=(Target(name="label", classes=classes),),
    )


def published(name: str, of: Spec) -> Paper:
    return build(resolved(*compose_config([f"model={name}", "data=cifar10"]))["model"], spec=of)


def size(module: torch.nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def batch_of(of: Spec, count: int = 4) -> TensorBatch:
    label = torch.arange(count) % of.targets[0].classes
    return TensorBatch(image=torch.rand(count, *of.fields["image"].shape), label=label, id=torch.arange(count))
