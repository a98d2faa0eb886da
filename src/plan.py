"""erlangen plan OVERRIDES: what a training would take, before anything is downloaded or trained.

The network is built on the meta device, where it takes no memory. Hours are computed only from a throughput that was measured;
what a paper's authors report stands beside them.
"""

import argparse
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.table import Table

from .bench.timing import SavedBytes
from .datamodules.base import DataModule
from .errors import UserError
from .evidence.published import load_published
from .evidence.recipe import compare, processes, shown
from .models.paper import Paper
from .runs.assemble import build, build_data, build_paper
from .runs.config import compose_config, resolved
from .runs.console import console
from .runs.folder import RunFolder
from .runs.pairing import check_pair, complete
from .runs.sharding import TARGET as SHARDED

WEIGHT_BYTES = {"64-true": 8, "bf16-true": 2}
"""Of one weight; 4 in every other precision."""


@dataclass(frozen=True)
class Memory:
    """Bytes that a process keeps all the time, by what they are for."""

    parameters: int
    gradients: int
    optimizer: int
    average: int

    @property
    def total(self) -> int:
        return self.parameters + self.gradients + self.optimizer + self.average


@dataclass(frozen=True)
class Activations:
    """Bytes that a training step kept for its backward pass, measured in float32 on a few samples."""

    bytes: int
    samples: int
    atoms: int
    source: str

    def of_batch(self, batch_size: int, atoms_per_sample: float | None) -> float:
        """Of a whole batch: in proportion to its atoms where their number is known, else to its samples."""
        if self.atoms and atoms_per_sample:
            return self.bytes / self.atoms * atoms_per_sample * batch_size
        return self.bytes / self.samples * batch_size


@dataclass(frozen=True)
class Throughput:
    """Training samples a second of one device, and where the number is from."""

    rate: float
    origin: str


def build_on_meta(config: dict[str, Any], datamodule: DataModule) -> Paper:
    with torch.device("meta"):
        return build_paper(config, datamodule.spec)


def memory(config: dict[str, Any], paper: Paper) -> Memory:
    """What a process holds of the network: weights, gradients, the optimiser's state and the run's average of the weights.

    Under trainer=fsdp the first three are shared out among the processes.
    """
    size = WEIGHT_BYTES.get(config["trainer"]["precision"], 4)
    every = size * sum(p.numel() for p in paper.parameters())
    trained = size * sum(p.numel() for p in paper.parameters() if p.requires_grad)
    strategy = config["trainer"]["strategy"]
    shares = world(config) if isinstance(strategy, dict) and strategy.get("_target_") == SHARDED else 1
    return Memory(
        parameters=every // shares,
        gradients=trained // shares,
        optimizer=round(trained * kept_per_weight(config["optimizer"])) // shares,
        average=every if config["ema_decay"] is not None else 0,
    )


def kept_per_weight(optimizer: dict[str, Any]) -> float:
    """How many numbers an optimiser keeps for each weight, found by a step on a small matrix."""
    weight = torch.nn.Parameter(torch.ones(16, 16))
    made = build(optimizer)([weight])

    @torch.enable_grad()
    def closure() -> torch.Tensor:
        made.zero_grad()
        loss = weight.square().sum()
        loss.backward()
        return loss

    made.step(closure)
    return sum(kept.numel() for kept in tensors_in(made.state) if kept.numel() > 1) / weight.numel()


