"""erlangen bench OP…: every backend of an operation beside its alternatives, one process, numerics first."""

from collections.abc import Sequence
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from ..kernels import ops
from ..kernels.compiled import no_compiler
from ..kernels.registry import find
from ..runs.folder import environment, read_json, write_json
from .case import Case, Scale
from .cases import cases
from .cuda_graphs import record
from .machine import Machine
from .measure import Row, measure
from .plot import times_against_degree
from .show import case_table, case_title, console, goals_table, resolution_table

DEGREES, QUICK_DEGREES = (1, 2, 3, 4, 6), (1, 2)
REPETITIONS, QUICK = 20, 3
RIVALS = {
    "e3nn": "e3nn",
    "cuequivariance_torch": "cuequivariance-torch",
    "sphericart": "sphericart-torch",
    "ase": "ase",
    "vesin": "vesin",
}
"""Modules that cases compare with where they are installed, and the distributions they come in."""


def bench_operations(names: Sequence[str], degrees: Sequence[int], threads: int, quick: bool, output: Path) -> None:
    """Prints a table a case and the goals; writes results.json after each case, and a plot an operation.

    Cases that results.json holds from earlier runs stay there until they are measured again. Raises UserError for an
    operation that does not exist, before anything is timed.
    """
    for name in names:
        find(name)
    scale = Scale("cuda" if torch.cuda.is_available() else "cpu", quick)
    torch.set_num_threads(threads)
    machine = Machine.calibrated(scale.device)
    absent = [name for module, name in RIVALS.items() if find_spec(module) is None]
    if absent:
        console.print(f"not installed, so not measured beside ours: {', '.join(absent)}")
    if no_compiler() is not None:
        console.print(f"nothing is compiled here: {no_compiler()}")
    output.mkdir(parents=True, exist_ok=True)
    everything = []
    for op in names or ops():
        measured = []
        for case in cases(op, scale, degrees):
            rows = measure(case, machine, QUICK if quick else REPETITIONS, record if scale.device == "cuda" else None)
            console.print(f"[bold]{case_title(case, machine, threads)}[/]", case_table(case, rows), sep="\n")
            keep(output / "results.json", case, rows, machine, threads)
            measured.append((case.without_data(), rows))
        if op == "s2_activation":
            title = "s2_activation (silu), equivariance error in float64 against resolution"
            console.print(f"[bold]{title}[/]", resolution_table(degrees), sep="\n")
        if times_against_degree(measured, output / f"{op}.png"):
            console.print(f"drawn: {output / op}.png")
        everything += measured
    goals = None if quick else goals_table(everything)
    if goals is not None:
        console.print("[bold]Goals: ratios of medians[/]", goals, sep="\n")
    console.print(f"written: {output}/results.json")


def keep(path: Path, case: Case, rows: Sequence[Row], machine: Machine, threads: int) -> None:
    """Puts a case into the file of results, in place of the same case at the same number of threads."""
    results: dict[str, Any] = read_json(path)
    results[f"{case.name}; {threads} threads"] = {
        "op": case.op,
        "title": case.title,
        "size": case.size,
        "lmax": case.lmax,
        "threads": threads,
        "auto": case.auto,
        "bytes_per_second": machine.bandwidth,
        "flop_per_second": machine.flops,
        "environment": environment(),
        "rivals": {name: version(name) for module, name in RIVALS.items() if find_spec(module) is not None},
        "competitors": {row.competitor.name: _to_dict(case, row) for row in rows},
    }
    write_json(path, results)


def _to_dict(case: Case, row: Row) -> dict[str, Any]:
    competitor = row.competitor
    return {
        "paths": competitor.paths or case.paths,
        "weights": case.weights if competitor.weights is None else competitor.weights,
        "remark": competitor.remark,
        "failure": row.failure,
        **{mode: measured.to_dict() for mode, measured in row.modes.items()},
    }
