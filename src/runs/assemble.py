"""From a resolved configuration to objects: the benchmark, the paper, the trainer."""

import functools
import inspect
import logging
import os
import sys
import warnings
from collections.abc import Iterator
from typing import Any

import hydra
import lightning as L
import torch
from lightning.pytorch.callbacks import EarlyStopping
from lightning.pytorch.plugins.environments import SLURMEnvironment
from lightning.pytorch.utilities.exceptions import MisconfigurationException

from ..datamodules.base import DataModule
from ..errors import UserError
from ..models.paper import Paper
from ..optim.joint import optimizer_for
from ..optim.schedules import Recipe
from ..tasks.spec import Spec
from .averaging import WeightAverage
from .callbacks import Cost, FiniteGradients, Keeper, TestRecord, follow
from .checkpoints import AtomicCheckpointIO, Checkpoints
from .cluster import started_by_srun
from .folder import RunFolder
from .metrics_csv import MetricsCSV
from .options import check_passes, check_values
from .randomness import KeyedRandomness
from .replicas import Replicas
from .sharding import check_sharding

TRUSTED = ("erlangen.", "torch.optim.", "lightning.")


def build(node: dict[str, Any], **arguments: Any) -> Any:
    """Instantiates a configuration node, whose every `_target_` must lie in a trusted package.

    Packages of your own are trusted when the environment variable ERLANGEN_TRUST names them, separated by commas: a
    configuration may come out of somebody else's checkpoint.
    """
    check_trust(node)
    check_values(hydra.utils.get_object(node["_target_"]), node)
    # arguments are objects, which Hydra would turn into configuration: they are given to a partial instead
    factory = hydra.utils.instantiate({**node, "_partial_": True}, _convert_="all")
    if node.get("_partial_"):
        return factory
    try:
        return factory(**arguments)
    except (TypeError, ValueError, MisconfigurationException) as error:
        raise UserError(f"cannot build {node['_target_']}: {' '.join(str(error).split())}") from error


def check_trust(node: dict[str, Any]) -> None:
    """Raises UserError for a `_target_` that lies outside the trusted packages."""
    own = tuple(f"{name.strip()}." for name in os.environ.get("ERLANGEN_TRUST", "").split(",") if name.strip())
    for target in targets_in(node):
        if not target.startswith(TRUSTED + own):
            raise UserError(
                f"the configuration asks to build {target}, which is outside {', '.join(TRUSTED + own)}: name its package "
                "in the environment variable ERLANGEN_TRUST if you trust it"
            )


def targets_in(node: Any) -> Iterator[str]:
    """Every `_target_` anywhere in a configuration."""
    if isinstance(node, dict):
        if "_target_" in node:
            yield str(node["_target_"])
        for value in node.values():
            yield from targets_in(value)
    elif isinstance(node, list):
        for value in node:
            yield from targets_in(value)


def build_data(config: dict[str, Any]) -> DataModule:
    """The benchmark, in the form in which the configuration's paper takes it."""
    check_trust(config["model"])
    datamodule = build(config["data"], root=config["paths"]["data"], seed=config["seed"])
    return datamodule.offered_to(hydra.utils.get_class(config["model"]["_target_"]).modalities)


def build_paper(config: dict[str, Any], spec: Spec) -> Paper:
    """The paper for a benchmark, its weights drawn from the run's seed."""
    L.seed_everything(config["seed"], verbose=False)
    check_trust(config["model"])
    choice = build(config["kernels"])
    paper_class = hydra.utils.get_class(config["model"]["_target_"])
    # a paper that runs kernels takes the choice of their backends
    kernels = {"choice": choice} if "choice" in inspect.signature(paper_class).parameters else {}
    paper = build(config["model"], spec=spec, **kernels)
    paper.kernels = choice
    if config["augment"]:
        paper.augment = build(config["augment"], spec=spec)
    if config["head"]:
        replace_head(paper, config)
    if config["symmetrize"]:
        paper.network = build(config["symmetrize"], network=paper.network, spec=spec)
    check_sharding(config, paper)
    optimizer = build_optimizer(config["optimizer"])
    check_passes(optimizer.func, config["trainer"])
    optimizer = functools.partial(optimizer_for, paper, optimizer)
    paper.recipe = Recipe(optimizer, build(config["schedule"]), config["schedule_update"])
    return paper


def replace_head(paper: Paper, config: dict[str, Any]) -> None:
    """Puts the head that the configuration names in the place of the network's own."""
    network = paper.network
    if not (hasattr(network, "head") and hasattr(network, "feature_channels")):
        name = type(paper).__name__
        raise UserError(f"head={config['choices']['head']}: {name} has no head that reads features and can be replaced")
    (target,) = paper.spec.targets
    network.head = build(config["head"], channels=network.feature_channels, classes=target.classes)


def build_optimizer(node: dict[str, Any]) -> functools.partial[torch.optim.Optimizer]:
    """A partial, tried out once: a wrong learning rate is said before any data are loaded."""
    optimizer = build(node)
    try:
        optimizer([torch.nn.Parameter(torch.zeros(2, 2))])
    except (TypeError, ValueError) as error:
        raise UserError(f"optimizer: {error}") from error
    return optimizer


def quieten_lightning() -> None:
    """Leaves out what Lightning says that is not about this run: greetings, and hints that do not apply."""
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for hint in (
        r".*treespec, LeafSpec.*",
        r"The number of training batches .* is smaller than",
        r".*does not have many workers",
        r"You're resuming from a checkpoint that ended before the epoch",  # our samplers know where to go on
        r"FSDP2-wrapped module .* returned a view",  # of the root, whose weights stay for the whole step
        r"The .srun. command is available",  # a laptop or a login node, where one process is what was asked for
    ):
        warnings.filterwarnings("ignore", message=hint)


def build_trainer(config: dict[str, Any], folder: RunFolder, paper: Paper) -> tuple[L.Trainer, Cost]:
    """The trainer with everything that keeps a run's evidence, and the callback that knows its cost."""
    cost, task = Cost(), paper.task
    contents = {"spec": paper.spec.to_dict(), "config": config}
    keep = Checkpoints(folder.checkpoints, task.monitor, task.better, **config["checkpoint"], contents=contents)
    callbacks: list[L.Callback] = [KeyedRandomness(config["seed"]), Replicas(), FiniteGradients(), cost]
    callbacks += [TestRecord(folder.path), follow(), Keeper(folder)]
    callbacks.append(keep)  # before the averaging, which ends by overwriting the weights
    if config["ema_decay"] is not None:
        callbacks.append(WeightAverage(decay=config["ema_decay"]))
    if config["early_stopping_patience"] is not None:
        callbacks.append(
            EarlyStopping(
                f"val/{task.monitor}",
                mode="min" if task.better == "lower" else "max",
                patience=config["early_stopping_patience"],
                check_on_train_epoch_end=False,
            )
        )
    loggers = [MetricsCSV(folder.path / "metrics.csv")]
    if config["logger"]:
        loggers.append(build(config["logger"], save_dir=str(folder.path), name=folder.path.name))
    quieten_lightning()
    trainer = build(
        config["trainer"],
        callbacks=callbacks,
        logger=loggers,
        default_root_dir=str(folder.path),  # where Lightning looks for a checkpoint of its own under SLURM
        enable_progress_bar=sys.stdout.isatty(),
        plugins=[AtomicCheckpointIO(), *([SLURMEnvironment(auto_requeue=False)] if started_by_srun() else [])],
        deterministic=config["deterministic"],
        inference_mode=not any(target.gradient_of for target in paper.spec.targets),
    )
    return trainer, cost