def tensors_in(value: Any) -> Iterator[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from tensors_in(item)


def world(config: dict[str, Any]) -> int:
    """How many processes there will be; where the configuration takes what a machine has, as many as this one would give."""
    trainer = config["trainer"]
    if isinstance(trainer["devices"], int) and trainer["devices"] > 0:
        return processes(config)
    there = 1 if trainer["accelerator"] == "cpu" else max(1, torch.cuda.device_count())
    return trainer["num_nodes"] * there


def steps(config: dict[str, Any], samples: int) -> tuple[int, int]:
    """Steps of the optimiser in an epoch and in the whole training, 0 where it has no end."""
    trainer = config["trainer"]
    batches = -(-samples // (config["data"]["batch_size"] * world(config)))
    limit = trainer["limit_train_batches"]
    batches = min(batches, limit) if isinstance(limit, int) else int(batches * limit)
    epoch = -(-batches // trainer["accumulate_grad_batches"])
    ends = [epoch * (trainer["max_epochs"] or -1), trainer["max_steps"]]
    return epoch, min((end for end in ends if end > 0), default=0)


def measure_activations(config: dict[str, Any]) -> Activations:
    """A training step on one structure of atoms, or on two samples of anything else; of official data if they are there."""
    if "source" in config["data"] and config["data"]["source"] == "official":
        config = {**config, "data": {**config["data"], "source": "auto"}}
    datamodule = build_data(config)
    paper = build_paper(config, datamodule.spec).train()
    paper.task = datamodule.task
    samples = 1 if datamodule.modality == "atoms" else 2
    batch = datamodule.splits["train"][np.arange(samples)]
    with SavedBytes() as saved, warnings.catch_warnings():
        warnings.filterwarnings("ignore", "You are trying to `self.log")  # to no trainer, and so nowhere
        paper.training_step(batch, 0)
    own = {tensor.untyped_storage().data_ptr() for tensor in (*paper.parameters(), *paper.buffers())}
    kept = sum(size for place, size in saved.storages.items() if place not in own)
    return Activations(kept, samples, len(batch.z) if "z" in batch else 0, datamodule.spec.source)


def throughput_of(run: Path, config: dict[str, Any]) -> Throughput:
    """What a finished run of the same network measured.

    Raises UserError where it has no result, or is of another network.
    """
    folder = RunFolder(run)
    result = folder.result
    if not result.get("train_samples_per_second"):
        raise UserError(f"--measured {run}: there is no result.json with a throughput")
    theirs = folder.config["model"]
    differences = [
        f"{path} {shown(a)} (here {shown(b)})" for path, a, b in compare(theirs, config["model"], frozenset())
    ]
    if differences:
        raise UserError(f"--measured {run} is of another network: {', '.join(differences)}")
    rate = result["train_samples_per_second"] / result["world_size"]
    batch = folder.config["data"]["batch_size"]
    where = f"{result['benchmark']}, {result['source']} data, batches of {batch}, {result['precision']}"
    return Throughput(rate, f"{result['device']}, {where}")


def published_cost(config: dict[str, Any], overrides: list[str]) -> str:
    """What the authors say that this recipe took, "" where they do not."""
    rows = [row for row in load_published() if row.cost and row.experiment == config["choices"].get("experiment")]
    fitting = [row for row in rows if set(row.overrides) <= set(overrides)]
    return max(fitting, key=lambda row: len(row.overrides)).cost if fitting else ""


def show(
    config: dict[str, Any],
    overrides: list[str],
    datamodule: DataModule,
    activations: Activations | None,
    throughput: Throughput | None,
) -> Table:
    paper, spec = build_on_meta(config, datamodule), datamodule.spec
    rows = [
        ("paper", paper.title + (f" (arXiv:{paper.arxiv})" if paper.arxiv else "")),
        ("data", f"split {spec.split}, {spec.source}"),
        ("parameters", f"{sum(p.numel() for p in paper.parameters()):,}"),
    ]
    if paper.trains:
        rows += [
            ("a process keeps", memory_line(memory(config, paper))),
            ("and for a batch", activation_line(config, datamodule, activations)),
            *progress_rows(config, datamodule, throughput),
        ]
    else:
        rows += [("training", "in closed form, one pass over the training split")]
    rows += [("published", cost)] if (cost := published_cost(config, overrides)) else []
    title = f"{config['choices']['model']} on {config['choices']['data']}"
    table = Table(title=title, title_justify="left", show_header=False, box=None)
    for row in rows:
        table.add_row(*row)
    return table


def memory_line(kept: Memory) -> str:
    parts = [("parameters", kept.parameters), ("gradients", kept.gradients), ("optimiser", kept.optimizer)]
    parts += [("averaged weights", kept.average)] if kept.average else []
    return " + ".join(f"{name} {human(size)}" for name, size in parts) + f" = {human(kept.total)}"


def activation_line(config: dict[str, Any], datamodule: DataModule, measured: Activations | None) -> str:
    if measured is None:
        return "activations not measured (--measure runs a sample of the data that are here)"
    size, atoms = config["data"]["batch_size"], datamodule.atoms_per_sample
    total = measured.of_batch(size, atoms)
    if measured.atoms:
        each = (
            f"{human(measured.bytes / measured.atoms)} an atom × {atoms or measured.atoms / measured.samples:.4g} atoms"
        )
    else:
        each = f"{human(measured.bytes / measured.samples)} a sample"
    how = f"measured in float32 on {measured.source} data with this machine's kernels"
    return f"activations {human(total)} = {each} × {size} ({how})"


def progress_rows(
    config: dict[str, Any], datamodule: DataModule, throughput: Throughput | None
) -> Iterator[tuple[str, str]]:
    samples, size, count = datamodule.training_samples, config["data"]["batch_size"], world(config)
    together = f"{count} processes × {size} samples" if count > 1 else f"{size} samples"
    epoch, total = steps(config, samples) if samples else (0, 0)
    if samples:
        least = "at least " if config["data"].get("max_atoms_per_batch") else ""
        yield "samples", f"{samples:,} an epoch"
        yield "steps", f"{least}{epoch:,} an epoch, {total:,} in all, of {together}"
    else:
        yield "steps", f"of {together}; how many there are in an epoch only the data tell"
    if throughput is None:
        yield "device-hours", "no measured throughput (--samples-per-second X, or --measured RUN)"
        return
    yield "throughput", f"{throughput.rate:,.4g} samples/s a device ({throughput.origin})"
    if total:
        seen = total / epoch * samples
        hours = seen / throughput.rate / 3600
        alone = f", {hours / count:,.3g} hours if {count} devices are {count} times as fast" if count > 1 else ""
        yield "device-hours", f"{hours:,.4g} for {seen:,.0f} samples{alone}"


def human(size: float | int) -> str:
    return f"{size / 1e9:.2f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB" if size >= 1e5 else f"{size / 1e3:.1f} kB"


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(
        "erlangen plan", description="What a training would take: parameters, memory, steps and device-hours."
    )
    parser.add_argument(
        "overrides", nargs="+", help="as for train.py, e.g. experiment=equiformer_v2_oc20_2m trainer.devices=4"
    )
    parser.add_argument("--measure", action="store_true", help="measure what a batch keeps for its backward pass")
    known = parser.add_mutually_exclusive_group()
    known.add_argument("--samples-per-second", type=float, metavar="X", help="in training, measured on one device")
    known.add_argument(
        "--measured", type=Path, metavar="RUN", help="a finished run of the same network, for its throughput"
    )
    options = parser.parse_args(arguments)
    config = resolved(*compose_config(options.overrides))
    check_pair(config)
    config = complete(config)
    throughput = throughput_of(options.measured, config) if options.measured else None
    if options.samples_per_second is not None:
        if not options.samples_per_second > 0:
            raise UserError(f"--samples-per-second must be more than 0, not {options.samples_per_second}")
        throughput = Throughput(options.samples_per_second, "as given")
    activations = measure_activations(config) if options.measure else None
    console.print(show(config, options.overrides, build_data(config), activations, throughput))
