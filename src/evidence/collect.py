"""From run folders to rows of tables; nothing is read but what the runs wrote."""

import json
import os
import socket
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..runs.config import INCIDENTAL
from ..runs.folder import RunFolder, read_json
from ..runs.lock import left_behind
from .published import Published
from .recipe import departures, settings
from .statistics import Summary, summarize

FLOORS = {
    "composition": "least squares on the composition",
    "linear": "logistic regression on the pixels",
    "inertia": "every body goes straight on",
    "mean": "the mean of the training split",
}
"""The papers (files in conf/model) that every other row is held against, on the same split: the first that a table has."""
FIRST = ("mean", "composition", "linear", "inertia")
"""What heads every table."""


@dataclass(frozen=True, eq=False)
class Run:
    """One run folder as it was found: "finished" ones have a result, all others say why not."""

    path: Path
    state: str
    detail: str = ""
    config: dict[str, Any] | None = None
    result: dict[str, Any] | None = None


def read_run(path: Path) -> Run:
    """finished, running, interrupted, failed, new, damaged or missing; never raises."""
    if not path.exists():
        return Run(path, "missing", "there is no such folder")
    folder = RunFolder(path)
    try:
        state, config, result = read_json(path / "state.json"), folder.config, folder.result
    except UserError as error:
        return Run(path, "damaged", str(error))
    if state.get("state") == "finished" and not result:
        return Run(path, "damaged", "it says that it finished, and has no result.json")
    if state.get("state") == "finished":
        return Run(path, "finished", config=config, result=result)
    name = state.get("state", "new")
    here = state.get("host") == socket.gethostname()
    if name == "running" and (left_behind(path) or (here and not alive(state["pid"]))):
        name = "interrupted"  # killed: it could not write so itself
    done = f"{state.get('epoch', 0)} epochs done"
    return Run(path, name, f"{done}: {state['reason']}" if "reason" in state else done, config)


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def find_runs(paths: list[Path], expected: bool = False) -> list[Run]:
    """The runs that the paths are or hold, each once; UserError where there is none at all, and none is `expected`."""
    folders: dict[Path, None] = {}
    for path in paths:
        inside = sorted(config.parent for config in path.glob("[!.]*/config.yaml"))  # hidden: being removed
        is_run = (path / "config.yaml").exists() or not inside
        folders |= dict.fromkeys(folder.resolve() for folder in ([path] if is_run else inside))
    runs = [read_run(folder) for folder in folders if not folder.exists() or (folder / "config.yaml").exists()]
    if all(run.state == "missing" for run in runs) and not expected:
        raise UserError(
            f"there are no runs in {', '.join(map(str, paths))}: train one first, or name the folder of runs"
        )
    return runs


@dataclass(frozen=True, eq=False)
class Group:
    """Finished runs that differ only in their seed, by seed."""

    runs: tuple[Run, ...]
    settings: tuple[str, ...] = ()  # what tells it from other groups of the same paper in the same table

    @property
    def first(self) -> dict[str, Any]:
        return self.runs[0].result

    @property
    def paper(self) -> str:
        return self.first["paper"]

    @property
    def table(self) -> tuple[str, str, bool, str]:
        """What has to be the same for numbers to stand in one table: benchmark, source, subset or not, split."""
        return self.first["benchmark"], self.first["source"], self.first["subset"], self.first["split"]

    @property
    def label(self) -> str:
        return " ".join([self.paper, *self.settings])

    def values(self, key: str) -> list[float]:
        """One of the result's numbers, of every run that has it."""
        return [run.result[key] for run in self.runs if run.result[key] is not None]

    def metric(self, name: str) -> Summary:
        return summarize([run.result["metrics"][f"test/{name}"]["value"] for run in self.runs])

    def metrics(self) -> dict[str, str]:
        """{name: unit} of what was measured on the test split."""
        found = {name: metric["unit"] for name, metric in self.first["metrics"].items()}
        return {name.removeprefix("test/"): unit for name, unit in found.items() if name.startswith("test/")}

    def disagreements(self) -> list[str]:
        """What beside the seed was not the same for all runs: the code, the machine, the kernels."""
        kinds = {key: {json.dumps(run.result[key], sort_keys=True) for run in self.runs} for key in ("git", "device")}
        kinds["kernels"] = {json.dumps(run.result["kernels"], sort_keys=True) for run in self.runs}
        names = {"git": "commits", "device": "devices", "kernels": "kernels"}
        return [names[key] for key, values in kinds.items() if len(values) > 1]


def same_but_seed(run: Run) -> str:
    """Equal for runs that differ only in their seed."""
    config = {key: value for key, value in run.config.items() if key not in (*INCIDENTAL, "seed")}
    config["trainer"] = {key: value for key, value in config["trainer"].items() if key != "default_root_dir"}
    # operations that nothing was chosen for; there are more of them from version to version
    config["kernels"] = {key: value for key, value in config.get("kernels", {}).items() if value is not None}
    names = ("paper", "benchmark", "source", "split", "world_size")
    return json.dumps([config, [run.result[name] for name in names]], sort_keys=True)


