"""Published results, and the recipe under which each of them stands.

A file in published/, one for each paper, or for each paper and benchmark:

    paper: egnn                         # file in conf/model
    arxiv: "2102.09844"                 # in quotes, or YAML reads a number
    protocols:
      - benchmark: qm9                  # file in conf/data
        split: cormorant                # as result.json names it for a whole split
        experiment: egnn_qm9            # file in conf/experiment: the published recipe
        indifferent: [data.reader]      # options that change nothing of the result (may be left out)
        beyond: [TrivialAugment]        # of the recipe what no option here does: then for orientation only (likewise)
        common:                         # what all results below share; a result may say otherwise
          better: lower                 # or higher
          variant: 7 layers             # of the paper, where it has several ("" if left out)
          where: arXiv:2306.12059 Table 5
          origin: secondary             # primary: the paper or its code; secondary: quoted by others; ...
          confidence: verified          # read there; or recollected: not verified, and shown as such
          note: ...                     # "" if left out
          cost: 1412 V100-hours         # what the training took, as published ("" if left out)
        results:                        # the first is the headline
          - {metric: mae_gap, value: 48, unit: meV, overrides: ["data.targets=[gap]", optimizer.lr=1.0e-3]}

A protocol may name another `paper`, a size of its own for instance. `metric` and `unit` are ours (the task's); `overrides` are
added to `experiment=...` and complete the recipe of that very number. All values are of the benchmark's official data.
"""

from dataclasses import MISSING, dataclass, fields
from functools import cache
from pathlib import Path
from typing import Any, Literal, get_args

from omegaconf import OmegaConf

from .. import published
from ..errors import UserError
from ..runs.config import compose_config, resolved

Confidence = Literal["verified", "recollected"]
Better = Literal["lower", "higher"]


@dataclass(frozen=True)
class Published:
    """One published number, and all that is known of how it came about."""

    paper: str
    arxiv: str
    benchmark: str
    split: str
    experiment: str
    metric: str
    value: float
    unit: str
    better: Better
    where: str
    origin: str
    confidence: Confidence
    overrides: tuple[str, ...] = ()
    indifferent: tuple[str, ...] = ()
    beyond: tuple[str, ...] = ()
    variant: str = ""
    note: str = ""
    cost: str = ""

    def recipe(self) -> dict[str, Any]:
        """The resolved configuration that the number was published for."""
        return composed((f"experiment={self.experiment}", *self.overrides))


@cache
def composed(overrides: tuple[str, ...]) -> dict[str, Any]:
    return resolved(*compose_config(list(overrides)))


def load_published(folder: Path | None = None) -> list[Published]:
    """All published results, in the order of their files; UserError where a file does not follow the format.

    Args:
        folder: holds the files; the one of the package by default.
    """
    folder = folder or Path(published.__file__).parent
    return [result for path in sorted(folder.glob("*.yaml")) for result in read_file(path)]


def read_file(path: Path) -> list[Published]:
    content = OmegaConf.to_container(OmegaConf.load(path))
    results = []
    try:
        for protocol in content.pop("protocols"):
            common, rows = protocol.pop("common", {}), protocol.pop("results")
            results += [checked(path, {**content, **protocol, **common, **row}) for row in rows]
    except KeyError as error:
        raise UserError(f"{path}: there is no {error.args[0]}") from None
    return results


def checked(path: Path, row: dict[str, Any]) -> Published:
    known = {field.name: field for field in fields(Published)}
    place = f"{path}: {row.get('metric', 'a result')}"
    unknown = sorted(set(row) - set(known))
    if unknown:
        raise UserError(f"{place} has {', '.join(unknown)}; it can have {', '.join(known)}")
    missing = [name for name, field in known.items() if field.default is MISSING and name not in row]
    if missing:
        raise UserError(f"{place} lacks {', '.join(missing)}")
    for name, choices in (("better", get_args(Better)), ("confidence", get_args(Confidence))):
        if row[name] not in choices:
            raise UserError(f"{place}: {name} must be {' or '.join(choices)}, not {row[name]!r}")
    if isinstance(row["value"], bool) or not isinstance(row["value"], int | float):
        raise UserError(f"{place}: value must be a number, not {row['value']!r}")
    if not isinstance(row["arxiv"], str):
        raise UserError(f"{path}: arxiv must stand in quotes, or YAML reads the number {row['arxiv']}")
    lists = {name: tuple(row.get(name, ())) for name in ("overrides", "indifferent", "beyond")}
    return Published(**{**row, **lists, "value": float(row["value"])})
