"""Schedules: what they are by their formulas, and the one that watches a score beside torch's own."""

from pathlib import Path

import pytest
import torch
from torch.optim.lr_scheduler import ReduceLROnPlateau

from erlangen.errors import UserError
from erlangen.optim.schedules import Plateau, Ramps, Recipe
from erlangen.runs.config import compose_config, resolved
from erlangen.runs.folder import RunFolder
from erlangen.train import train


def optimizer(lr: float = 1.0) -> torch.optim.Optimizer:
    return torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=lr)


def rates(recipe: Recipe, scores: list[float]) -> list[float]:
    """The learning rate after each validation and the step that follows it."""
    sgd = optimizer()
    scheduler, found = recipe.scheduler(sgd, 1, len(scores)), []
    for score in scores:
        recipe.observe(score)
        sgd.step()
        scheduler.step()
        found.append(sgd.param_groups[0]["lr"])
    return found


@pytest.mark.parametrize("patience", [0, 1, 3])
def test_a_plateau_is_left_as_torch_leaves_it(patience: int) -> None:
    scores = torch.randint(0, 4, (60,), generator=torch.Generator().manual_seed(patience)).double().tolist()
    theirs, expected = optimizer(), []
    scheduler = ReduceLROnPlateau(theirs, mode="max", factor=0.7, patience=patience, threshold=0, min_lr=0.01)
    for score in scores:
        scheduler.step(score)
        expected.append(theirs.param_groups[0]["lr"])
    found = rates(Recipe(optimizer, Plateau(0.7, patience, 0.01)), scores)
    assert found == pytest.approx(expected)
    assert min(found) < 0.1


def test_what_a_plateau_remembers_is_in_the_schedulers_state() -> None:
    scores = [1.0, 0.5, 0.6, 0.4, 2.0, 0.1, 0.1, 0.1, 0.1]
    whole = rates(Recipe(optimizer, Plateau(0.5, 1)), scores)
    first, sgd = Recipe(optimizer, Plateau(0.5, 1)), optimizer()
    scheduler = first.scheduler(sgd, 1, 9)
    for score in scores[:4]:
        first.observe(score)
        sgd.step()
        scheduler.step()
    second, sgd = Recipe(optimizer, Plateau(0.5, 1)), optimizer()
    again = second.scheduler(sgd, 1, 9)
    again.load_state_dict(scheduler.state_dict())
    found = []
    for score in scores[4:]:
        second.observe(score)
        sgd.step()
        again.step()
        found.append(sgd.param_groups[0]["lr"])
    assert found == whole[4:]
    assert len(set(whole)) > 2


def test_a_score_is_nothing_to_a_schedule_of_time() -> None:
    ramps = Recipe(optimizer, Ramps(0.25, 0.5))
    assert rates(ramps, [0.0] * 8) == rates(Recipe(optimizer, Ramps(0.25, 0.5)), [float(i) for i in range(8)])


def test_ramps_go_up_stay_and_come_down() -> None:
    ramps = Ramps(0.2, 0.4)
    factors = [ramps(float(epoch), 10.0) for epoch in range(11)]
    assert factors[:3] == pytest.approx([0, 0.5, 1])
    assert factors[2:7] == pytest.approx([1.0] * 5)
    assert factors[8] == pytest.approx(0.5)
    assert factors[10] == pytest.approx(0, abs=1e-12)
    assert Ramps(0.0, 0.0)(0.0, 10.0) == Ramps(0.0, 0.0)(10.0, 10.0) == 1


@pytest.mark.parametrize("wrong", [(1.0, 3, 0.0), (0.5, -1, 0.0), (0.5, 3, 2.0)])
def test_mistakes_are_named(wrong: tuple) -> None:
    with pytest.raises(UserError, match="schedule"):
        Plateau(*wrong)


def plateau_run(folder: Path, *overrides: str) -> dict:
    options = ["model=schnet", "model.layers=1", "model.channels=8", "data=gwl", "schedule=plateau", "trainer=cpu"]
    options += ["kernels=reference", "schedule.patience=0", "trainer.max_epochs=6", f"paths.runs={folder}", *overrides]
    config = resolved(*compose_config(options))
    train(config)
    last = torch.load(RunFolder.of(config).checkpoints / "last.ckpt", weights_only=True)
    return {"schedule": last["lr_schedulers"], "weights": last["state_dict"], "rate": rate(last)}


def rate(checkpoint: dict) -> float:
    return checkpoint["optimizer_states"][0]["param_groups"][0]["lr"]


def test_a_run_shows_its_scores_to_the_plateau_and_goes_on_where_it_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One layer of distances cannot tell chains apart, so that the first score stays the best."""
    whole = plateau_run(tmp_path / "whole")
    assert whole["rate"] == pytest.approx(1e-3 * 0.5**4)  # the last of five halvings comes too late for a step
    calls, observe = [], Plateau.observe

    def stop_at_the_third(self: Plateau, score: float) -> None:
        calls.append(score)
        if len(calls) == 3:
            raise RuntimeError("the power went")
        observe(self, score)

    monkeypatch.setattr(Plateau, "observe", stop_at_the_third)
    with pytest.raises(RuntimeError, match="power"):
        plateau_run(tmp_path / "stopped")
    monkeypatch.setattr(Plateau, "observe", observe)
    again = plateau_run(tmp_path / "stopped", "resume=true")
    assert str(again["schedule"]) == str(whole["schedule"])
    assert again["rate"] == whole["rate"]
    assert all(torch.equal(value, whole["weights"][name]) for name, value in again["weights"].items())
