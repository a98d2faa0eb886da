"""erlangen evaluate RUN: the numbers of a checkpoint, measured again; or those of relaxing OC20's structures with it."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import OverrideType
from hydra.errors import OverrideParseException
from rich.progress import track

from .errors import UserError
from .is2rs import is2rs
from .relaxation import add_limits
from .runs.assemble import build_data
from .runs.console import console, metric_table
from .runs.folder import RunFolder
from .runs.loading import checkpoint_of, load_run
from .runs.pictures import draw_views
from .tasks.frozen import FrozenFeatures


def evaluate(run: str, split: str, device: str = "cpu", options: Sequence[str] = ()) -> dict[str, dict[str, Any]]:
    """Scores a run's checkpoint on a split, as training did at its end; on the test split its pictures are drawn again too.

    Args:
        run: a run's folder or a checkpoint.
        split: "train", "val" or "test".
        device: where to compute.
        options: of the benchmark, in place of the run's own: "data.test=object_generalization".

    Returns:
        {metric: {"value", "unit"}}, the metrics named after the split.
    """
    paper, config = load_run(run)
    datamodule = build_data(with_options(config, options))
    if options and (datamodule.spec.fields, datamodule.spec.targets) != (paper.spec.fields, paper.spec.targets):
        raise UserError(
            f"{' '.join(options)} changes what a batch holds or what is asked: the run was trained for another"
        )
    task = datamodule.task.to(device)
    paper = paper.to(device)
    stage = "test" if split == "test" else "val"
    gradients = any(target.gradient_of for target in paper.spec.targets)
    with torch.inference_mode(not gradients):
        for batch in track(datamodule.eval_dataloader(split), f"{split} split", transient=True, console=console):
            task.score(stage, paper.predict, batch.to(device))
    metrics = task.compute(stage)
    if split == "test" and not options and isinstance(task, FrozenFeatures) and Path(run).is_dir():
        draw_views(paper, datamodule, task, RunFolder(run))
    return {
        f"{split}/{name}": {"value": float(value), "unit": task.units.get(name, "")} for name, value in metrics.items()
    }


def with_options(config: dict[str, Any], options: Sequence[str]) -> dict[str, Any]:
    """The configuration with other options of its benchmark; raises UserError for any that it does not have."""
    try:
        changes = OverridesParser.create().parse_overrides(list(options))
    except OverrideParseException as error:
        raise UserError(f"cannot read {' '.join(options)}: {' '.join(str(error).split())}") from error
    known = {f"data.{name}" for name in config["data"]} - {"data._target_"}
    data = dict(config["data"])
    for change in changes:
        one = change.type is OverrideType.CHANGE and not change.is_sweep_override()
        if change.key_or_group not in known or not one:
            raise UserError(
                f"cannot evaluate with {change.input_line!r}: give {', '.join(sorted(known))} as NAME=VALUE"
            )
        data[change.key_or_group.removeprefix("data.")] = change.value()
    return {**config, "data": data}


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser("erlangen evaluate", description="Score a run's checkpoint on a split.")
    parser.add_argument("run", help="a run's folder, or a checkpoint")
    parser.add_argument(
        "options", nargs="*", metavar="data.NAME=VALUE", help="of the benchmark, in place of the run's own"
    )
    parser.add_argument("--split", choices=("train", "val", "test"), default="test")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument(
        "--relax",
        type=int,
        metavar="N",
        help="relax N initial structures of each of OC20's splits instead (IS2RS, IS2RE)",
    )
    add_limits(parser)
    given = parser.parse_args(arguments)
    if given.relax is not None and given.options:
        raise UserError(f"--relax has structures of its own: leave out {' '.join(given.options)}")
    if given.relax is None:
        metrics = evaluate(given.run, given.split, given.device, given.options)
    else:
        metrics = is2rs(given.run, given.relax, given.fmax, given.steps, given.device)
    console.print(metric_table(" ".join([str(checkpoint_of(Path(given.run))), *given.options]), metrics))
