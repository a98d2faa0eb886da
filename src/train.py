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
from .runs.cluster import as_sweep, fail_job, going_on, job_errors
from .runs.config import current_choices, resolved
from .runs.console import explain, introduce, show_result
from .runs.folder import RunFolder, as_user_error, environment, write_json
from .runs.loading import checkpoint_of
from .runs.manifest import check_direction
from .runs.options import check_options
from .runs.pairing import check_pair, complete
from .runs.pictures import draw_views, log_pictures
from .runs.preemption import Preemption
from .runs.ranks import end_with_parent
from .runs.sharding import load_weights
from .runs.sweeps import needs_own_process, run_in_own_process
from .tasks.frozen import FrozenFeatures

NO_TRIAL = "No trials are completed yet."
"""What Optuna raises at the end of a study whose trials have all failed."""


def train(config: dict[str, Any]) -> dict[str, Any]:
    """Trains, tests the checkpoint that was best on the validation split, and writes result.json.

    Args:
        config: the resolved configuration (runs.config.resolved).

    Returns:
        The contents of result.json.
    """
    check_pair(config)
    check_options(config)
    config = complete(config)
    folder = RunFolder.of(config)
    config = going_on(config, folder.job)
    preemption = Preemption()
    if config["resume"] and folder.state == "finished" and folder.result:
        print(f"{folder.path} is finished already")
        return folder.result
    datamodule = assemble.build_data(config)
    paper = assemble.build_paper(config, datamodule.spec)
    if rank_zero_only.rank == 0:
        folder.open(config)
        introduce(paper, config, folder)
    try:
        result = fit_and_test(config, folder, datamodule, paper, preemption)
    except BaseException as caught:
        error = as_user_error(caught, folder)
        if rank_zero_only.rank == 0:
            with suppress(OSError):  # on a full disk
                folder.mark("failed", reason=explain(error))
        if error is caught:
            raise
        raise error from caught
    finally:
        folder.close()
    if rank_zero_only.rank == 0:
        show_result(result, folder)
    return result


def fit_and_test(
    config: dict[str, Any], folder: RunFolder, datamodule: DataModule, paper: Paper, preemption: Preemption
) -> dict[str, Any]:
    paper.prepare(datamodule.task, datamodule.statistics(), datamodule.train_batches)
    if config["compile"]:
        paper.compiled = Compiled(paper.network)
    trainer, cost = assemble.build_trainer(config, folder, paper)
    preemption.attend(trainer)
    if paper.trains:
        resume = checkpoints.newest_intact(folder.checkpoints) if config["resume"] else None
        if config["resume"] and rank_zero_only.rank == 0:
            print(
                f"{folder.path} goes on from {resume.name}"
                if resume
                else f"{folder.path} starts: nothing to go on from"
            )
        trainer.fit(paper, datamodule=datamodule, ckpt_path=resume)
    else:
        trainer.validate(paper, datamodule=datamodule, verbose=False)
        trainer.save_checkpoint(folder.checkpoints / "last.ckpt")
    validation = best_validation(trainer, paper)
    load_weights(paper, checkpoints.load(checkpoint_of(folder.path), paper.device)["state_dict"])
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
        pictures = plot_run(folder)
        if isinstance(paper.task, FrozenFeatures):
            pictures += draw_views(paper, datamodule, paper.task, folder)
        log_pictures(trainer.loggers, pictures)
        folder.mark("finished", epoch=trainer.current_epoch, step=trainer.global_step)  # all that it leaves is there
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
    end_with_parent()
    config = resolved(cfg, current_choices())
    try:
        check_direction(config)
    except UserError as error:
        fail(error)  # and end the study, all of which would be wrong
    try:
        result = run_in_own_process(complete(config)) if needs_own_process(config) else train(config)
    except UserError as error:
        fail_job()
        if cfg.debug or HydraConfig.get().mode == RunMode.MULTIRUN:
            raise
        fail(error)  # here, before Hydra adds its own lines
    except BaseException:
        fail_job()
        raise
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
    report_errors(compose_and_run)


def compose_and_run() -> None:
    sys.argv[1:] = as_sweep(sys.argv[1:])
    try:
        with job_errors():
            hydra.main(version_base="1.3", config_path="pkg://erlangen.conf", config_name="train")(run)()
    except ValueError as error:
        if str(error) == NO_TRIAL:
            raise UserError("no trial of this study has a validation score: see above what each one said") from None
        raise


if __name__ == "__main__":
    # by its own name, so that a job sent to a cluster finds the function
    from erlangen.train import main as entry

    entry()
