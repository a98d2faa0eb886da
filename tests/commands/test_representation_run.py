"""A self-supervised run from beginning to end: the protocol's table, and the same numbers from its checkpoint."""

import json
from pathlib import Path

import pytest
from lightning.pytorch.loggers import WandbLogger
from omegaconf import OmegaConf
from rich.console import Console

from erlangen import evaluate
from erlangen.datamodules import threediebench
from erlangen.datamodules.synthetic import threediebench as miniature
from erlangen.models.views.care import CARE
from erlangen.models.views.sie import SIE
from erlangen.runs.config import compose_config, resolved
from erlangen.runs.console import metric_table
from erlangen.runs.metrics_csv import MetricsCSV
from erlangen.runs.pictures import log_pictures
from erlangen.train import train


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory):
    """SIE for two epochs on 60 objects with four views each; its folder."""
    root = tmp_path_factory.mktemp("run")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(miniature, "COUNTS", {"train": 4, "val": 2})
        patch.setattr(miniature, "VIEWS", 4)
        patch.setattr(threediebench, "VIEWS", {"official": 50, "miniature": 4})
        tiny = [f"model.{key}={value}" for key, value in SIE.tiny.items()]
        small = ["data.resolution=32", "data.batch_size=18", "data.quick_objects=8", "data.probe_epochs=3"]
        options = ["model=sie", "data=3diebench", "trainer=cpu", "trainer.max_epochs=2", "data.probe_width=16"]
        paths = [f"paths.data={root}/data", f"paths.runs={root}/runs"]
        train(resolved(*compose_config([*options, *tiny, *small, *paths])))
        yield next(path for path in (root / "runs").iterdir() if path.is_dir())


def test_the_result_holds_the_protocol_by_part(run: Path) -> None:
    result = json.loads((run / "result.json").read_text())
    assert result["source"] == "miniature"
    names = {
        "top1",
        "knn",
        "rotation_r2",
        "rotation_r2_uniform",
        "rotation_deg",
        "color_r2",
        "mrr",
        "h@1",
        "h@5",
        "pre",
    }
    for part in ("all", "inv", "equi"):
        assert {f"test/{name}_{part}" for name in names} <= set(result["metrics"])
    assert 0 < result["metrics"]["test/mrr_equi"]["value"] <= 1


def test_evaluate_gives_the_number_of_training(run: Path) -> None:
    recorded = json.loads((run / "result.json").read_text())["metrics"]
    for name, metric in evaluate.evaluate(str(run), "test").items():
        assert metric["value"] == pytest.approx(recorded[name]["value"], rel=1e-4, abs=1e-5), name


@pytest.fixture(scope="module")
def images_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """CARE for two epochs on a few of CIFAR's images, its augmentation not named; its folder."""
    root = tmp_path_factory.mktemp("images")
    tiny = [f"model.{key}={value}" for key, value in CARE.tiny.items()]
    small = [
        "data.train_size=96",
        "data.val_size=40",
        "data.test_size=60",
        "data.batch_size=32",
        "data.source=miniature",
    ]
    options = ["model=care", "data=cifar10", "trainer=cpu", "trainer.max_epochs=2"]
    train(resolved(*compose_config([*options, *tiny, *small, f"paths.data={root}/data", f"paths.runs={root}/runs"])))
    return next(path for path in (root / "runs").iterdir() if path.is_dir())


def test_a_paper_of_views_runs_on_images(images_run: Path) -> None:
    result = json.loads((images_run / "result.json").read_text())
    assert {"test/top1_all", "test/knn_all", "test/rank_all", "val/top1_all"} <= set(result["metrics"])
    assert 0 < result["metrics"]["test/wahba"]["value"] <= 1
    assert 0 <= result["waiting_for_data"] < 1
    assert OmegaConf.load(images_run / "config.yaml").choices.augment == "simclr"
    for name, metric in evaluate.evaluate(str(images_run), "test").items():
        assert metric["value"] == pytest.approx(result["metrics"][name]["value"], rel=1e-4, abs=1e-5), name


def test_pictures_are_drawn_into_the_run(run: Path, images_run: Path) -> None:
    def drawn(folder: Path) -> set[str]:
        return {path.stem for path in (folder / "plots").glob("*.png") if path.stat().st_size > 10_000}

    assert {"retrieval", "rotation", "trajectories"} <= drawn(run)
    assert {"retrieval", "trajectories"} <= drawn(images_run)
    assert "rotation" not in drawn(images_run)


def test_evaluate_draws_them_again(images_run: Path) -> None:
    picture = images_run / "plots" / "retrieval.png"
    picture.unlink()
    evaluate.evaluate(str(images_run), "test")
    assert picture.exists()


def test_pictures_go_to_wandb(run: Path) -> None:
    sent = {}

    class Recorder(WandbLogger):
        def __init__(self) -> None:
            pass

        def log_image(self, key: str, images: list[str]) -> None:
            sent[key] = images

    path = run / "plots" / "retrieval.png"
    log_pictures([MetricsCSV(run / "other.csv"), Recorder()], [path])
    assert sent == {"plots/retrieval": [str(path)]}


def test_parts_stand_side_by_side(run: Path) -> None:
    metrics = json.loads((run / "result.json").read_text())["metrics"]
    console = Console(record=True, width=120)
    console.print(metric_table("sie on 3diebench, miniature", metrics))
    lines = console.export_text().splitlines()
    assert any(all(word in line for word in ("metric", "all", "inv", "equi", "unit")) for line in lines)
    assert sum("test/top1" in line for line in lines) == 1
