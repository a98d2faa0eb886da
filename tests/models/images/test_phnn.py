"""Networks of parameterized hypercomplex layers: published sizes, one step, and that n = 1 is the real network."""

import pytest
import torch
from torch import nn

from erlangen.errors import UserError
from erlangen.models.images.phnn import Grey
from erlangen.models.paper import Paper
from erlangen.nn.hypercomplex import Hypercomplex, PHMConv2d, PHMLinear
from erlangen.runs.assemble import build
from erlangen.runs.config import compose_config, resolved
from erlangen.tasks.batch import TensorBatch
from erlangen.tasks.spec import Field, Spec, Target


def spec(channels: int = 3, size: int = 32) -> Spec:
    return Spec(
        benchmark="pictures",
        modality="images",
        split="all",
        source="miniature",
        fields={"image": Field(level="graph", shape=(channels, size, size))},
        targets=(Target(name="label", classes=10),),
    )


def paper(*overrides: str, of: Spec | None = None) -> Paper:
    return build(resolved(*compose_config([*overrides, "data=cifar10"]))["model"], spec=of or spec())


def size(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def kinds(module: nn.Module, kind: type[nn.Module]) -> list[nn.Module]:
    return [part for part in module.modules() if isinstance(part, kind)]


def test_the_published_sizes() -> None:
    """All convolutions of ResNet-18 at a quarter, its stem with a fourth colour, and 64 numbers of algebra each."""
    with torch.device("meta"):
        real, quaternion = paper("model=resnet18"), paper("model=phnn")
    convolutions = kinds(real, nn.Conv2d)
    weights = size(nn.ModuleList(convolutions)) + 9 * 64
    rest = size(real) - size(nn.ModuleList(convolutions))
    assert size(quaternion) == weights // 4 + len(convolutions) * 64 + rest
    assert size(quaternion) == pytest.approx(size(real) / 4, rel=0.01)
    assert len(kinds(quaternion, PHMConv2d)) == len(convolutions) == 20
    assert not kinds(quaternion, nn.Conv2d)


@pytest.mark.parametrize("model", ["phnn", "phm"])
def test_one_step_at_the_published_width(model: str) -> None:
    module = paper(f"model={model}").network.train()
    batch = TensorBatch(image=torch.rand(2, 3, 32, 32), label=torch.arange(2), id=torch.arange(2))
    optimizer = torch.optim.SGD(module.parameters(), lr=0.01)
    before = [p.detach().clone() for p in module.parameters()]
    nn.functional.cross_entropy(module(batch)["label"], batch.label).backward()
    optimizer.step()
    for p, old in zip(module.parameters(), before, strict=True):
        assert p.isfinite().all()
        assert not torch.equal(p, old)


@pytest.mark.parametrize(("model", "twin"), [("phnn", "resnet"), ("phm", "vit")])
def test_an_algebra_of_one_dimension_is_the_real_network(model: str, twin: str) -> None:
    small = ["model.blocks=[1,1]", "model.channels=8"] if model == "phnn" else ["model.layers=2"]
    shortcut = ["model.shortcut=project"] if model == "phnn" else []
    ours = paper(f"model={model}", "model.n=1", *small, *shortcut).network.double().eval()
    real = paper(f"model={twin}", *small, *shortcut).network.double().eval()
    kind = nn.Conv2d if model == "phnn" else nn.Linear
    replaced = kinds(real.backbone, kind)
    with torch.no_grad():
        for layer, plain in zip(kinds(ours, Hypercomplex), replaced, strict=True):
            layer.a.fill_(1)
            plain.weight.copy_(layer.weight)
            if isinstance(layer, PHMLinear):
                plain.bias.copy_(layer.bias)
        if model == "phm":
            for name in ("class_token", "positions"):
                getattr(real.backbone, name).copy_(getattr(ours.backbone, name))
            real.backbone.embedding.load_state_dict(ours.backbone.embedding.state_dict())
        real.head.load_state_dict(ours.head.state_dict())
    batch = TensorBatch(image=torch.rand(2, 3, 32, 32, dtype=torch.float64))
    torch.testing.assert_close(ours(batch)["label"], real(batch)["label"])


def test_the_transformer_has_a_quarter_of_the_weights() -> None:
    with torch.device("meta"):
        real, quaternion = paper("model=vit"), paper("model=phm")
    linear = sum(layer.weight.numel() for layer in kinds(real.network.backbone, nn.Linear))
    assert size(real) - size(quaternion) == linear * 3 // 4 - len(kinds(quaternion, PHMLinear)) * 64


@pytest.mark.parametrize(("channels", "n", "expected"), [(3, 4, 4), (3, 3, 3), (1, 4, 4), (3, 2, 4), (3, 1, 3)])
def test_grey_fills_up_the_channels(channels: int, n: int, expected: int) -> None:
    grey, images = Grey(channels, n), torch.rand(2, channels, 5, 5)
    out = grey(images)
    assert out.shape == (2, expected, 5, 5)
    assert grey.channels == expected
    assert torch.equal(out[:, expected - channels :], images)
    assert torch.equal(
        out[:, : expected - channels], images.mean(1, keepdim=True).expand_as(out[:, : expected - channels])
    )


@pytest.mark.parametrize("model", ["phnn", "phm"])
def test_n_must_divide_the_channels(model: str) -> None:
    with pytest.raises(UserError, match=r"model.n=5 .*128|model.n=5 does not divide model.channels=64"):
        paper(f"model={model}", "model.n=5")
    with pytest.raises(UserError, match="shortcut must be pad or project"):
        paper("model=phnn", "model.shortcut=none")
