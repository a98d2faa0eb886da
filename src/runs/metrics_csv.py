"""metrics.csv: one row a number, only ever appended to."""

import csv
import io
from argparse import Namespace
from pathlib import Path
from typing import Any

import pandas as pd
from lightning.pytorch.loggers.logger import Logger
from lightning.pytorch.utilities import rank_zero_only

from .folder import write_text

COLUMNS = ("step", "epoch", "name", "value")


class MetricsCSV(Logger):
    """Writes (step, epoch, name, value) as training goes; a resumed run goes on with the same file."""

    def __init__(self, path: Path):
        super().__init__()
        self.path = path

    @property
    def name(self) -> str:
        return "csv"

    @property
    def version(self) -> str:
        return ""

    @rank_zero_only
    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """The configuration has a file of its own."""

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        rows = [(step, metrics.get("epoch", ""), name, repr(float(value))) for name, value in metrics.items()]
        new = not self.path.exists()
        with self.path.open("a", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            if new:
                writer.writerow(COLUMNS)
            writer.writerows(row for row in rows if row[2] != "epoch")

    @rank_zero_only
    def rewind(self, step: int) -> None:
        """Drops what was logged at `step` or later: the training goes on from there and will log it again."""
        if not self.path.exists():
            return
        rows = whole_lines(self.path)[1:]
        kept = [",".join(COLUMNS), *(row for row in rows if int(row.split(",", 1)[0]) < step)]
        write_text(self.path, "\n".join(kept) + "\n")


def read_metrics(path: Path) -> pd.DataFrame:
    """The columns step, epoch, name, value; a last line that was cut short by a kill is left out."""
    table = io.StringIO("\n".join(whole_lines(path)))
    return pd.read_csv(table, dtype={"step": int, "name": str, "value": float}, float_precision="round_trip")


def whole_lines(path: Path) -> list[str]:
    return path.read_text().rpartition("\n")[0].splitlines()
