"""erlangen bench train: EGNN's published QM9 configuration beside a dense implementation of the same network."""

import copy
from collections.abc import Callable, Iterator
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.table import Table
from torch import nn

from ..errors import UserError
from ..runs.assemble import build_data, build_paper
from ..runs.config import compose_config, resolved
from ..runs.console import console
from ..runs.folder import environment, write_json
from .dense_egnn import DenseEGNN
from .timing import SavedBytes, interleaved

BATCHES = 8
"""Different batches that every competitor goes through in turn."""
TOLERANCE = 1e-4


def bench_train(root: str, repetitions: int, threads: list[int], json: Path | None) -> None:
    """Prints molecules/s and bytes kept for the backward pass, at each number of threads; ratios against the dense form."""
    config = resolved(*compose_config(["experiment=egnn_qm9", f"paths.data={root}"]))
    datamodule = build_data(config)
    paper = build_paper(config, datamodule.spec)
    train = datamodule.splits["train"]
    order = np.random.default_rng(0).permutation(len(train))
    batches = [train[order[datamodule.batch_size * k : datamodule.batch_size * (k + 1)]] for k in range(BATCHES)]
    networks = {"erlangen": paper.network, "dense, padded": DenseEGNN(copy.deepcopy(paper.network))}
    error = numerics(networks, batches[0])
    results: dict[str, Any] = {
        "config": config["model"],
        "batch_size": datamodule.batch_size,
        "error": error,
        **environment(),
    }
    title = (
        f"EGNN {config['model']['layers']} x {config['model']['channels']} on QM9, batches of {datamodule.batch_size}"
    )
    table = Table(title=f"{title}; same function to {error:.0e}", title_justify="left")
    for column in ("threads", "network", "forward mol/s", "training mol/s", "ratio", "kept for backward", ""):
        table.add_column(column, justify="right" if column not in ("network", "") else "left")
    for count in threads:
        torch.set_num_threads(count)
        forward = interleaved({name: forward_pass(net, cycle(batches)) for name, net in networks.items()}, repetitions)
        step = interleaved({name: training_step(net, cycle(batches)) for name, net in networks.items()}, repetitions)
        results[f"{count} threads"] = {
            name: {
                "forward": forward[name].to_dict(),
                "training": step[name].to_dict(),
                "saved_bytes": saved(networks[name], batches),
            }
            for name in networks
        }
        slowest = step["dense, padded"].median
        for name, network in networks.items():
            speeds = (f"{datamodule.batch_size / times.median:,.0f}" for times in (forward[name], step[name]))
            noisy = "noisy" if forward[name].noisy or step[name].noisy else ""
            memory = f"{saved(network, batches) / 2**20:,.0f} MB"
            table.add_row(str(count), name, *speeds, f"{slowest / step[name].median:.2f}x", memory, noisy)
    console.print(table)
    if json:
        write_json(json, results)


def numerics(networks: dict[str, nn.Module], batch: Any) -> float:
    """The largest difference between the networks' outputs; UserError where they are not the same function."""
    with torch.no_grad():
        ours, dense = (network(batch)["gap"] for network in networks.values())
    error = float((ours - dense).abs().max() / dense.abs().max())
    if error > TOLERANCE:
        raise UserError(f"the two networks differ by {error:.1e}: their times would not compare")
    return error


def forward_pass(network: nn.Module, batches: Iterator[Any]) -> Callable[[], None]:
    @torch.no_grad()
    def call() -> None:
        network(next(batches))

    return call


def training_step(network: nn.Module, batches: Iterator[Any]) -> Callable[[], None]:
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-4)

    def call() -> None:
        batch = next(batches)
        optimizer.zero_grad()
        torch.nn.functional.l1_loss(network(batch)["gap"], batch.gap / 1000).backward()
        optimizer.step()

    return call


def saved(network: nn.Module, batches: list[Any]) -> float:
    """Mean bytes that a batch keeps for its backward pass."""
    totals = []
    for batch in batches:
        with SavedBytes() as counter:
            network(batch)
        totals.append(counter.bytes)
    return float(np.mean(totals))
