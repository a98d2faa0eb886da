"""hydra/sweeper=tune: a study looks at validation scores only, and one that was stopped goes on with the same trials."""

import json
import shutil
from pathlib import Path

import pytest
from omegaconf import OmegaConf
from runs.command import TINY, Command, Exit

STUDY = ("--multirun", "hydra/sweeper=tune", *TINY, "trainer.max_epochs=1", "hydra.sweeper.n_trials=3")


def trials(runs: Path) -> dict[str, dict]:
    """The results of a study, by their run's name."""
    return {path.parent.name: json.loads(path.read_text()) for path in runs.glob("*/result.json")}


def best(command: Command) -> tuple[float, float]:
    """Learning rate and score of what the study found."""
    found = OmegaConf.load(command.runs / ".multirun" / "optimization_results.yaml")
    return found.best_params["optimizer.lr"], found.best_value


def finished(exit: Exit) -> int:
    return exit.out.count("is finished already")


def test_the_best_trial_is_that_of_the_validation_score_and_a_stopped_study_goes_on(command: Command) -> None:
    study = command(*STUDY, "seed=1")
    assert study.code == 0, study.err
    whole = trials(command.runs)
    scores = {name: result["metrics"]["val/mae_gap"]["value"] for name, result in whole.items()}
    assert len(set(scores.values())) == 3
    winner = min(scores, key=scores.get)
    rates = {name: OmegaConf.load(command.runs / name / "config.yaml").optimizer.lr for name in whole}
    assert all(1e-5 <= rate <= 1e-2 for rate in rates.values())
    assert best(command) == (rates[winner], scores[winner])
    assert f"best on the validation split: optimizer.lr={rates[winner]}" in study.out

    last = max(whole, key=lambda name: (command.runs / name / "result.json").stat().st_mtime)
    shutil.rmtree(command.runs / last)
    again = command(*STUDY, "seed=1", "resume=true", "hydra.sweeper.n_trials=4")
    assert again.code == 0, again.err
    assert finished(again) == 2
    more = trials(command.runs)
    assert len(more) == 4
    assert all(more[name]["metrics"] == result["metrics"] for name, result in whole.items())


def test_a_trial_that_diverges_does_not_end_the_study(command: Command) -> None:
    study = command(*STUDY, "+model.bad_loss=choice(-1,2)", "hydra.sweeper.n_trials=4", "hydra.sweeper.sampler.seed=2")
    assert study.code == 0, study.err
    states = [json.loads(path.read_text())["state"] for path in command.runs.glob("*/state.json")]
    assert set(states) == {"finished", "failed"}
    assert "the training loss became nan" in study.err


def test_a_study_of_which_nothing_is_left_says_so(command: Command) -> None:
    study = command(*STUDY, "+model.bad_loss=2")
    assert study.code == 1
    assert study.err.splitlines()[-1].startswith("error: no trial of this study has a validation score")


@pytest.mark.parametrize(("direction", "right"), [("maximize", "minimize")])
def test_the_wrong_direction_is_refused_before_anything_runs(command: Command, direction: str, right: str) -> None:
    study = command(*STUDY, f"hydra.sweeper.direction={direction}")
    assert study.code == 1
    assert f"hydra.sweeper.direction must be {right} for data=qm9" in study.err
    assert not trials(command.runs)


def test_an_accuracy_is_maximised(command: Command) -> None:
    study = command("--multirun", "hydra/sweeper=tune", "model=gnn", "data=gwl", "trainer=cpu", "optimizer.lr=0.001")
    assert study.code == 1
    assert "hydra.sweeper.direction must be maximize for data=gwl" in study.err
