"""erlangen evaluate RUN: the numbers of a checkpoint, measured again; or those of relaxing OC20's structures with it."""

import argparse
from pathlib import Path
from typing import Any

import torch
from rich.progress import track

from .is2rs import is2rs
from .relaxation import add_limits
from .runs.assemble import build_data
from .runs.console import console, metric_table
from .runs.folder import RunFolder
from .runs.loading import checkpoint_of, load_run
from .runs.pictures import draw_views
from .tasks.frozen import FrozenFeatures


def evaluate(run: str, split: str, device: str = "cpu") -> dict[str, dict[str, Any]]:
    """Scores a run's checkpoint on a split, as training did at its end; on the test split its pictures are drawn again too.

    Args:
        run: a run's folder or a checkpoint.
        split: "train", "val" or "test".
        device: where to compute.

    Returns:
        {metric: {"value", "unit"}}, the metrics named after the split.
    """
    paper, config = load_run(run)
    datamodule = build_data(config)
    task = datamodule.task.to(device)
    paper = paper.to(device)
    stage = "test" if split == "test" else "val"
    gradients = any(target.gradient_of for target in paper.spec.targets)
    with torch.inference_mode(not gradients):
        for batch in track(datamodule.eval_dataloader(split), f"{split} split", transient=True, console=console):
            task.score(stage, paper.predict, batch.to(device))
    metrics = task.compute(stage)
    if split == "test" and isinstance(task, FrozenFeatures) and Path(run).is_dir():
        draw_views(paper, datamodule, task, RunFolder(run))
    return {
        f"{split}/{name}": {"value": float(value), "unit": task.units.get(name, "")} for name, value in metrics.items()
    }


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser("erlangen evaluate", description="Score a run's checkpoint on a split.")
    parser.add_argument("run", help="a run's folder, or a checkpoint")
    parser.add_argument("--split", choices=("train", "val", "test"), default="test")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument(
        "--relax",
        type=int,
        metavar="N",
        help="relax N initial structures of each of OC20's splits instead (IS2RS, IS2RE)",
    )
    add_limits(parser)
    options = parser.parse_args(arguments)
    if options.relax is None:
        metrics = evaluate(options.run, options.split, options.device)
    else:
        metrics = is2rs(options.run, options.relax, options.fmax, options.steps, options.device)
    console.print(metric_table(str(checkpoint_of(Path(options.run))), metrics))
