"""The backbones of images: the published sizes, and what makes each of them what it is."""

import pytest
import torch
from pictures import batch_of, published, size, spec

from erlangen.datamodules.cifar import CIFAR10
from erlangen.datamodules.digits import Digits
from erlangen.errors import UserError
from erlangen.models.images.classifier import Classifier
from erlangen.models.images.mlp import Linear
from erlangen.models.images.resnet import BasicBlock, SubsampleAndPad
from erlangen.models.images.vit import SelfAttention, Transformer, ViT
from erlangen.nn.standardize import Standardize
from erlangen.tasks.batch import TensorBatch
from erlangen.tasks.classification import Classification

BACKBONES = ("resnet", "resnet32", "resnet18", "vit", "mlp", "cnn", "linear")


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("resnet", 269_722),  # "0.27M", table 6 of arXiv:1512.03385
        ("resnet32", 464_154),  # "0.46M"
        ("resnet18", 11_173_962),
        ("linear", 30_730),
    ],
)
def test_the_published_sizes(name: str, parameters: int) -> None:
    with torch.device("meta"):
        assert size(published(name, spec())) == parameters


def test_the_size_of_a_residual_network_adds_up() -> None:
    """Convolutions and batch norms of n blocks a stage, counted by hand: option A has no parameters."""
    for name, n in (("resnet", 3), ("resnet32", 5)):
        convolutions = 27 * 16 + 9 * (2 * n * 16**2 + 16 * 32 + (2 * n - 1) * 32**2 + 32 * 64 + (2 * n - 1) * 64**2)
        norms = 2 * (16 + 2 * n * (16 + 32 + 64))
        with torch.device("meta"):
            assert size(published(name, spec())) == convolutions + norms + 64 * 10 + 10


def test_the_size_of_a_transformer_adds_up() -> None:
    d, hidden, layers, patches = 128, 256, 6, 64
    layer = 4 * d * d + 4 * d + 2 * d * hidden + hidden + d + 4 * d
    expected = 48 * d + d + d + (patches + 1) * d + layers * layer + 2 * d + 10 * d + 10
    with torch.device("meta"):
        assert size(published("vit", spec())) == expected


@pytest.mark.parametrize("name", BACKBONES)
@pytest.mark.parametrize(("channels", "pixels", "classes"), [(3, 32, 10), (1, 28, 10), (1, 8, 10), (3, 32, 100)])
def test_any_images_to_features_to_logits(name: str, channels: int, pixels: int, classes: int) -> None:
    of = spec(channels, pixels, classes)
    network = published(name, of).network.eval()
    batch = batch_of(of, 2)
    features = network.features(batch)
    assert features.shape == (2, network.feature_channels)
    assert torch.equal(network(batch)["label"], network.head(features))
    assert network.head(features).shape == (2, classes)


@pytest.mark.parametrize("name", ["resnet", "resnet32", "resnet18", "vit"])
def test_one_step_at_the_published_width(name: str) -> None:
    network, batch = published(name, spec()).network.train(), batch_of(spec(), 2)
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-3)
    before = [p.detach().clone() for p in network.parameters()]
    loss = torch.nn.functional.cross_entropy(network(batch)["label"], batch.label)
    loss.backward()
    optimizer.step()
    assert loss.isfinite()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())
    assert sum((p.detach() != w).any() for p, w in zip(network.parameters(), before, strict=True)) > len(before) // 2


def test_a_head_can_be_replaced() -> None:
    network = published("resnet", spec()).network.eval()
    batch = batch_of(spec())
    network.head = torch.nn.Identity()
    assert torch.equal(network(batch)["label"], network.features(batch))


@pytest.mark.parametrize("name", ["resnet", "vit", "cnn", "linear"])
def test_preparing_standardises_by_the_training_split(name: str) -> None:
    paper = published(name, spec())
    split = [0.2 + 0.1 * torch.rand(50, 3, 32, 32), 0.6 + 0.1 * torch.rand(30, 3, 32, 32)]
    paper.prepare(Classification(spec()), {}, lambda: [TensorBatch(image=images) for images in split])
    (module,) = (module for module in paper.network.modules() if isinstance(module, Standardize))
    images = torch.cat(split)
    torch.testing.assert_close(module.mean, images.mean((0, 2, 3)))
    torch.testing.assert_close(module.std, images.std((0, 2, 3), unbiased=False))
    assert {"network.standardize.mean", "network.standardize.std"} <= set(paper.state_dict())


