"""erlangen bench train products: training steps of networks that differ in a tensor product alone, on the same batches."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.table import Table
from torch import Tensor

from ..datamodules.base import DataModule
from ..models.paper import Paper
from ..runs.assemble import build_data, build_paper
from ..runs.config import compose_config, resolved
from ..runs.folder import environment, write_json
from .show import console
from .timing import SavedBytes, Times, peak_bytes, repeated

BENCHMARKS = ("qm9", "oc20")
BATCHES = 4
"""Different batches that every network goes through in turn."""


@dataclass(frozen=True)
class Variant:
    """A network of conf/model with one of its products; the first of a model is what the others are compared with."""

    network: str
    product: str
    model: str
    option: str

    @property
    def name(self) -> str:
        return f"{self.network}, {self.product}"


VARIANTS = (
    Variant("MACE", "symmetric contraction", "mace", "product=cg"),
    Variant("MACE", "Gaunt powers", "mace", "product=gaunt"),
    Variant("TFN", "Clebsch-Gordan", "tfn", "product=cg"),
    Variant("TFN", "Gaunt", "tfn", "product=gaunt"),
    Variant("EquiformerV2", "none", "equiformer_v2", "selfmix=false"),
    Variant("EquiformerV2", "Gaunt Selfmix", "equiformer_v2", "selfmix=true"),
)


@dataclass(frozen=True)
class Row:
    """What was measured of a variant; bytes are of one batch, `peak_bytes` of a whole step, `saved_bytes` for backward."""

    variant: Variant
    benchmark: str
    lmax: int
    parameters: int
    samples: int
    times: Times
    saved_bytes: int
    peak_bytes: int
    kernels: dict[str, str]

    def to_dict(self) -> dict[str, Any]:
        speeds = {"steps_per_second": 1 / self.times.median, "samples_per_second": self.samples / self.times.median}
        return {**asdict(self), "times": self.times.to_dict(), **speeds}


def bench_train_products(
    root: str,
    benchmarks: list[str],
    lmax: list[int],
    batch_size: int,
    repetitions: int,
    threads: int,
    json: Path | None,
) -> None:
    """Prints steps/s, parameters and memory of each network with each of its products, a table a benchmark and degree.

    Args:
        root: the folder that holds data sets.
        benchmarks: files of conf/data; of OC20 the miniature where the official data are not there.
        lmax: highest degrees of the networks' features.
        batch_size: samples a step.
        repetitions: timed steps of each network, taking turns.
        threads: of this process.
        json: a file for all that was measured.
    """
    torch.set_num_threads(threads)
    found = []
    for benchmark in benchmarks:
        datamodule = build_data(configuration(VARIANTS[0], benchmark, lmax[0], root))
        batches = first_batches(datamodule, batch_size)
        for degree in lmax:
            papers = {v: prepared(configuration(v, benchmark, degree, root), datamodule) for v in VARIANTS}
            rows = measured(papers, batches, benchmark, degree, repetitions)
            title = f"{benchmark} ({datamodule.spec.source}), L = {degree}, batches of {batch_size}, {threads} threads"
            console.print(table(title, rows))
            found += [row.to_dict() for row in rows]
    if json:
        write_json(json, {"threads": threads, "batch_size": batch_size, "rows": found, **environment()})


def configuration(variant: Variant, benchmark: str, lmax: int, root: str) -> dict[str, Any]:
    """The variant as conf/model has it, at this degree."""
    words = [f"model={variant.model}", f"model.{variant.option}", f"model.lmax={lmax}"]
    if variant.model == "equiformer_v2":
        words.append(f"model.mmax={min(lmax, 2)}")
    return resolved(*compose_config([*words, f"data={benchmark}", f"paths.data={root}"]))


def first_batches(datamodule: DataModule, batch_size: int) -> list[Any]:
    """Batches of the training split, drawn once for all networks."""
    train = datamodule.splits["train"]
    order = np.random.default_rng(0).permutation(len(train))
    return [train[np.sort(order[k * batch_size : (k + 1) * batch_size])] for k in range(BATCHES)]


def prepared(config: dict[str, Any], datamodule: DataModule, batches: Sequence[Any] = ()) -> Paper:
    """The paper, ready to be trained on the benchmark's task; these batches are what it may calibrate itself with."""
    paper = build_paper(config, datamodule.spec)
    paper.prepare(datamodule.task, datamodule.statistics(), lambda: iter(batches))
    return paper.train()


def measured(
    papers: dict[Variant, Paper], batches: list[Any], benchmark: str, lmax: int, repetitions: int
) -> list[Row]:
    """Each paper sees every batch once, where tables are made and code is compiled, before steps are timed in turns."""
    steps = {variant.name: training_step(paper, cycle(batches)) for variant, paper in papers.items()}
    for step in steps.values():
        for _ in batches:
            step()
    times = repeated(steps, repetitions)
    return [
        Row(
            variant,
            benchmark,
            lmax,
            sum(p.numel() for p in paper.parameters()),
            batches[0].num_graphs,
            times[variant.name],
            saved_bytes(paper, batches[0]),
            peak_bytes(steps[variant.name]),
            paper.kernels.ran,
        )
        for variant, paper in papers.items()
    ]


def training_step(paper: Paper, batches: Iterator[Any]) -> Callable[[], None]:
    """The task's loss, its gradient and a step of Adam."""
    optimizer = torch.optim.Adam(paper.param_groups(), lr=1e-4)

    def call() -> None:
        optimizer.zero_grad()
        loss(paper, next(batches)).backward()
        optimizer.step()

    return call


def loss(paper: Paper, batch: Any) -> Tensor:
    return paper.task.loss(paper(batch), batch, paper.normalizer)


def saved_bytes(paper: Paper, batch: Any) -> int:
    """What one batch keeps for its backward pass."""
    with SavedBytes() as counter:
        loss(paper, batch)
    return counter.bytes


def table(title: str, rows: list[Row]) -> Table:
    """Ratios are steps/s against the first product of the same network."""
    shown = Table(title=f"training steps, {title}", title_justify="left")
    for column in ("network", "product", "parameters", "steps/s", "samples/s", "ratio", "peak MB", "kept MB", ""):
        words = column in ("network", "product", "")
        shown.add_column(column, justify="left" if words else "right", no_wrap=words)
    for row in rows:
        first = next(other for other in rows if other.variant.network == row.variant.network)
        shown.add_row(
            row.variant.network if row is first else "",
            row.variant.product,
            f"{row.parameters:,}",
            f"{1 / row.times.median:.2f}",
            f"{row.samples / row.times.median:.1f}",
            f"{first.times.median / row.times.median:.2f}x",
            f"{row.peak_bytes / 2**20:.0f}",
            f"{row.saved_bytes / 2**20:.0f}",
            "noisy" if row.times.noisy else "",
            end_section=row is not first,
        )
    return shown
