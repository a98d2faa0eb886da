"""SimCLR's views: the seed decides, groups share what they are to share, and only the images change."""

import dataclasses

import pytest
import torch

from erlangen.datamodules.sampling import seed_for, set_seed
from erlangen.errors import UserError
from erlangen.nn.view_pairs import SimCLRViews
from erlangen.tasks.batch import TensorBatch
from erlangen.tasks.spec import Field, Spec

SPEC = Spec("pictures", "views", "all", "miniature", (), {"images": Field(level="graph", shape=(1, 3, 32, 32))})
SIMCLR = {
    "scale": [0.2, 1.0],
    "flip": 0.5,
    "jitter": [0.4, 0.4, 0.4, 0.1],
    "jitter_chance": 0.8,
    "gray": 0.2,
    "blur": 0.5,
    "sigma": [0.1, 2.0],
}


def batch_of(count: int) -> TensorBatch:
    images = torch.rand(count, 1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    return TensorBatch(images=images, label=torch.arange(count) % 10, id=torch.arange(count))


def views(**options: object) -> SimCLRViews:
    return SimCLRViews(SPEC, **{**SIMCLR, **options})


def test_one_view_becomes_two_and_the_image_is_kept() -> None:
    batch = batch_of(6)
    found = views()(batch)
    assert found.images.shape == (6, 2, 3, 32, 32)
    assert found.images.min() >= 0
    assert found.images.max() <= 1
    assert torch.equal(found.source, batch.images[:, 0])
    assert torch.equal(found.label, batch.label)
    assert batch.images.shape == (6, 1, 3, 32, 32)  # as it was
    assert ((found.images[:, 0] - found.images[:, 1]).abs().flatten(1).max(1).values > 0.05).all()


def test_the_place_in_the_run_decides() -> None:
    """Seed, rank, epoch and step, as the trainer seeds every batch; a batch before it changes nothing."""
    augment, batch = views(), batch_of(8)

    def at(*place: int) -> torch.Tensor:
        set_seed(seed_for(place[0], "train", *place[1:]))
        return augment(batch).images

    first = at(1, 0, 2, 3)
    at(1, 0, 2, 4)
    assert torch.equal(at(1, 0, 2, 3), first)
    set_seed(seed_for(1, "train", 0, 2, 3))
    assert torch.equal(views()(batch).images, first)  # nor does what an object did before
    for other in ((2, 0, 2, 3), (1, 1, 2, 3), (1, 0, 1, 3), (1, 0, 2, 4)):
        assert not torch.equal(at(*other), first)


def test_a_group_is_changed_alike() -> None:
    image = batch_of(1).images[:, 0]
    found = views().view(image.repeat(12, 1, 1, 1), share=4).unflatten(0, (3, 4))
    assert torch.equal(found, found[:, :1].expand_as(found))
    assert not torch.equal(found[0, 0], found[1, 0])
    alone = views().view(image.repeat(12, 1, 1, 1))
    assert len({tuple(view.flatten()[:50].tolist()) for view in alone}) == 12


def test_each_chance_is_kept() -> None:
    """On a ramp from dark to bright in one colour: what is certain happens to all, what is impossible to none."""
    ramp = torch.zeros(64, 3, 32, 32)
    ramp[:, 0] = torch.linspace(0.1, 0.9, 32)
    still = {"flip": 0.0, "jitter_chance": 0.0, "gray": 0.0, "blur": 0.0}
    plain = views(**still).view(ramp)
    assert (plain[:, 0, 16].diff(dim=-1)[:, 2:-2] > 0).all()
    assert (plain[:, 1:] == 0).all()
    assert (views(**{**still, "flip": 1.0}).view(ramp)[:, 0, 16].diff(dim=-1)[:, 2:-2] < 0).all()
    gray = views(**{**still, "gray": 1.0}).view(ramp)
    torch.testing.assert_close(gray[:, 0], gray[:, 1])
    assert gray[:, 1].max() > 0.1
    some = (
        (views(**{**still, "gray": 0.25}).view(ramp.repeat(8, 1, 1, 1))[:, 1].flatten(1).max(1).values > 0)
        .float()
        .mean()
    )
    assert 0.15 < float(some) < 0.35  # of 512


def test_a_smaller_view() -> None:
    assert views().view(batch_of(4).images[:, 0], (16, 16)).shape == (4, 3, 16, 16)


@pytest.mark.parametrize("shape", [None, (2, 3, 32, 32)])
def test_only_single_views_are_changed(shape: tuple[int, ...] | None) -> None:
    fields = {"images": Field(level="graph", shape=shape)} if shape else {}
    with pytest.raises(UserError, match="leave it out"):
        SimCLRViews(dataclasses.replace(SPEC, fields=fields), **SIMCLR)
