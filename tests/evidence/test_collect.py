"""Which runs are seeds of one thing, and what tells things apart."""

from pathlib import Path

from evidence.run_folders import SUBSET, Runs

from erlangen.evidence.collect import find_runs, group_runs, told_apart


def test_what_was_put_to_a_paper_is_named_even_of_one_run(runs: Runs):
    runs.finished(*SUBSET, "model=gnn", "symmetrize=frame_averaging")
    groups, _ = group_runs(find_runs([runs.path]))
    assert [group.settings for group in told_apart(groups)] == [("symmetrize frame_averaging",)]


def test_the_place_of_a_run_is_no_setting(runs: Runs, tmp_path: Path):
    runs.finished(*SUBSET, seed=1)
    Runs(tmp_path / "elsewhere").finished(*SUBSET, seed=2)
    groups, _ = group_runs(find_runs([runs.path, tmp_path / "elsewhere"]))
    assert [len(group.runs) for group in groups] == [2]


def test_an_operation_that_came_later_is_no_setting(runs: Runs):
    first, second = (runs.finished(*SUBSET, seed=seed) for seed in (1, 2))
    for name, path in (("new", first), ("newer", second)):
        config = (path / "config.yaml").read_text()
        (path / "config.yaml").write_text(config.replace("kernels:\n", f"kernels:\n  {name}: null\n"))
    groups, _ = group_runs(find_runs([runs.path]))
    assert [len(group.runs) for group in groups] == [2]
    config = (second / "config.yaml").read_text()
    (second / "config.yaml").write_text(config.replace("segment_sum: null", "segment_sum: compiled"))
    groups, _ = group_runs(find_runs([runs.path]))
    assert [len(group.runs) for group in groups] == [1, 1]
