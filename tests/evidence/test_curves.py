"""Papers' validation scores at equal steps, over seeds."""

from io import BytesIO

from evidence.run_folders import SUBSET, Runs

from erlangen.evidence.collect import Table, build_tables, find_runs, group_runs
from erlangen.evidence.curves import curves_of, learning_curves
from erlangen.evidence.gallery import table_pictures
from erlangen.runs.folder import write_text

HEAD = "step,epoch,name,value\n"


def with_scores(runs: Runs, scores: dict[int, float], *overrides: str, seed: int = 1) -> None:
    folder = runs.finished(*overrides, *SUBSET, seed=seed)
    rows = [f"{step},{place},val/mae_gap,{value}" for place, (step, value) in enumerate(scores.items())]
    write_text(folder / "metrics.csv", HEAD + "\n".join(rows) + "\n")


def table(runs: Runs) -> Table:
    (found,) = build_tables(group_runs(find_runs([runs.path]))[0], [])
    return found


def test_mean_and_span_of_the_seeds_at_the_steps_that_all_have(runs: Runs):
    with_scores(runs, {10: 4.0, 20: 2.0, 30: 1.0}, seed=1)
    with_scores(runs, {10: 6.0, 20: 3.0}, seed=2)
    (curve,) = curves_of(table(runs), "mae_gap")
    assert curve.label == "egnn"
    assert curve.scores.to_dict("list") == {"step": [10, 20], "low": [4, 2], "mean": [5, 2.5], "high": [6, 3]}
    assert curves_of(table(runs), "mae_alpha") == []


def test_a_resumed_run_counts_a_step_once_and_a_single_score_is_no_curve(runs: Runs):
    with_scores(runs, {10: 4.0})
    assert curves_of(table(runs), "mae_gap") == []


def test_two_papers_are_one_figure(runs: Runs):
    caption = "Learning curves at equal steps: means over seeds, and the seeds' span"
    with_scores(runs, {10: 4.0, 20: 2.0})
    assert caption not in dict(table_pictures(table(runs)))
    with_scores(runs, {10: 5.0, 20: 3.0}, "model=schnet")
    assert caption in dict(table_pictures(table(runs)))
    picture = BytesIO()
    learning_curves(curves_of(table(runs), "mae_gap"), "mae_gap", "meV", "lower", picture)
    assert picture.getvalue().startswith(b"\x89PNG")