def group_runs(runs: list[Run]) -> tuple[list[Group], list[Run]]:
    """Groups of finished runs, and the runs that are in none: without a result, or repeating the seed of a newer one."""
    found: dict[str, dict[int, Run]] = defaultdict(dict)
    left = [run for run in runs if run.state != "finished"]
    newest_first = sorted((run for run in runs if run.state == "finished"), key=finished_at, reverse=True)
    for run in newest_first:
        seeds = found[same_but_seed(run)]
        kept = seeds.setdefault(run.result["seed"], run)
        if kept is not run:
            left.append(Run(run.path, "repeated", f"the same run as {kept.path}, which is newer and counts"))
    groups = [Group(tuple(seeds[seed] for seed in sorted(seeds))) for seeds in found.values()]
    return told_apart(groups), left


def finished_at(run: Run) -> str:
    return read_json(run.path / "state.json")["time"]


def told_apart(groups: list[Group]) -> list[Group]:
    """The same groups, with the settings in which those of one paper in one table differ, and what was put to the paper."""
    rivals: dict[Any, list[Group]] = defaultdict(list)
    for group in groups:
        rivals[group.table, group.paper].append(group)
    return [
        Group(group.runs, tuple(with_additions(words, group.runs[0].config["choices"])))
        for same in rivals.values()
        for group, words in zip(same, settings([group.runs[0].config for group in same]), strict=True)
    ]


def with_additions(words: list[str], choices: dict[str, Any]) -> list[str]:
    """Settings and, where they do not say it, a head or a wrapper that is not the paper's own."""
    said = {word.partition(" ")[0] for word in words}
    chosen = {group: choices.get(group, "none") for group in ("head", "symmetrize") if group not in said}
    return sorted([*words, *(f"{group} {choice}" for group, choice in chosen.items() if choice not in (None, "none"))])


@dataclass(frozen=True)
class Standing:
    """A published value beside a measured one, and why the two cannot be compared, if so."""

    published: Published
    reasons: tuple[str, ...]
    departures: tuple[str, ...]

    @property
    def comparable(self) -> bool:
        return not self.reasons


def standing(group: Group, metric: str, unit: str, published: list[Published]) -> Standing | None:
    """The published value that is nearest to what the group did, the verified one of several; None where there is none."""
    result, config = group.first, group.runs[0].config
    found = []
    for row in published:
        if (row.paper, row.benchmark, row.metric) != (group.paper, result["benchmark"], metric):
            continue
        differences = departures(config, result["world_size"], row.recipe(), row.indifferent)
        differences += [f"without {name} (published with)" for name in row.beyond]
        reasons = ["miniature data"] if result["source"] == "miniature" else []
        reasons += ["subset"] if result["subset"] else []
        reasons += [f"unit is {row.unit}"] if unit != row.unit else []
        reasons += ["recipe differs"] if differences else []
        found.append(Standing(row, tuple(reasons), tuple(differences)))
    return min(
        found, key=lambda s: (len(s.departures) + len(s.reasons), s.published.confidence != "verified"), default=None
    )


@dataclass(frozen=True)
class Row:
    """One metric of one group."""

    group: Group
    metric: str
    unit: str
    measured: Summary
    standing: Standing | None
    to_floor: float | None


@dataclass(frozen=True)
class Table:
    """Everything that was measured on one split of one benchmark."""

    benchmark: str
    source: str
    subset: bool
    split: str
    rows: tuple[Row, ...]

    @property
    def title(self) -> str:
        kind = "SUBSET of the official data" if self.subset else "official data"
        if self.source == "miniature":
            kind = "MINIATURE, not the benchmark's data" + (", and a subset of it" if self.subset else "")
        return f"{self.benchmark} · {kind} · split {self.split}"

    @property
    def groups(self) -> list[Group]:
        return list(dict.fromkeys(row.group for row in self.rows))


def build_tables(groups: list[Group], published: list[Published]) -> list[Table]:
    """One table for each benchmark, source and split: official data first, then subsets, then miniatures."""
    tables: dict[tuple[str, str, bool, str], list[Group]] = defaultdict(list)
    for group in groups:
        tables[group.table].append(group)
    order = sorted(tables, key=lambda table: (table[1] == "miniature", table[2], table[0], table[3]))
    return [Table(*key, rows=table_rows(tables[key], published)) for key in order]


def table_rows(groups: list[Group], published: list[Published]) -> tuple[Row, ...]:
    """By metric; the floors first, then papers by name."""
    rank = {name: place - len(FIRST) for place, name in enumerate(FIRST)}
    groups = sorted(groups, key=lambda group: (rank.get(group.paper, 0), group.label))
    metrics = {name: unit for group in groups for name, unit in group.metrics().items()}
    return tuple(
        Row(
            group, name, unit, group.metric(name), standing(group, name, unit, published), to_floor(group, name, groups)
        )
        for name, unit in metrics.items()
        for group in groups
        if name in group.metrics()
    )


def floor_of(groups: list[Group]) -> Group | None:
    """What all others of a table are held against."""
    floors = [group for group in groups if group.paper in FLOORS]
    return min(floors, key=lambda group: list(FLOORS).index(group.paper), default=None)


def to_floor(group: Group, metric: str, groups: list[Group]) -> float | None:
    """The group's mean over that of the benchmark's floor; None where there is no such run, or no such ratio."""
    floor = floor_of(groups)
    if floor is None or metric not in floor.metrics():
        return None
    if metric.startswith("log_"):
        return None  # a ratio of logarithms means nothing
    value = floor.metric(metric).mean
    return group.metric(metric).mean / value if value > 0 else None
