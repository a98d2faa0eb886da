"""metrics.csv: one row a number, only ever appended to."""

import csv
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
        epoch = metrics.pop("epoch", "")
        new = not self.path.exists()
        with self.path.open("a", newline="") as file:
            writer = csv.writer(file)
            if new:
                writer.writerow(COLUMNS)
            writer.writerows((step, epoch, name, repr(float(value))) for name, value in metrics.items())

    @rank_zero_only
    def rewind(self, step: int) -> None:
        """Drops what was logged at `step` or later: the training goes on from there and will log it again."""
        if self.path.exists():
            table = read_metrics(self.path)
            write_text(self.path, table[table["step"] < step].to_csv(index=False))


def read_metrics(path: Path) -> pd.DataFrame:
    """The columns step, epoch, name, value; a last line that was cut short by a kill is left out."""
    table = pd.read_csv(
        path, names=list(COLUMNS), header=0, dtype={"name": str, "value": str, "step": str, "epoch": str}
    )
    table = table.apply({"step": numbers, "epoch": numbers, "name": lambda column: column, "value": numbers})
    return table.dropna(subset=["step", "name", "value"]).astype({"step": int})


def numbers(column: pd.Series) -> pd.Series:
    return pd.to_numeric(column, errors="coerce")
