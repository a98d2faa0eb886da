"""Randomness follows the place in the training and nothing else."""

import random
from unittest.mock import Mock

import lightning as L
import numpy as np
import torch

from erlangen.runs.randomness import KeyedRandomness


def draw() -> tuple:
    return (
        torch.rand(3).tolist(),
        np.random.rand(),  # noqa: NPY002
        random.random(),
        torch.nn.functional.dropout(torch.ones(20)).tolist(),
    )


def at(stage: str, seed: int = 0, rank: int = 0, epoch: int = 0, batch: int = 0) -> tuple:
    """What is drawn at a place of a run, whatever was drawn before."""
    torch.rand(int(torch.randint(9, ())))
    trainer = Mock(spec=L.Trainer, global_rank=rank, current_epoch=epoch)
    if stage == "epoch":
        KeyedRandomness(seed).on_train_epoch_start(trainer, L.LightningModule())
    else:
        hook = getattr(KeyedRandomness(seed), f"on_{stage}_batch_start")
        hook(trainer, L.LightningModule(), None, batch)
    return draw()


def test_the_same_place_draws_the_same_and_every_other_place_something_else() -> None:
    places = [
        *({"stage": "train", "batch": batch, "epoch": epoch} for batch in range(3) for epoch in range(3)),
        *({"stage": stage, "batch": batch} for stage in ("validation", "test") for batch in range(3)),
        *({"stage": "epoch", "epoch": epoch} for epoch in range(3)),
        {"stage": "train", "seed": 1},
        {"stage": "train", "rank": 1},
        {"stage": "validation", "rank": 1},
    ]
    draws = [at(**place) for place in places]
    assert draws == [at(**place) for place in places]
    for generator in range(3):
        assert len({str(each[generator]) for each in draws}) == len(places)


def test_every_validation_of_a_run_is_the_same() -> None:
    assert at("validation", epoch=0, batch=2) == at("validation", epoch=7, batch=2)
