"""E-SSL and CARE: SimCLR with one more term, which is zero just where it should be."""

import pytest
import torch
from synthetic import synthetic_batch
from torch import Tensor

from erlangen.errors import UserError
from erlangen.models.views.care import CARE
from erlangen.models.views.essl import ESSL
from erlangen.models.views.simclr import SimCLR
from erlangen.nn.view_pairs import SimCLRViews
from erlangen.runs.assemble import build_paper
from erlangen.runs.config import compose_config, resolved
from erlangen.runs.pairing import default_data
from erlangen.tasks.batch import TensorBatch
from erlangen.tasks.spec import Spec

SIZES = {"blocks": [1, 1], "channels": 8, "projector": [24, 16], "temperature": 0.5}
TURNS = {"hidden": 16, "crop": 16}
GROUPS = {"bottleneck": False, "group": 4}
SIMCLR = {
    "flip": 0.5,
    "jitter": [0.4, 0.4, 0.4, 0.1],
    "jitter_chance": 0.8,
    "gray": 0.2,
    "blur": 0.0,
    "sigma": [0.1, 2.0],
}
OBJECTS = default_data("3diebench").spec
IMAGES = default_data("cifar10").offered_to(SimCLR.modalities).spec


def pair_of_views(spec: Spec, count: int = 8) -> TensorBatch:
    """As the augmentation leaves it."""
    batch = synthetic_batch(spec, count)
    if spec.fields["images"].shape[0] == 1:
        batch = SimCLRViews(spec, scale=[0.2, 1.0], **SIMCLR)(TensorBatch(images=batch.images.sigmoid(), id=batch.id))
    return batch


def losses_and_gradients(paper: SimCLR | ESSL | CARE, batch: TensorBatch) -> tuple[Tensor, dict[str, Tensor]]:
    loss = paper.loss(batch)
    loss.backward()
    return loss.detach(), {name: p.grad for name, p in paper.named_parameters()}


@pytest.mark.parametrize("spec", [OBJECTS, IMAGES], ids=["objects", "images"])
@pytest.mark.parametrize("kind", ["essl", "care"])
def test_with_weight_zero_it_is_simclr(kind: str, spec: Spec) -> None:
    """The same parameters, the same loss and the same gradients, to the last bit."""
    torch.manual_seed(0)
    simclr = SimCLR(spec, **SIZES)
    torch.manual_seed(0)
    other = ESSL(spec, **SIZES, **TURNS, weight=0.0) if kind == "essl" else CARE(spec, **SIZES, **GROUPS, weight=0.0)
    assert all(torch.equal(value, other.state_dict()[name]) for name, value in simclr.state_dict().items())
    assert other.state_dict().keys() == simclr.state_dict().keys()
    batch = pair_of_views(spec)
    (loss, gradients), (again, others) = losses_and_gradients(simclr, batch), losses_and_gradients(other, batch)
    assert loss > 0
    assert torch.equal(loss, again)
    assert gradients.keys() == others.keys()
    assert all(torch.equal(gradients[name], others[name]) for name in gradients)


def test_essl_of_objects_asks_for_the_rotation_between_two_views() -> None:
    """Whoever knows it pays SimCLR's loss alone; whoever is off by 0.1 in every component pays 0.01 more, weighted."""
    batch = pair_of_views(OBJECTS)
    paper = ESSL(OBJECTS, **SIZES, **TURNS, weight=0.4)
    plain = SimCLR(OBJECTS, **SIZES)
    plain.network.load_state_dict(paper.network.state_dict())
    expected = plain.loss(batch)
    seen = []
    paper.predictor.forward = lambda inputs: seen.append(inputs) or batch.rotation[:, 0]
    torch.testing.assert_close(paper.loss(batch), expected)
    assert seen[0].shape == (8, 2 * 16)
    paper.predictor.forward = lambda inputs: batch.rotation[:, 0] + 0.1
    torch.testing.assert_close(paper.loss(batch), expected + 0.4 * 0.01)


