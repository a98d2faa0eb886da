"""The protocol on planted representations, of which it is known what they tell."""

import logging
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn.functional import one_hot

from erlangen.nn.probes import ProbeRecipe
from erlangen.runs.pairing import default_data
from erlangen.tasks.batch import TensorBatch
from erlangen.tasks.poses import euler_to_quaternion, quaternion_product, relative_color, relative_rotation
from erlangen.tasks.representation import RepresentationTask

CLASSES, VIEWS = 4, 6
RECIPE = ProbeRecipe(epochs=60, batch_size=32, lr=1e-2, width=32)


def batches(objects: int, seed: int) -> list[TensorBatch]:
    """Objects in batches of 8, with latents as 3DIEBench draws them; there are no images."""
    generator = torch.Generator().manual_seed(seed)
    latents = torch.rand(objects, VIEWS, 7, generator=generator)
    latents[..., :3] = torch.pi * (latents[..., :3] - 0.5)
    label = torch.arange(objects) % CLASSES
    whole = TensorBatch(latents=latents, label=label, id=torch.arange(objects))
    return [TensorBatch(**{name: whole[name][start : start + 8] for name in whole}) for start in range(0, objects, 8)]


def parts(kept: Tensor, moved: Tensor) -> dict[str, Tensor]:
    return {"all": torch.cat([kept, moved], -1), "invariant": kept, "equivariant": moved}


def knows_everything(batch: TensorBatch) -> dict[str, Tensor]:
    """The class in one part, pose and hues in the other; it predicts its own poses."""
    kept = one_hot(batch.label, CLASSES).float()[:, None].expand(-1, VIEWS, -1)
    pose = euler_to_quaternion(batch.latents[..., :3])
    # the pose of each view from that of the first: R_v = R_0 (R_0^-1 R_v)
    first = batch.latents[:, :1].expand_as(batch.latents)
    predicted = quaternion_product(pose[:, :1].expand_as(pose), relative_rotation(first, batch.latents))
    return {
        **parts(kept, torch.cat([pose, batch.latents[..., [3, 6]]], -1)),
        "embedded_invariant": kept,
        "embedded_equivariant": pose,
        "predicted_equivariant": predicted,
    }


def knows_the_class(batch: TensorBatch) -> dict[str, Tensor]:
    kept = one_hot(batch.label, CLASSES).float()[:, None].repeat(1, VIEWS, 1)
    return parts(kept, kept[..., :0])


def knows_nothing(batch: TensorBatch) -> dict[str, Tensor]:
    same = torch.ones(len(batch), VIEWS, 8)
    return parts(same, same[..., :0])


def task() -> RepresentationTask:
    def train_views(objects: int | None) -> Iterator[TensorBatch]:
        return iter(batches(objects or 160, 1))

    return RepresentationTask(default_data("3diebench").spec, CLASSES, train_views, RECIPE, quick_objects=64)


def measured(represent: Callable[[TensorBatch], dict[str, Tensor]], stage: str) -> dict[str, float]:
    scored = task()
    with torch.inference_mode():
        for batch in reversed(batches(40, 2)):  # another order than the ids'
            scored.score(stage, represent, batch)
        return {name: float(value) for name, value in scored.compute(stage).items()}


def test_what_is_there_is_found() -> None:
    found = measured(knows_everything, "test")
    assert found["top1_all"] == found["top1_inv"] == found["knn_inv"] == 100
    assert found["top1_equi"] < 60
    assert found["rotation_r2_equi"] > 0.9
    assert found["rotation_r2_all"] > 0.85
    assert found["rotation_r2_inv"] == pytest.approx(found["rotation_r2_floor"], abs=0.1)
    assert found["rotation_r2_uniform_inv"] == pytest.approx(0, abs=0.1)
    assert found["rotation_deg_equi"] < 25 < found["rotation_deg_inv"]
    assert found["color_r2_equi"] > 0.9 > 0.1 > found["color_r2_inv"]
    assert found["mrr_equi"] == pytest.approx(1)
    assert found["h@1_equi"] == 1
    assert found["pre_equi"] == pytest.approx(0, abs=1e-4)
    assert found["h@1_inv"] == pytest.approx(1 / VIEWS)  # all views are alike


def test_a_representation_without_parts_is_scored_once() -> None:
    found = measured(knows_the_class, "test")
    assert found["top1_all"] == 100
    assert not [name for name in found if name.endswith(("_inv", "_equi"))]
    assert set(found) <= set(task().units)
    assert found["mrr_all"] == pytest.approx(sum(1 / n for n in range(1, VIEWS + 1)) / VIEWS)


def test_parts_may_be_wider_than_the_whole_and_views_summed_up() -> None:
    """Both parts are scored whatever their widths, and aggregates of some views beside them."""

    def represent(batch: TensorBatch) -> dict[str, Tensor]:
        everything = knows_everything(batch)
        kept, moved = everything["invariant"], everything["equivariant"]
        return {"all": kept, "invariant": kept, "equivariant": torch.cat([moved] * 2, -1), "aggregate": moved[:, :3]}

    found = measured(represent, "test")
    assert found["top1_inv"] == 100
    assert found["rotation_r2_equi"] > 0.9
    assert found["top1_aggregate"] < 60
    assert set(found) <= set(task().units)


def test_the_quick_probes_see_the_same(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "erlangen"):
        found = measured(knows_everything, "val")
    assert found["top1_all"] == 100
    assert found["rotation_r2_all"] > 0.8
    assert "COLLAPSED" not in caplog.text


def test_a_collapsed_representation_is_said_aloud(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "erlangen"):
        found = measured(knows_nothing, "test")
    assert "COLLAPSED representation (all): rank" in caplog.text
    assert found["spread_all"] < 1e-6
    assert found["top1_all"] <= 100 / CLASSES + 1e-9
    assert found["h@1_all"] == pytest.approx(1 / VIEWS)  # and not 1, though nothing is nearer than the right view


def test_probes_leave_the_runs_randomness_alone() -> None:
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    measured(knows_the_class, "test")
    assert torch.equal(torch.rand(4), expected)


def test_the_same_numbers_twice() -> None:
    assert measured(knows_everything, "test") == measured(knows_everything, "test")


def test_pairs_are_each_view_and_the_next() -> None:
    """The regression's truth is what the batch's own relative fields hold, and closes around the object."""
    from erlangen.tasks.representation import pairs

    (batch,) = batches(8, 0)
    inputs, true = pairs(batch.latents, batch.latents, relative_color)
    assert inputs.shape == (8 * VIEWS, 14)
    torch.testing.assert_close(true.unflatten(0, (8, VIEWS)).sum(1), torch.zeros(8, 2), atol=1e-5, rtol=0)


@pytest.mark.slow
def test_two_processes_count_every_sample_once() -> None:
    """Shares of different sizes, with and without what only some papers give: the numbers of one process."""
    script = Path(__file__).with_name("two_processes.py")
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
