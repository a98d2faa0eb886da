"""What a sweep is going to run, written down before its first job: so a report knows of jobs that never started."""

import hashlib
import shlex
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra import compose
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf

from ..errors import UserError
from .assemble import build_data
from .config import chosen, resolved
from .folder import RunFolder, now, read_json, write_json
from .pairing import complete

GRID = "hydra._internal.core_plugins.basic_sweeper.BasicSweeper"
"""Hydra's own sweeper; others draw their jobs one after the other."""
FOLDER = ".multirun"
"""Beside the runs."""
MODES = ("resume", "overwrite", "debug")
"""Options of a command that are not of what it computes."""


@dataclass(frozen=True)
class Sweep:
    """A sweep's command (without `resume=true` and the like); what tells each job from the others, and its folder."""

    path: Path
    command: str
    jobs: tuple[tuple[str, Path], ...]


class SweepRecord(Callback):
    """Hydra's notice of a sweep's start and end."""

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Writes the manifest: of a grid, whose jobs are known. A study's depend on what it finds."""
        if config.hydra.sweeper._target_ != GRID:
            return
        words = [*config.hydra.overrides.hydra, *config.hydra.overrides.task]
        command = [word for word in words if not word.startswith((*(f"{mode}=" for mode in MODES), "hydra.mode="))]
        jobs = [{"overrides": job, "folder": folder_of(job, config)} for job in grid(config)]
        name = hashlib.sha256(" ".join(sorted(job["folder"] for job in jobs)).encode()).hexdigest()[:8]
        folder = Path(config.paths.runs) / FOLDER
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / f"sweep-{name}.json", {"command": shlex.join(command), "jobs": jobs, "time": now()})

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Says what a study found."""
        if config.hydra.sweeper._target_ != GRID:
            path = Path(config.hydra.sweep.dir) / "optimization_results.yaml"
            found = OmegaConf.to_container(OmegaConf.load(path))
            best = " ".join(f"{name}={value}" for name, value in found.get("best_params", {}).items())
            print(f"best on the validation split: {best} ({found.get('best_value')}); {path}")


def grid(config: DictConfig) -> list[list[str]]:
    """The overrides of every job, as Hydra's own sweeper makes them."""
    words = [f"{name}={values}" for name, values in (config.hydra.sweeper.params or {}).items()]
    parser = OverridesParser.create(GlobalHydra.instance().config_loader())
    (jobs,) = BasicSweeper.split_arguments(parser.parse_overrides([*words, *config.hydra.overrides.task]), None)
    return jobs


def folder_of(job: list[str], config: DictConfig) -> str:
    """The name of the folder that a job will have."""
    cfg = compose(config.hydra.job.config_name, overrides=job, return_hydra_config=True)
    choices = chosen(cfg.hydra.runtime.choices)
    plain = OmegaConf.masked_copy(cfg, [key for key in cfg if key != "hydra"])
    plain = resolved(plain, choices)
    with suppress(UserError):  # a job that will be refused makes no folder, whatever its name
        plain = complete(plain)
    return RunFolder.of(plain).path.name


def sweeps_in(runs: Path) -> list[Sweep]:
    """The sweeps that were started into a folder of runs, the oldest first."""
    found = {path: read_json(path) for path in sorted((runs / FOLDER).glob("sweep-*.json"))}
    sweeps = []
    for path, content in sorted(found.items(), key=lambda item: item[1]["time"]):
        folders = (runs / job["folder"] for job in content["jobs"])
        jobs = zip(told_apart(content["jobs"]), folders, strict=True)
        sweeps.append(Sweep(path, content["command"], tuple(jobs)))
    return sweeps


def told_apart(jobs: list[dict[str, Any]]) -> list[str]:
    """The overrides of each job that not all of them have."""
    common = set.intersection(*(set(job["overrides"]) for job in jobs)) if len(jobs) > 1 else set()
    return [" ".join(word for word in job["overrides"] if word not in common) for job in jobs]


def check_direction(config: dict[str, Any]) -> None:
    """Raises UserError where a study would look for the worst validation score."""
    direction = HydraConfig.get().sweeper.get("direction")
    if direction is None:
        return
    task, data = build_data(config).task, config["choices"]["data"]
    right = {"lower": "minimize", "higher": "maximize"}[task.better]
    if getattr(direction, "name", direction) != right:
        raise UserError(
            f"hydra.sweeper.direction must be {right} for data={data}, whose validation score {task.monitor} is better when "
            f"it is {task.better}"
        )
