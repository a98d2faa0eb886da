"""Two runs are compared sample by sample, and only where the samples are the same."""

from pathlib import Path

import numpy as np
import pytest
from evidence.run_folders import SUBSET, Runs, write_test

from erlangen import report
from erlangen.errors import UserError
from erlangen.evidence.compare import compare_runs
from erlangen.evidence.statistics import paired_bootstrap

ERRORS = np.random.default_rng(0).exponential(100.0, (2, 300))


@pytest.fixture
def pair(runs: Runs) -> tuple[Path, Path]:
    """Two runs of other models on the same samples."""
    found = runs.finished(*SUBSET), runs.finished(*SUBSET, "model.layers=2")
    for path, errors in zip(found, ERRORS, strict=True):
        write_test(path, errors)
    return found


def test_the_difference_is_the_paired_bootstrap_of_the_errors(pair: tuple[Path, Path]):
    (row,) = compare_runs(*pair).rows
    assert (row.metric, row.unit) == ("mae_gap", "meV")
    assert row.difference == paired_bootstrap(*ERRORS)


def test_samples_are_joined_on_their_ids(pair: tuple[Path, Path]):
    expected = compare_runs(*pair).rows
    order = np.random.default_rng(1).permutation(300)
    write_test(pair[1], ERRORS[1][order], ids=order)
    assert compare_runs(*pair).rows == expected


def test_it_says_which_is_better_where_that_is_sure(pair: tuple[Path, Path], capsys: pytest.CaptureFixture[str]):
    write_test(pair[1], ERRORS[0] + 10.0 + np.random.default_rng(2).normal(0, 1, 300))
    report.main(["--compare", str(pair[0]), str(pair[1])])
    text = capsys.readouterr().out
    assert "A is better" in text
    assert "B is better" not in text
    assert "over the same 300 test samples" in text
    write_test(pair[1], ERRORS[0] + np.random.default_rng(2).normal(0, 100, 300))
    report.main(["--compare", str(pair[0]), str(pair[1])])
    assert "undecided" in capsys.readouterr().out


def test_accuracy_is_better_when_higher(runs: Runs):
    result = {"better": "higher", "monitor": "mae_gap"}
    a, b = runs.finished(*SUBSET, **result), runs.finished(*SUBSET, "model.layers=2", **result)
    write_test(a, np.full(50, 90.0))
    write_test(b, np.full(50, 80.0))
    comparison = compare_runs(a, b)
    assert comparison.verdict(comparison.rows[0]) == "A is better"


def test_a_comparison_alone_shows_no_tables_and_beside_runs_both(
    runs: Runs, pair: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
):
    report.main(["--compare", str(pair[0]), str(pair[1])])
    assert "measured" not in capsys.readouterr().out
    report.main([str(runs.path), "--compare", str(pair[0]), str(pair[1])])
    text = capsys.readouterr().out
    assert "paired bootstrap" in text
    assert "measured" in text


def test_another_training_subset_is_remarked_on(runs: Runs):
    a, b = runs.finished(*SUBSET), runs.finished("data.train_size=900")
    assert compare_runs(a, b).remarks == (
        "their splits differ: A cormorant, 500 of 100000 train; B cormorant, 900 of 100000 train",
    )


def refused(a: Path, b: Path, reason: str) -> None:
    with pytest.raises(UserError, match=reason) as caught:
        compare_runs(a, b)
    assert "\n" not in str(caught.value)


def test_other_samples_are_refused(pair: tuple[Path, Path]):
    write_test(pair[1], ERRORS[1], ids=np.arange(300) + 100)
    refused(*pair, r"different samples \(300 and 300, 200 of them the same\)")
    write_test(pair[1], ERRORS[1][:200])
    refused(*pair, r"different samples \(300 and 200, 200 of them the same\)")


def test_other_truths_under_the_same_ids_are_refused(pair: tuple[Path, Path]):
    write_test(pair[1], ERRORS[1], true=np.zeros(300))
    refused(*pair, "true values of gap differ")


@pytest.mark.parametrize("change", [{"benchmark": "nbody"}, {"source": "miniature"}])
def test_another_benchmark_or_source_is_refused(runs: Runs, change: dict[str, str]):
    a, b = runs.finished(*SUBSET), runs.finished(*SUBSET, seed=2, **change)
    refused(a, b, f"their {next(iter(change))} is")


def test_a_run_without_a_result_is_refused(runs: Runs, pair: tuple[Path, Path]):
    refused(pair[0], runs.path / "nowhere", "no result to compare: missing")
    failed = runs.unfinished(seed=5, state="failed", host="x", pid=1, reason="out of memory")
    refused(failed, pair[0], "failed, 0 epochs done: out of memory")


def test_a_missing_or_damaged_record_is_refused(pair: tuple[Path, Path]):
    record = pair[0] / "test.npz"
    record.write_bytes(record.read_bytes()[:-40])
    refused(*pair, "test.npz is damaged")
    record.write_bytes(b"nonsense")
    refused(*pair, "test.npz is damaged")
    record.unlink()
    refused(*pair, "has no test.npz")


def test_a_metric_that_is_no_mean_over_samples_is_refused(runs: Runs):
    a, b = (runs.finished(*SUBSET, seed=seed, metrics={"macc": 80.0}) for seed in (1, 2))
    refused(a, b, "no metric was kept for each sample")
