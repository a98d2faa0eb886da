"""Labelled images for papers that learn from views: the same pixels, one view each, and SimCLR's views by themselves."""

from pathlib import Path

import pytest
import torch

from erlangen.errors import UserError
from erlangen.models.views.sie import SIE
from erlangen.models.views.simclr import SimCLR
from erlangen.runs.assemble import build_data
from erlangen.runs.config import compose_config, group_file, resolved
from erlangen.runs.pairing import complete, default_data, mismatch
from erlangen.tasks.frozen import FrozenFeatures

VIEWS = frozenset({"views"})


def config(*overrides: str) -> dict:
    return resolved(*compose_config(list(overrides)))


def test_images_come_as_one_view_each(tmp_path: Path) -> None:
    sizes = ["data.train_size=40", "data.val_size=10", "data.test_size=12", "data.eval_batch_size=5"]
    options = ["data=cifar10", "data.source=miniature", f"paths.data={tmp_path}", *sizes]
    plain, views = build_data(config("model=cnn", *options)), build_data(config("model=simclr", *options))
    assert (plain.modality, views.modality) == ("images", "views")
    for split in ("train", "val", "test"):
        one, other = plain.splits[split][[3, 1]], views.splits[split][[3, 1]]
        assert torch.equal(one.image, other.images[:, 0])
        assert torch.equal(one.label, other.label)
        assert torch.equal(one.id, other.id)
    assert views.spec.targets == ()
    assert (views.spec.split, views.spec.source, views.spec.subset) == (plain.spec.split, "miniature", True)
    assert isinstance(views.task, FrozenFeatures)
    whole = torch.cat([batch.id for batch in views.train_views(None)])
    assert torch.equal(whole, torch.cat([batch.id for batch in plain.train_batches()]))
    assert sum(len(batch) for batch in views.train_views(7)) == 7
    turning = views.turning(2, 5)
    assert turning.batch.images.shape == (2, 5, 3, 32, 32)
    torch.testing.assert_close(turning.batch.images[:, 0], turning.batch.images[:, -1], atol=1e-4, rtol=0)
    torch.testing.assert_close(
        turning.batch.images[:, 1], turning.batch.images[:, 0].rot90(1, (-2, -1)), atol=1e-4, rtol=0
    )


def test_who_fits_what() -> None:
    assert not [name for name in ("3diebench", "cifar10", "cifar100") if mismatch(SimCLR, default_data(name))]
    assert mismatch(SimCLR, default_data("digits")).startswith("works on views")  # no colours to change
    assert mismatch(SIE, default_data("cifar10")) == "needs rotation, which the data do not tell"


def test_views_are_made_by_simclr_unless_something_else_is_chosen() -> None:
    completed = complete(config("model=vicreg", "data=cifar10"))
    assert completed["augment"] == group_file("augment", "simclr")
    assert completed["choices"]["augment"] == "simclr"
    chosen = config("model=vicreg", "data=cifar10", "augment=simclr", "augment.blur=0.5")
    assert complete(chosen) == chosen
    for pair in (["model=vicreg", "data=3diebench"], ["model=cnn", "data=cifar10"], ["model=egnn", "data=qm9"]):
        assert complete(config(*pair)) == config(*pair)


def test_scores_of_labels_are_refused() -> None:
    with pytest.raises(UserError, match="data.rotated_test"):
        build_data(config("model=simclr", "data=cifar10", "data.rotated_test=true"))
