"""erlangen bench scaling: training throughput on one process and on several, one thread each (weak scaling)."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

from rich.table import Table

from ..errors import UserError
from ..runs.config import compose_config, resolved
from ..runs.console import console
from ..runs.folder import RunFolder, environment, write_json

EXPERIMENT = "egnn_qm9"
HELD_OUT = ("data.val_size=100", "data.test_size=100")


def bench_scaling(root: str, processes: list[int], batches: int, repetitions: int, json: Path | None) -> None:
    """Prints samples/s of EGNN's published configuration, the batch of every process being the published one.

    Args:
        root: the folder that holds data sets.
        processes: how many to try; one is added, against which the others are compared.
        batches: steps of a run, the first few of which count for nothing.
        repetitions: runs of each number of processes, taking turns. Their median counts.
        json: a file for every run's number.
    """
    if min(processes) < 1 or repetitions < 1 or batches < 5:
        raise UserError("bench scaling: --processes and --repetitions are at least 1, --batches at least 5")
    counts = sorted({1, *processes})
    speeds: dict[int, list[float]] = {count: [] for count in counts}
    with tempfile.TemporaryDirectory() as runs:
        for repetition in range(repetitions):
            for count in counts:
                speeds[count].append(throughput(root, Path(runs) / f"{repetition}-{count}", count, batches))
    table = Table(title=f"experiment={EXPERIMENT}, one thread a process, {os.cpu_count()} CPUs", title_justify="left")
    for column in ("processes", "samples/s", "ratio", "per process"):
        table.add_column(column, justify="right")
    ratios = {count: median(speeds[count]) / median(speeds[1]) for count in counts}
    for count in counts:
        numbers = (f"{median(speeds[count]):,.0f}", f"{ratios[count]:.2f}x", f"{100 * ratios[count] / count:.0f}%")
        table.add_row(str(count), *numbers)
    console.print(table)
    if json:
        found = {"samples_per_second": speeds, "ratio": ratios, "experiment": EXPERIMENT, "batches": batches}
        write_json(json, {**found, "cpus": os.cpu_count(), **environment()})


def throughput(root: str, runs: Path, processes: int, batches: int) -> float:
    """Samples/s that one training run measured of itself, the first batches left out."""
    trainer = ("trainer=cpu",) if processes == 1 else ("trainer=ddp", "trainer.accelerator=cpu")
    config = resolved(*compose_config([f"experiment={EXPERIMENT}"]))
    options = [
        f"experiment={EXPERIMENT}",
        *trainer,
        *HELD_OUT,
        f"data.train_size={batches * processes * config['data']['batch_size']}",
        f"trainer.devices={processes}",
        "trainer.max_epochs=1",
        f"paths.data={root}",
        f"paths.runs={runs}",
    ]
    done = subprocess.run(
        [sys.executable, "-m", "erlangen.train", *options],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise UserError(f"bench scaling: {' '.join(options)} failed: {done.stderr.strip().splitlines()[-1]}")
    (folder,) = (path for path in runs.iterdir() if not path.name.startswith("."))
    return RunFolder(folder).result["train_samples_per_second"]
