"""Two runs on the same test samples: which is better, and is it sure?"""

from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from ..errors import UserError
from .collect import Run, read_run
from .statistics import Difference, paired_bootstrap


@dataclass(frozen=True)
class ComparedMetric:
    """One metric of both runs."""

    metric: str
    unit: str
    difference: Difference


@dataclass(frozen=True)
class Comparison:
    """Every metric that both runs kept for each test sample."""

    a: Run
    b: Run
    rows: tuple[ComparedMetric, ...]
    remarks: tuple[str, ...]

    def verdict(self, row: ComparedMetric) -> str:
        if not row.difference.decided:
            return "undecided"
        a_is_lower = row.difference.difference < 0
        if row.metric != self.a.result["monitor"]:  # results say only of this one which way is better
            return f"A is {'lower' if a_is_lower else 'higher'}"
        return "A is better" if a_is_lower == (self.a.result["better"] == "lower") else "B is better"


def compare_runs(first: Path, second: Path) -> Comparison:
    """A paired bootstrap of every per-sample test error that two finished runs share.

    Raises:
        UserError: where one has no result, or they were not tested on the very same samples.
    """
    a, b = (finished(path) for path in (first, second))
    for key in ("benchmark", "source"):
        if a.result[key] != b.result[key]:
            raise UserError(f"{first} and {second} do not compare: their {key} is {a.result[key]} and {b.result[key]}")
    ours, theirs = (load_test(run.path) for run in (a, b))
    if not np.array_equal(ours["id"], theirs["id"]):
        shared = len(np.intersect1d(ours["id"], theirs["id"]))
        raise UserError(
            f"{first} and {second} do not compare: they were tested on different samples ({len(ours['id'])} and "
            f"{len(theirs['id'])}, {shared} of them the same)"
        )
    metrics = [name for name in ours if name in theirs and f"test/{name}" in a.result["metrics"]]
    if not metrics:
        raise UserError(f"{first} and {second} do not compare: no metric was kept for each sample of both")
    for name in ours:
        if name.startswith("true_") and name in theirs and not np.array_equal(ours[name], theirs[name]):
            raise UserError(f"{first} and {second} do not compare: the true values of {name[5:]} differ")
    rows = [
        ComparedMetric(name, a.result["metrics"][f"test/{name}"]["unit"], paired_bootstrap(ours[name], theirs[name]))
        for name in metrics
    ]
    splits = [run.result["split"] for run in (a, b)]
    remarks = [] if splits[0] == splits[1] else [f"their splits differ: A {splits[0]}; B {splits[1]}"]
    return Comparison(a, b, tuple(rows), tuple(remarks))


def finished(path: Path) -> Run:
    run = read_run(path)
    if run.state != "finished":
        raise UserError(f"{path} has no result to compare: {run.state}, {run.detail}")
    return run


def load_test(path: Path) -> dict[str, np.ndarray]:
    """The arrays of test.npz, by increasing id."""
    try:
        with np.load(path / "test.npz", allow_pickle=False) as file:
            table = {name: file[name] for name in file.files}
    except FileNotFoundError:
        raise UserError(f"{path} has no test.npz, so there are no errors of single samples to compare") from None
    except (ValueError, OSError, EOFError, BadZipFile) as error:
        raise UserError(f"{path}/test.npz is damaged: {error}") from None
    order = np.argsort(table["id"], kind="stable")
    return {name: values[order] for name, values in table.items()}
