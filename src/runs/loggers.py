"""Loggers beside metrics.csv."""

import os

from lightning.pytorch.loggers import WandbLogger


def wandb_logger(project: str, save_dir: str, name: str) -> WandbLogger:
    """Weights & Biases: online where WANDB_API_KEY is set, else offline into the run's folder (`wandb sync` sends it later).

    The run's name is its id too, so that a resumed run goes on in the same place.
    """
    offline = "WANDB_API_KEY" not in os.environ
    return WandbLogger(project=project, save_dir=save_dir, name=name, id=name, resume="allow", offline=offline)
