"""The top level of the configuration, with types, and what of it makes a run the same run."""

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_module
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import MISSING, DictConfig, OmegaConf

from ..kernels.choice import register_schema


@dataclass
class Paths:
    """Where data sets are kept and where runs go."""

    data: str = MISSING
    runs: str = MISSING


@dataclass
class CheckpointOptions:
    """How often the state of the training is saved, beside the end of every epoch."""

    every_n_steps: int | None = None
    every_minutes: float | None = 10.0


@dataclass
class TrainConfig:
    """The schema of conf/train.yaml. Types are checked here; a struct alone would take `seed=abc`."""

    model: Any = MISSING
    data: Any = MISSING
    kernels: Any = MISSING
    optimizer: Any = MISSING
    schedule: Any = MISSING
    schedule_update: str = "step"
    trainer: Any = MISSING
    logger: Any = None
    augment: Any = None
    head: Any = None
    symmetrize: Any = None
    seed: int = 1
    deterministic: bool = False
    compile: bool = False
    ema_decay: float | None = None
    early_stopping_patience: int | None = None
    checkpoint: CheckpointOptions = field(default_factory=CheckpointOptions)
    paths: Paths = field(default_factory=Paths)
    resume: bool = False
    overwrite: bool = False
    debug: bool = False


ConfigStore.instance().store(name="schema", node=TrainConfig)
register_schema()

INCIDENTAL = ("resume", "overwrite", "debug", "logger", "paths", "checkpoint", "choices")
"""Keys that do not change what a run computes, and so are no part of its name."""


def resolved(cfg: DictConfig, choices: dict[str, str]) -> dict[str, Any]:
    """Plain containers with every interpolation resolved; "choices" holds the file chosen in every group.

    A group of which nothing was chosen (`head=none`) is None.
    """
    values = OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)
    return {**{key: None if value == {} else value for key, value in values.items()}, "choices": choices}


def digest(config: dict[str, Any]) -> str:
    """Eight hexadecimal digits that stand for everything that a run computes from."""
    essential = {key: value for key, value in config.items() if key not in INCIDENTAL}
    return hashlib.sha256(json.dumps(essential, sort_keys=True).encode()).hexdigest()[:8]


def compose_config(overrides: list[str]) -> tuple[DictConfig, dict[str, str]]:
    """The configuration that `train.py OVERRIDES` would run, and which file was chosen in every group."""
    GlobalHydra.instance().clear()
    with initialize_config_module("erlangen.conf", version_base="1.3"):
        cfg = compose("train", overrides=overrides, return_hydra_config=True)
        choices = chosen(cfg.hydra.runtime.choices)
        return OmegaConf.masked_copy(cfg, [key for key in cfg if key != "hydra"]), choices


def chosen(choices: DictConfig | dict[str, Any]) -> dict[str, str]:
    """{group: file} without Hydra's own groups."""
    return {str(key): str(value) for key, value in choices.items() if "/" not in str(key) and value is not None}


def current_choices() -> dict[str, str]:
    """What `chosen` says of the job that Hydra runs now."""
    return chosen(HydraConfig.get().runtime.choices)


def available(group: str) -> list[str]:
    """The files of a config group, without `none`, which builds nothing."""
    return sorted(path.stem for path in group_folder(group).glob("*.yaml") if path.stem != "none")


def group_file(group: str, name: str) -> dict[str, Any]:
    """What one file of a config group holds."""
    return OmegaConf.to_container(OmegaConf.load(group_folder(group) / f"{name}.yaml"))


def group_folder(group: str) -> Path:
    return Path(__import__("erlangen.conf", fromlist=["conf"]).__file__).parent / group
