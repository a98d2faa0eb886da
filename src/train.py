"""Training: one command, one run folder, one result."""

import os
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NoReturn

import hydra
import lightning as L
import numpy as np
import torch
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from lightning.pytorch.utilities import rank_zero_only
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from .datamodules.base import DataModule
from .errors import UserError
from .evidence.plots import plot_run
from .models.paper import Paper
from .nn.compiled import Compiled
from .runs import assemble, checkpoints
from .runs.config import current_choices, resolved
from .runs.console import explain, introduce, show_result
from .runs.folder import RunFolder, as_user_error, environment, write_json
from .runs.loading import checkpoint_of
from .runs.options import check_options
from .runs.pairing import check_pair
from .runs.sweeps import needs_own_process, run_in_own_process


def train(config: dict[str, Any]) -> dict[str, Any]:
    """Trains, tests the checkpoint that was best on the validation split, and writes result.json.

    Args:
        config: the resolved configuration (runs.config.resolved).

    Returns:
        The contents of result.json.
    """
    check_pair(config)
    check_options(config)
    folder = RunFolder.of(config)
    if config["resume"] and folder.state == "finished":
        print(f"{folder.path} is finished already")
        return folder.result
    datamodule = assemble.build_data(config)
    paper = assemble.build_paper(config, datamodule.spec)
    if rank_zero_only.rank == 0:
        folder.open(config)
        introduce(paper, config, folder)
    try:
        result = fit_and_test(config, folder, datamodule, paper)
    except BaseException as caught:
        error = as_user_error(caught, folder)
        if rank_zero_only.rank == 0:
            with suppress(OSError):  # on a full disk
                folder.mark("failed", reason=explain(error))
        if error is caught:
            raise
        raise error from caught
    if rank_zero_only.rank == 0:
        show_result(result, folder)
    return result


def fit_and_test(config: dict[str, Any], folder: RunFolder, datamodule: DataModule, paper: Paper) -> dict[str, Any]:
    paper.prepare(datamodule.task, datamodule.statistics(), datamodule.train_batches)
    if config["compile"]:
        paper.compiled = Compiled(paper.network)
    trainer, cost = assemble.build_trainer(config, folder, paper)
    if paper.trains:
        resume = checkpoints.newest_intact(folder.checkpoints) if config["resume"] else None
        trainer.fit(paper, datamodule=datamodule, ckpt_path=resume)
    else:
        trainer.validate(paper, datamodule=datamodule, verbose=False)
        trainer.save_checkpoint(folder.checkpoints / "last.ckpt")
    validation = best_validation(trainer, paper)
    paper.load_state_dict(checkpoints.load(checkpoint_of(folder.path), paper.device)["state_dict"])
    trainer.test(paper, datamodule=datamodule, verbose=False)
    metrics = {name: float(value) for name, value in trainer.callback_metrics.items() if name.startswith("test/")}
    result = {
        "paper": config["choices"]["model"],
        "title": paper.title,
        "arxiv": paper.arxiv,
        "benchmark": config["choices"]["data"],
        "modality": paper.spec.modality,
        "split": paper.spec.split,
        "source": paper.spec.source,
        "subset": paper.spec.subset,
        "metrics": {name: with_unit(paper, name, value) for name, value in {**validation, **metrics}.items()},
        "monitor": paper.task.monitor,
        "better": paper.task.better,
        "parameters": sum(p.numel() for p in paper.parameters()),
        "epochs": trainer.current_epoch,
        "steps": trainer.global_step,
        "world_size": trainer.world_size,
        "precision": config["trainer"]["precision"],
        "kernels": paper.kernels.ran,
        "seed": config["seed"],
        **cost.summary(),
        **environment(),
    }
    if trainer.is_global_zero:
        write_json(folder.path / "result.json", result)
        folder.mark("finished", epoch=trainer.current_epoch, step=trainer.global_step)
        plot_run(folder)
    return result


def best_validation(trainer: L.Trainer, paper: Paper) -> dict[str, float]:
    """The validation score of the checkpoint that will be tested."""
    keep = next(callback for callback in trainer.callbacks if isinstance(callback, checkpoints.Checkpoints))
    name = f"val/{paper.task.monitor}"
    if keep.best is not None:
        return {name: keep.sign * keep.best}
    return {name: float(trainer.callback_metrics[name])} if name in trainer.callback_metrics else {}


def with_unit(paper: Paper, name: str, value: float) -> dict[str, Any]:
    return {"value": value, "unit": paper.task.units.get(name.split("/", 1)[1], "")}


def run(cfg: DictConfig) -> float:
    """One job of Hydra's; returns the validation metric, for a sweeper to minimise or maximise."""
    torch.set_float32_matmul_precision("high")
    try:
        config = resolved(cfg, current_choices())
        result = run_in_own_process(config) if needs_own_process(config) else train(config)
    except UserError as error:
        if cfg.debug or HydraConfig.get().mode == RunMode.MULTIRUN:
            raise
        fail(error)  # here, before Hydra adds its own lines
    return result["metrics"].get(f"val/{result['monitor']}", {}).get("value", np.nan)


def report_errors(command: Callable[[], Any]) -> None:
    """Runs a command; what a user can mend ends in one line and exit code 1, `debug=true` shows the traceback."""
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")  # or Hydra prints and exits before we can explain
    try:
        command()
    except (UserError, HydraException, OmegaConfBaseException) as error:
        if any(argument.lower() in ("debug=true", "--debug") for argument in sys.argv):
            raise
        fail(error)


def fail(error: Exception) -> NoReturn:
    print(f"error: {explain(error)}", file=sys.stderr)
    sys.exit(1)


def main() -> None:
    """`python train.py model=… data=…`"""
    report_errors(hydra.main(version_base="1.3", config_path="pkg://erlangen.conf", config_name="train")(run))


if __name__ == "__main__":
    # by its own name, so that a job sent to a cluster finds the function
    from erlangen.train import main as entry

    entry()
