"""erlangen bench train published: training steps of a paper beside the order of operations of its published code."""

import copy
from itertools import cycle
from pathlib import Path
from typing import Any

import torch

from ..errors import UserError
from ..models.paper import Paper
from ..nn.compiled import Compiled
from ..runs.assemble import build_data
from ..runs.config import compose_config, resolved
from ..runs.folder import environment, write_json
from .published_structure import as_published
from .show import console
from .timing import peak_bytes, repeated
from .train_kernels import table
from .train_products import first_batches, prepared, saved_bytes, training_step

TOLERANCE = 1e-4


def bench_train_published(words: list[str], repetitions: int, threads: int, json: Path | None) -> None:
    """Prints steps/s and memory of the same weights on the same batches.

    Args:
        words: what `train.py` takes: an experiment, and options such as compile=true.
        repetitions: timed steps, taking turns.
        threads: of this process.
        json: a file for all that was measured.
    """
    torch.set_num_threads(threads)
    config = resolved(*compose_config(words))
    datamodule = build_data(config)
    batches = first_batches(datamodule, datamodule.batch_size)
    papers = {"as published": prepared(config, datamodule, batches)}
    papers["erlangen"] = copy.deepcopy(papers["as published"])
    papers["as published"].network = as_published(papers["as published"].network)
    if config["compile"]:
        papers["erlangen"].compiled = Compiled(papers["erlangen"].network)
    error = difference(papers, batches[0])
    steps = {name: training_step(paper, cycle(batches)) for name, paper in papers.items()}
    for step in steps.values():  # tables are made and code is compiled
        for _ in batches:
            step()
    times = repeated(steps, repetitions)
    found = {
        name: {
            "times": times[name].to_dict(),
            "peak_bytes": peak_bytes(steps[name]),
            "saved_bytes": saved_bytes(paper, batches[0]),
            "kernels": paper.kernels.ran if name == "erlangen" else {},
        }
        for name, paper in papers.items()
    }
    title = f"training steps, {' '.join(words)}, batches of {datamodule.batch_size}, {threads} threads"
    console.print(table(f"{title}; outputs equal to {error:.0e}", "order of operations", times, found))
    if json:
        write_json(
            json, {"options": words, "batch_size": datamodule.batch_size, "error": error, **found, **environment()}
        )


@torch.no_grad()
def difference(papers: dict[str, Paper], batch: Any) -> float:
    """The greatest difference of outputs, relative to the greatest output; UserError where they are not the same function.

    At weights that are shifted at random, as a fresh network may hardly depend on its layers.
    """
    outputs = []
    for paper in papers.values():
        before = copy.deepcopy(paper.state_dict())
        torch.manual_seed(0)  # for the shifts, and for networks that draw
        for parameter in paper.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
        outputs.append(paper(batch))
        paper.load_state_dict(before)
    published, ours = outputs
    error = max(float((ours[name] - true).abs().max() / true.abs().max()) for name, true in published.items())
    if not error <= TOLERANCE:
        raise UserError(f"outputs differ by {error:.1e}: their times would not compare")
    return error
