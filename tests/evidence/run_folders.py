"""Run folders as training writes them, without any training."""

import copy
import functools
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import OmegaConf

from erlangen.runs.config import compose_config, resolved
from erlangen.runs.folder import RunFolder, write_json, write_text

PUBLISHED_GAP = ("experiment=egnn_qm9", "data.targets=[gap]", "optimizer.lr=1.0e-3")
"""The overrides of EGNN's published gap."""
SUBSET = ("data.train_size=500",)
FLOORS = ("mean", "composition")
METRICS = """step,epoch,name,value
1,0,train/loss,1.0
3,0,train/loss,0.8
5,0,val/mae_gap,900.0
7,1,train/loss,0.7
11,1,val/mae_gap,850.0
12,2,test/mae_gap,860.0
"""
METRICS_WITHOUT_TRAINING = """step,epoch,name,value
0,0,val/mae_gap,900.0
0,0,test/mae_gap,860.0
"""


@functools.cache
def composed(overrides: tuple[str, ...]) -> dict[str, Any]:
    return resolved(*compose_config(list(overrides)))


class Runs:
    """A folder of runs; each method writes one and returns its path."""

    def __init__(self, path: Path):
        self.path = path

    def finished(
        self,
        *overrides: str,
        seed: int = 1,
        gap: float = 800.0,
        metrics: dict[str, float] | None = None,
        unit: str = "meV",
        name: str = "",
        **more: Any,
    ) -> Path:
        """A run with a result, by default of the gap alone; `more` replaces entries of the result."""
        folder = self.folder(overrides, seed, name)
        config = folder.config
        model, size = config["choices"]["model"], config["data"]["train_size"]
        split = config["data"]["split"]
        floor = model in FLOORS
        values = metrics or {"mae_gap": gap}
        result = {
            "paper": model,
            "benchmark": config["choices"]["data"],
            "split": split if size is None else f"{split}, {size} of 100000 train",
            "source": "official",
            "subset": size is not None,
            "metrics": {
                f"{stage}/{metric}": {"value": value, "unit": unit}
                for metric, value in values.items()
                for stage in ("val", "test")
            },
            "monitor": "mae_gap",
            "better": "lower",
            "parameters": 0 if floor else 113_413,
            "kernels": {},
            "seed": seed,
            "world_size": 1,
            "train_samples_per_second": None if floor else 417.0,
            "wall_time_seconds": 93.0,
            "device": "x86_64 CPU, 2 threads",
            "git": "abc",
        }
        write_json(folder.path / "result.json", {**result, **more})
        write_text(folder.path / "metrics.csv", METRICS_WITHOUT_TRAINING if floor else METRICS)
        write_test(folder.path, np.full(50, gap))
        folder.mark("finished", epoch=3, step=18)
        return folder.path

    def unfinished(self, *overrides: str, seed: int = 1, **state: Any) -> Path:
        """A run without a result, in a state of the caller's choice."""
        folder = self.folder(overrides, seed, "")
        write_json(folder.path / "state.json", {"time": "2026-01-01T00:00:00+00:00", **state})
        return folder.path

    def folder(self, overrides: tuple[str, ...], seed: int, name: str) -> RunFolder:
        config = {**copy.deepcopy(composed(overrides)), "seed": seed}
        config["paths"]["runs"] = str(self.path)
        folder = RunFolder(self.path / name) if name else RunFolder.of(config)
        folder.path.mkdir(parents=True)
        write_text(folder.path / "config.yaml", OmegaConf.to_yaml(OmegaConf.create(config)))
        return folder


def write_test(path: Path, errors: np.ndarray, ids: np.ndarray | None = None, true: np.ndarray | None = None) -> None:
    """The test.npz of a run that erred so much on every sample."""
    ids = np.arange(len(errors)) if ids is None else ids
    true = 6000.0 + 10.0 * ids if true is None else true
    np.savez_compressed(path / "test.npz", id=ids, mae_gap=errors, true_gap=true, predicted_gap=true + errors)
