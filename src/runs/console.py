"""What a person reads: the head of a run, its result, and errors in one line."""

import difflib
import re
import sys
from collections.abc import Iterable
from typing import Any

from omegaconf import OmegaConf
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ..errors import UserError
from ..models.paper import Paper
from ..tasks.frozen import PARTS
from .config import compose_config
from .folder import RunFolder

console = Console(soft_wrap=True, highlight=False)


def introduce(paper: Paper, config: dict[str, Any], folder: RunFolder) -> None:
    """Paper, data and folder, before anything takes time."""
    spec, choices = paper.spec, config["choices"]
    parameters = sum(p.numel() for p in paper.parameters())
    cite = f" (arXiv:{paper.arxiv})" if paper.arxiv else ""
    targets = ", ".join(f"{target.name} [{target.unit}]" if target.unit else target.name for target in spec.targets)
    mark = " · [yellow]SUBSET[/]" if spec.subset else ""
    mark += " · [yellow]MINIATURE[/]" if spec.source == "miniature" else ""
    console.print(f"[bold]{choices['model']}[/] {paper.title}{cite}, {parameters:,} parameters")
    console.print(f"[bold]{choices['data']}[/] {escape(targets)} · split {spec.split}{mark}")
    console.print(f"[bold]run[/] {folder.path}")


def show_result(result: dict[str, Any], folder: RunFolder) -> None:
    """The measured numbers, with what they were measured on."""
    what = f"{result['benchmark']}, split {result['split']}, {result['source']}"
    console.print(metric_table(f"{result['paper']} on {what}", result["metrics"]))
    speed = result["train_samples_per_second"]
    waiting = f" ({result['waiting_for_data']:.1%} of it waiting for data)" if speed else ""
    pace = f"{speed:,.0f} samples/s in training{waiting}, " if speed else ""
    console.print(
        f"{pace}{result['wall_time_seconds']:.0f} s, {result['peak_memory_mb']:,.0f} MB at most; {folder.path}/result.json"
    )


def metric_table(title: str, metrics: dict[str, dict[str, Any]]) -> Table:
    """{metric: {"value", "unit"}} as a table.

    What was scored in several ways stands side by side: the parts of a representation (…_all, …_inv, …_equi), and variants
    and splits whose name extends another metric's (acc and acc_so3).
    """
    rows: dict[tuple[str, str], dict[str, str]] = {}
    for name, metric in metrics.items():
        row, column = row_and_column(name, metrics)
        rows.setdefault((row, metric["unit"]), {})[column] = f"{metric['value']:.4g}"
    table = Table(title=title, title_justify="left")
    columns = list(dict.fromkeys(column for cells in rows.values() for column in cells))
    for column in ("metric", *columns, "unit"):
        table.add_column(column, justify="right" if column in columns else "left")
    for (name, unit), cells in rows.items():
        table.add_row(name, *(cells.get(column, "") for column in columns), unit)
    return table


def row_and_column(name: str, names: Iterable[str]) -> tuple[str, str]:
    """Where a metric stands: ("acc", "so3") for acc_so3 where there is an acc, else in the column "value"."""
    stem, _, part = name.rpartition("_")
    if part in PARTS:
        return stem, part
    shorter = [other for other in names if name.startswith(f"{other}_")]
    stem = max(shorter, key=len, default=name)
    return stem, name[len(stem) + 1 :] or "value"


def explain(error: BaseException) -> str:
    """One clear line for an error, with what would be right where that is known."""
    if isinstance(error, UserError):
        return str(error)
    text = str(error).strip() or type(error).__name__
    missing = re.search(
        r"Could not find '(\w+)/([^']+)'.*?Available options in '[^']*':\s*(.*?)(?:\nConfig search path|$)", text, re.S
    )
    if missing:
        group, name, options = missing.groups()
        return (
            f"there is no {group}={name}; {group} can be {', '.join(options.split())}{nearest(name, options.split())}"
        )
    if "Could not load 'hydra/sweeper/optuna'" in text:
        return "hydra/sweeper=tune needs the package hydra-optuna-sweeper: pip install 'erlangen[tune]'"
    unknown = re.search(r"Could not override '([^']+)'", text)
    if unknown:
        return no_such_option(unknown.group(1))
    if text.startswith("Error merging override") and error.__cause__:
        return f"{text.removeprefix('Error merging override ')}: {str(error.__cause__).splitlines()[0]}"
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.strip().startswith("object_type")]
    return " ".join(lines)


def no_such_option(name: str) -> str:
    """Says which options stand beside the one that does not exist."""
    overrides = [a for a in sys.argv[1:] if re.match(r"(model|data|optimizer|schedule|trainer|kernels|experiment)=", a)]
    parent, _, key = name.rpartition(".")
    cfg, _ = compose_config(overrides)
    node = OmegaConf.select(cfg, parent) if parent else cfg
    known = [str(option) for option in node if option != "_target_"] if OmegaConf.is_dict(node) else []
    place = f"{parent} has" if parent else "there are"
    return f"there is no option {name}{nearest(key, known)}; {place} {', '.join(known)}"


def nearest(word: str, known: list[str]) -> str:
    close = difflib.get_close_matches(word, known, n=1)
    return f" (did you mean {close[0]}?)" if close else ""
