"""erlangen bench train kernels: training steps of one network with its fastest kernels, and with their references."""

from itertools import cycle
from pathlib import Path
from typing import Any

import torch
from rich.table import Table

from ..errors import UserError
from ..models.paper import Paper
from ..runs.assemble import build_data
from ..runs.config import compose_config, resolved
from ..runs.folder import environment, write_json
from .show import console
from .timing import Times, peak_bytes, repeated
from .train_products import first_batches, prepared, saved_bytes, training_step

CHOICES = ("reference", "auto")
TOLERANCE = 1e-3


def bench_train_kernels(words: list[str], batch_size: int, repetitions: int, threads: int, json: Path | None) -> None:
    """Prints steps/s and memory of the same weights on the same batches with `kernels=reference` and `kernels=auto`.

    Args:
        words: what `train.py` takes: model=…, data=… and options.
        batch_size: samples a step.
        repetitions: timed steps, taking turns.
        threads: of this process.
        json: a file for all that was measured.
    """
    torch.set_num_threads(threads)
    configs = {choice: resolved(*compose_config([*words, f"kernels={choice}"])) for choice in CHOICES}
    datamodule = build_data(configs["auto"])
    batches = first_batches(datamodule, batch_size)
    papers = {choice: prepared(config, datamodule, batches) for choice, config in configs.items()}
    papers["auto"].load_state_dict(papers["reference"].state_dict())
    error = difference(papers, batches[0])
    steps = {choice: training_step(paper, cycle(batches)) for choice, paper in papers.items()}
    for step in steps.values():  # tables are made and code is compiled
        for _ in batches:
            step()
    times = repeated(steps, repetitions)
    found = {
        choice: {
            "times": times[choice].to_dict(),
            "peak_bytes": peak_bytes(steps[choice]),
            "saved_bytes": saved_bytes(paper, batches[0]),
            "kernels": paper.kernels.ran,
        }
        for choice, paper in papers.items()
    }
    spec = datamodule.spec
    title = f"training steps, {spec.benchmark} ({spec.source}), batches of {batch_size}, {threads} threads"
    console.print(table(f"{title}; outputs equal to {error:.0e}", "kernels", times, found))
    console.print("auto: " + ", ".join(f"{op}={backend}" for op, backend in papers["auto"].kernels.ran.items()))
    if json:
        write_json(json, {"options": words, "batch_size": batch_size, "error": error, **found, **environment()})


@torch.no_grad()
def difference(papers: dict[str, Paper], batch: Any) -> float:
    """The greatest difference of outputs, relative to the greatest output; UserError where they are not the same function."""
    outputs = {choice: paper.eval()(batch) for choice, paper in papers.items()}
    for paper in papers.values():
        paper.train()
    error = max(
        float((outputs["auto"][name] - true).abs().max() / true.abs().max().clamp_min(1e-12))
        for name, true in outputs["reference"].items()
    )
    if error > TOLERANCE:
        raise UserError(f"outputs differ by {error:.1e} between kernels: their times would not compare")
    return error


def table(title: str, heading: str, times: dict[str, Times], found: dict[str, dict[str, Any]]) -> Table:
    """Ratios are steps/s against the first row."""
    shown = Table(title=title, title_justify="left")
    for column in (heading, "steps/s", "ratio", "peak MB", "kept MB", ""):
        shown.add_column(column, justify="left" if column in (heading, "") else "right")
    first = times[next(iter(found))].median
    for name, row in found.items():
        shown.add_row(
            name,
            f"{1 / times[name].median:.2f}",
            f"{first / times[name].median:.2f}x",
            f"{row['peak_bytes'] / 2**20:.0f}",
            f"{row['saved_bytes'] / 2**20:.0f}",
            "noisy" if times[name].noisy else "",
        )
    return shown
