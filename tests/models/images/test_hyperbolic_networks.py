"""HCNN and Poincaré ResNet: published sizes, one step at full width, and without curvature the Euclidean networks."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from erlangen.errors import UserError
from erlangen.models.images.poincare_resnet import PoincareBlock
from erlangen.models.paper import Paper
from erlangen.nn.hyperbolic import HyperbolicBatchNorm, projected_share
from erlangen.nn.hyperbolic_lorentz import LorentzBatchNorm, LorentzConv2d
from erlangen.nn.hyperbolic_poincare import PoincareBatchNorm, PoincareConv2d, PoincareReLU, ToSpace
from erlangen.nn.hypercomplex import replaced
from erlangen.optim.joint import Joint
from erlangen.runs.assemble import build_paper
from erlangen.runs.config import compose_config, resolved
from erlangen.tasks.batch import TensorBatch
from erlangen.tasks.spec import Field, Spec, Target

FLAT = 1e-12
SPEC = Spec(
    benchmark="pictures",
    modality="images",
    split="all",
    source="miniature",
    fields={"image": Field(level="graph", shape=(3, 32, 32))},
    targets=(Target(name="label", classes=10),),
)
MODELS = ("hcnn", "poincare_resnet")


def paper(*overrides: str) -> Paper:
    return build_paper(resolved(*compose_config([*overrides, "data=cifar10"])), SPEC)


def size(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def batch(count: int = 2, dtype: torch.dtype = torch.float32) -> TensorBatch:
    label = torch.arange(count) % 10
    return TensorBatch(image=torch.randn(count, 3, 32, 32, dtype=dtype), label=label, id=torch.arange(count))


def test_the_published_size_of_hcnn() -> None:
    """ResNet-18 with a bias and a column for time in each convolution, means of n and variances of 1 numbers."""
    with torch.device("meta"):
        ours, plain = paper("model=hcnn"), paper("model=resnet18")
    convolutions = [module for module in plain.modules() if isinstance(module, nn.Conv2d)]
    norms = [module for module in plain.modules() if isinstance(module, nn.BatchNorm2d)]
    more = sum(2 * layer.out_channels for layer in convolutions)
    fewer = sum(layer.num_features - 1 for layer in norms)
    assert size(ours) == size(plain) + more - fewer == 11_178_782
    assert len(convolutions) == len(norms) == 20


def test_the_published_sizes_of_poincare_resnets() -> None:
    """Convolutions with biases, a mean and a variance for each batch norm, 1 x 1 shortcuts into stages 2 and 3."""
    for name, n, published in (("poincare_resnet", 3, 68_757), ("poincare_resnet32", 5, 117_601)):
        widths = [8] * (2 * n) + [16] * (2 * n) + [32] * (2 * n)
        inputs = [3, *[8] * (2 * n + 1), *[16] * (2 * n), *[32] * (2 * n - 1)]
        layers = [9 * i * o + 2 * o + 1 for i, o in zip(inputs, [8, *widths], strict=True)]
        shortcuts = 8 * 16 + 16 + 16 * 32 + 32
        with torch.device("meta"):
            assert size(paper(f"model={name}")) == sum(layers) + shortcuts + 330 == published


@pytest.mark.parametrize("model", MODELS)
def test_one_step_at_the_published_width(model: str) -> None:
    config = resolved(*compose_config([f"model={model}", "data=cifar10", "optimizer=sgd"]))
    module = build_paper(config, SPEC).train()
    optimizer = module.recipe.optimizer(module.param_groups())
    assert isinstance(optimizer, Joint) == (model == "hcnn")
    before = {name: p.detach().clone() for name, p in module.named_parameters()}
    data = batch()
    cross_entropy(module.network(data)["label"], data.label).backward()
    optimizer.step()
    assert 0 <= projected_share(module) < 0.1
    for name, p in module.named_parameters():
        assert p.isfinite().all(), name
        assert not torch.equal(p, before[name]), name


class EuclideanNorm(nn.Module):
    """The batch norm that remains without curvature: one variance for all channels."""

    def __init__(self, norm: HyperbolicBatchNorm):
        super().__init__()
        self.scale = 1.0 if isinstance(norm, LorentzBatchNorm) else 2.0  # of space parts, in tangent vectors
        self.gamma, self.beta, self.eps = norm.gamma, norm.beta, norm.eps

    def forward(self, x: Tensor) -> Tensor:
        centred = x - x.mean((0, 2, 3), keepdim=True)
        variance = self.scale**2 * centred.square().sum(1).mean()
        return self.gamma * centred / (variance + self.eps).sqrt() + self.beta.view(-1, 1, 1)


def plain_convolution(layer: LorentzConv2d | PoincareConv2d) -> nn.Conv2d:
    """The same convolution without curvature."""
    lorentzian = isinstance(layer, LorentzConv2d)
    weight = layer.weight if lorentzian else 2 * layer.ratio * layer.z
    bias = layer.bias if lorentzian else -2 * layer.r * layer.z.flatten(1).norm(dim=1)
    outputs, inputs, kernel, _ = weight.shape
    plain = nn.Conv2d(inputs, outputs, kernel, layer.stride, layer.padding).double()
    with torch.no_grad():
        plain.weight.copy_(weight)
        plain.bias.copy_(bias)
    return plain


class Sum(nn.Module):
    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return x + y


@pytest.mark.parametrize("model", MODELS)
def test_without_curvature_the_whole_network_is_euclidean(model: str) -> None:
    small = ["model.blocks=[1,1]", "model.channels=8" if model == "hcnn" else "model.channels=[4,8]"]
    network = paper(f"model={model}", *small, f"model.c={FLAT}").network.double().train()
    with torch.no_grad():
        for p in network.parameters():
            p.add_(0.1 * torch.randn_like(p))
    data = batch(4, torch.float64)
    ours = network(data)["label"]
    stages, head = network.backbone, network.head
    for kind, make in (
        (LorentzConv2d, plain_convolution),
        (PoincareConv2d, plain_convolution),
        (HyperbolicBatchNorm, EuclideanNorm),
    ):
        replaced(stages, kind, make)
    replaced(stages, PoincareReLU, lambda _: nn.ReLU())
    replaced(stages, ToSpace, lambda _: nn.Identity())
    for block in (module for module in stages.modules() if isinstance(module, PoincareBlock)):
        block.sum = Sum()
    features = stages.layers(stages.stem(data.image)).mean((2, 3))
    if model == "hcnn":
        expected = features @ head.z.T - head.a * head.z.norm(dim=1)
    else:
        expected = 4 * (features @ head.z.T - head.r * head.z.norm(dim=1))
    assert ours.std() > 0.01
    torch.testing.assert_close(ours, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("model", MODELS)
def test_curvature_changes_the_network(model: str) -> None:
    small = ["model.blocks=[1,1]", "model.channels=8" if model == "hcnn" else "model.channels=[4,8]"]
    flat, curved = (paper(f"model={model}", *small, f"model.c={c}").network.double().train() for c in (FLAT, 1.0))
    curved.load_state_dict(flat.state_dict())
    data = batch(4, torch.float64)
    assert (flat(data)["label"] - curved(data)["label"]).abs().max() > 0.01


def test_all_normalisations_and_convolutions_are_hyperbolic() -> None:
    for model, convolution, norm in (
        ("hcnn", LorentzConv2d, LorentzBatchNorm),
        ("poincare_resnet", PoincareConv2d, PoincareBatchNorm),
    ):
        modules = list(paper(f"model={model}").network.modules())
        assert not any(isinstance(module, (nn.Conv2d, nn.BatchNorm2d, nn.Linear)) for module in modules)
        assert any(isinstance(module, convolution) for module in modules)
        assert any(isinstance(module, norm) for module in modules)


@pytest.mark.slow
@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("precision", [torch.bfloat16, torch.float32])
def test_a_thousand_steps_at_a_large_learning_rate_stay_finite(model: str, precision: torch.dtype) -> None:
    small = ["model.blocks=[1,1]", "model.channels=8" if model == "hcnn" else "model.channels=[4,8]"]
    config = resolved(*compose_config([f"model={model}", *small, "data=cifar10", "optimizer=sgd", "optimizer.lr=3"]))
    module = build_paper(config, SPEC).train()
    optimizer = module.recipe.optimizer(module.param_groups())
    data = TensorBatch(image=10 * torch.randn(8, 3, 8, 8), label=torch.arange(8), id=torch.arange(8))
    for _ in range(1000):
        optimizer.zero_grad()
        with torch.autocast("cpu", precision, enabled=precision == torch.bfloat16):
            loss = cross_entropy(module.network(data)["label"].float(), data.label)
        loss.backward()
        optimizer.step()
        assert loss.isfinite()
    assert all(p.isfinite().all() for p in module.parameters())
    assert projected_share(module) > 0  # it did go beyond the edge


@pytest.mark.parametrize("model", MODELS)
def test_curvature_must_be_negative(model: str) -> None:
    with pytest.raises(UserError, match="model.c=0.0: the curvature is -c"):
        paper(f"model={model}", "model.c=0.0")


def test_stages_and_widths_must_match() -> None:
    with pytest.raises(UserError, match="one number each for every stage"):
        paper("model=poincare_resnet", "model.blocks=[1,1]")
    with pytest.raises(UserError, match="shortcut must be pad or project"):
        paper("model=hcnn", "model.shortcut=none")