def test_a_wrapped_network_is_standardised_too() -> None:
    paper = published("cnn", spec())
    paper.network = torch.nn.Sequential(paper.network)
    paper.prepare(Classification(spec()), {}, lambda: [TensorBatch(image=torch.full((5, 3, 32, 32), 0.3))])
    assert paper.network[0].standardize.mean.tolist() == pytest.approx([0.3] * 3)


def test_a_block_without_residual_is_its_shortcut() -> None:
    """Eq. (1) with F = 0: option A takes every second pixel and fills new channels with zeros."""
    block = BasicBlock(4, 8, 2, "pad").eval()
    torch.nn.init.zeros_(block.residual[-1].weight)
    x = torch.randn(2, 4, 6, 6)
    y = block(x)
    assert torch.equal(y[:, :4], x[:, :, ::2, ::2].relu())
    assert not y[:, 4:].any()
    assert not list(SubsampleAndPad(2, 4).parameters())
    same = BasicBlock(4, 4, 1, "pad").eval()
    torch.nn.init.zeros_(same.residual[-1].weight)
    assert torch.equal(same(x), x.relu())


def test_stages_halve_the_resolution() -> None:
    backbone = published("resnet", spec()).network.backbone.eval()
    shapes = []
    for layer in backbone.layers:
        layer.register_forward_hook(lambda _, __, output: shapes.append(tuple(output.shape[1:])))
    backbone(torch.rand(1, 3, 32, 32))
    assert shapes == [(16, 32, 32)] * 3 + [(32, 16, 16)] * 3 + [(64, 8, 8)] * 3


def test_attention_is_the_softmax_of_the_papers_equations() -> None:
    """Eqs. (5)-(8), written out head by head."""
    module = SelfAttention(12, 3).double()
    z = torch.randn(2, 5, 12, dtype=torch.float64)
    q, k, v = module.qkv(z).split(12, -1)
    heads = []
    for part in (slice(0, 4), slice(4, 8), slice(8, 12)):
        weights = (q[..., part] @ k[..., part].mT / 2.0).softmax(-1)
        heads.append(weights @ v[..., part])
    torch.testing.assert_close(module(z), module.out(torch.cat(heads, -1)))


def test_only_its_positions_tell_a_transformer_where_a_patch_was() -> None:
    """Without them the class token does not notice when patches change place."""
    backbone = Transformer(3, 4, 16, 2, 16, 2, 32, 0.0).double().eval()
    images = torch.rand(2, 3, 16, 16, dtype=torch.float64)
    patches = images.unfold(2, 4, 4).unfold(3, 4, 4).flatten(2, 3)[:, :, torch.randperm(16)]
    shuffled = patches.unflatten(2, (4, 4)).transpose(3, 4).flatten(4, 5).flatten(2, 3)
    assert not torch.allclose(backbone(images), backbone(shuffled))
    torch.nn.init.zeros_(backbone.positions)
    torch.testing.assert_close(backbone(images), backbone(shuffled), rtol=1e-9, atol=1e-9)


def test_the_linear_floor_is_linear() -> None:
    network = Linear(spec()).network.double()
    a, b = torch.rand(2, 4, 3, 32, 32, dtype=torch.float64)

    def logits(images: torch.Tensor) -> torch.Tensor:
        return network(TensorBatch(image=images))["label"]

    torch.testing.assert_close(logits(0.3 * a + 0.7 * b), 0.3 * logits(a) + 0.7 * logits(b))


def test_none_promises_a_symmetry() -> None:
    for name in BACKBONES:
        assert published(name, spec()).symmetries == ()


def test_patches_and_heads_must_divide() -> None:
    options = {"layers": 1, "channels": 12, "hidden": 8, "dropout": 0.0}
    with pytest.raises(UserError, match="patch=5 does not divide the 32 x 32 pixels of pictures"):
        ViT(spec(), patch=5, heads=3, **options)
    with pytest.raises(UserError, match="heads=5 does not divide model.channels=12"):
        ViT(spec(), patch=4, heads=5, **options)


def test_the_spec_of_every_benchmark_of_images_is_enough() -> None:
    """A network can be built before any data are there."""
    options = {"seed": 1, "batch_size": 8, "eval_batch_size": 8, "val_fraction": 0.1, "split_seed": 42}
    for data in (CIFAR10("nowhere", source="miniature", **options), Digits("nowhere", **options)):
        assert isinstance(published("cnn", data.spec).network, Classifier)
