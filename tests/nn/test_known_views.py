"""What is told of a view is what was done to it."""

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from erlangen.errors import UserError
from erlangen.nn.known_views import KnownViews
from erlangen.runs.pairing import default_data
from erlangen.tasks.batch import TensorBatch

SPEC = default_data("cifar10").offered_to(frozenset({"views"})).spec
PLAIN = {"scale": [1.0, 1.0], "flip": 0.0, "jitter": [0.0] * 4, "jitter_chance": 1.0, "gray": 0.0, "blur": 0.0}


def known(views: int = 3, **changes: object) -> KnownViews:
    return KnownViews(SPEC, views, **{**PLAIN, "sigma": [0.1, 2.0], **changes})


def ramp() -> Tensor:
    """Images whose first channel is the column and whose second is the row, in units of 32 pixels."""
    row = torch.arange(32.0) / 32
    one = torch.stack([row.expand(32, 32), row[:, None].expand(32, 32), torch.zeros(32, 32)])
    return one.expand(6, -1, -1, -1)


def test_the_crop_is_where_it_says() -> None:
    torch.manual_seed(0)
    view, done = known(scale=[0.2, 0.8]).known_view(ramp())
    top, left, height, width = done["crop"].unbind(-1)
    assert float(height.std()) > 0.5
    pixels = 32 * view
    torch.testing.assert_close(pixels[:, 0, 0, 0], left, atol=1e-4, rtol=0)
    torch.testing.assert_close(pixels[:, 1, 0, 0], top, atol=1e-4, rtol=0)
    torch.testing.assert_close(pixels[:, 0, 0, -1], left + width - 1, atol=1e-4, rtol=0)
    torch.testing.assert_close(pixels[:, 1, -1, 0], top + height - 1, atol=1e-4, rtol=0)


def test_the_colors_changed_as_they_say() -> None:
    """Of images of half brightness in all pixels and channels, brightness multiplies; half of them are left alone."""
    torch.manual_seed(0)
    images = torch.full((40, 3, 32, 32), 0.5)
    view, done = known(jitter=[0.4, 0.0, 0.0, 0.0], jitter_chance=0.5).known_view(images)
    brightness = done["jitter"][:, 0]
    torch.testing.assert_close(view.mean((1, 2, 3)), 0.5 * brightness, atol=1e-5, rtol=0)
    assert 8 <= int((brightness == 1).sum()) <= 32
    torch.testing.assert_close(done["jitter"][:, 1:], torch.tensor([1.0, 1.0, 0.0]).expand(40, 3))


def test_a_blurred_view_says_how_much() -> None:
    torch.manual_seed(0)
    images = torch.rand(40, 3, 32, 32)
    view, done = known(blur=0.5).known_view(images)
    whole = (done["crop"] == torch.tensor([0.0, 0, 32, 32])).all(-1)
    assert int(whole.sum()) > 10
    changed = (view - images).abs().amax((1, 2, 3)) > 1e-3
    assert torch.equal(changed[whole], done["blur"][whole, 0] > 0.25)  # less than a quarter of a pixel does not show
    assert float(done["blur"].max()) > 1


def test_actions_lead_from_each_view_to_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    views = known(4, scale=[0.2, 1.0], jitter=[0.4, 0.4, 0.2, 0.1], blur=1.0)
    drawn, one = [], views.known_view
    monkeypatch.setattr(views, "known_view", lambda images: drawn.append(one(images)) or drawn[-1])
    batch = TensorBatch(images=torch.rand(5, 1, 3, 32, 32), id=torch.arange(5))
    seen = views(batch)
    assert batch.images.shape[1] == 1
    assert seen.images.shape == (5, 4, 3, 32, 32)
    for index, (view, _) in enumerate(drawn):
        torch.testing.assert_close(seen.images[:, index], view)
    for name, size in (("crop", 4), ("jitter", 4), ("blur", 1)):
        values = normalize(torch.stack([done[name] for _, done in drawn], 1), dim=1)
        assert seen[name].shape == (5, 3, size)
        torch.testing.assert_close(values[:, :1] + seen[name].cumsum(1), values[:, 1:])


def test_views_are_reproducible_by_seed() -> None:
    views = known(scale=[0.2, 1.0], jitter=[0.4, 0.4, 0.2, 0.1], jitter_chance=0.8, blur=0.5)
    batch = TensorBatch(images=torch.rand(5, 1, 3, 32, 32))
    drawn = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        drawn.append(views(batch))
    for name in drawn[0]:
        assert torch.equal(drawn[0][name], drawn[1][name])
        assert not torch.equal(drawn[0][name], drawn[2][name])


def test_one_view_leads_nowhere() -> None:
    with pytest.raises(UserError, match="augment.views must be 2 or more, not 1"):
        known(1)