def test_essl_of_images_asks_for_quarter_turns() -> None:
    """A "network" that sees in which corner the bright quarter of an image lies, and a predictor that believes it."""
    paper = ESSL(IMAGES, **SIZES, **TURNS, weight=1.0)
    paper.augment = SimCLRViews(IMAGES, scale=[1.0, 1.0], **{**SIMCLR, "flip": 0.0, "jitter_chance": 0.0, "gray": 0.0})
    source = torch.zeros(5, 3, 32, 32)
    source[..., :16, :16] = 1
    seen = []

    def corner(images: Tensor) -> Tensor:
        """The brightness of the four corners, counter-clockwise from the upper left one."""
        seen.append(images.shape)
        return torch.stack([images[:, 0, y, x] for y, x in ((2, 2), (-3, 2), (-3, -3), (2, -3))], -1)

    paper.network.backbone.forward = corner
    paper.predictor.forward = lambda features: 100 * features
    batch = TensorBatch(images=source[:, None], source=source)
    assert paper.quarter_turn_loss(batch).abs().max() < 1e-6
    assert seen == [(20, 3, 16, 16)]
    paper.predictor.forward = lambda features: 0 * features
    torch.testing.assert_close(paper.quarter_turn_loss(batch), torch.full((5,), 4.0).log())


def planted(transform) -> CARE:
    """CARE whose embedding are the pixels, scaled to unit length."""
    paper = CARE(IMAGES, **SIZES, **GROUPS, weight=1.0)
    paper.embed = lambda images: torch.nn.functional.normalize(images.flatten(1), dim=-1)
    paper.transform = transform
    return paper


def test_cares_term_is_zero_where_the_action_is_orthogonal() -> None:
    """A quarter turn or a reflection permutes the pixels, an orthogonal matrix; to darken a half is none."""
    batch = pair_of_views(IMAGES)
    turns = iter([0, 1, 2, 3])
    assert planted(lambda images, share: images.rot90(next(turns), (-2, -1))).deviation(batch).max() < 1e-12
    flips = iter([True, False])
    flipped = planted(lambda images, share: images.flip(-1) if next(flips) else images)
    assert flipped.deviation(batch).max() < 1e-12
    shades = iter([torch.linspace(0.5, 1, 32), torch.ones(32)])
    assert planted(lambda images, share: images * next(shades)).deviation(batch).min() > 1e-6


def test_care_transforms_each_group_by_itself() -> None:
    """Nine images in groups of four: two groups, the ninth is left over; all of a group are turned alike."""
    paper = CARE(OBJECTS, **SIZES, **GROUPS, weight=1.0)
    assert paper.deviation(pair_of_views(OBJECTS, 9)).shape == (2,)
    image = torch.rand(1, 3, 64, 64).expand(8, 3, 64, 64)
    turned = paper.transform(image, 4).unflatten(0, (2, 4))
    assert torch.equal(turned, turned[:, :1].expand_as(turned))
    assert not torch.allclose(turned[0], turned[1])


def test_care_is_the_sum_of_its_terms() -> None:
    batch = pair_of_views(OBJECTS)
    plain, paper = SimCLR(OBJECTS, **SIZES), CARE(OBJECTS, **SIZES, **GROUPS, weight=0.5)
    plain.network.load_state_dict(paper.network.state_dict())
    torch.manual_seed(1)
    term = paper.deviation(batch)
    assert term.min() > 0
    torch.manual_seed(1)
    torch.testing.assert_close(paper.loss(batch), plain.loss(batch) + 0.5 * term.mean())


def test_the_recipes_have_the_published_sizes() -> None:
    """ResNet-18 and ResNet-50 with CIFAR's stem, without their classifiers (torchvision's 23,508,032, the stem replaced)."""
    for name, backbone in (("essl_cifar10", 11_168_832), ("care_cifar10", 23_508_032 - 3 * 64 * (49 - 9))):
        config = resolved(*compose_config([f"experiment={name}"]))
        with torch.device("meta"):
            paper = build_paper(config, IMAGES)
        assert sum(p.numel() for p in paper.network.backbone.parameters()) == backbone
        assert isinstance(paper.augment, SimCLRViews)


def test_wrong_options_are_named() -> None:
    with pytest.raises(UserError, match=r"model.crop 8 or more, not 0.5, 0.4 and 4"):
        ESSL(IMAGES, **SIZES, hidden=16, crop=4, weight=0.4)
    with pytest.raises(UserError, match="model.group 2 or more"):
        CARE(IMAGES, **SIZES, bottleneck=False, group=1, weight=0.4)
