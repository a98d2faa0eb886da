"""Many papers and many metrics are shown at a glance, whole, before what was published is told."""

import pytest

from erlangen.evidence.collect import Table, build_tables, find_runs, group_runs
from erlangen.evidence.overview import has_overview, overview_sections
from erlangen.evidence.published import load_published

from .run_folders import PUBLISHED_GAP, SUBSET, Runs

GAP_AND_ALPHA = {"mae_gap": 700.0, "mae_alpha": 0.25}


def table(runs: Runs) -> Table:
    groups, _ = group_runs(find_runs([runs.path]))
    (found,) = build_tables(groups, load_published())
    return found


def contents(runs: Runs, room: int = 120) -> dict[tuple[str, str], str]:
    """{(row, column): cell}, of all sections."""
    words = {}
    for section in overview_sections(table(runs), room):
        for head, *cells in section.rows:
            for column, cell in zip(section.columns[1:], cells, strict=True):
                words[" ".join(line.text for line in head), column] = " ".join(line.text for line in cell)
    return words


def test_one_paper_or_one_metric_needs_no_overview(runs: Runs):
    runs.finished("model=composition", *SUBSET, gap=770.0)
    runs.finished(*PUBLISHED_GAP, *SUBSET, gap=700.0)
    assert not has_overview(table(runs))
    runs.finished("model=mean", *SUBSET, metrics=GAP_AND_ALPHA)
    assert has_overview(table(runs))


def test_a_cell_has_deviation_ratio_and_what_was_published(runs: Runs):
    runs.finished("model=composition", *SUBSET, metrics={"mae_gap": 1400.0, "mae_alpha": 0.5})
    for seed, gap in ((1, 700.0), (2, 710.0)):
        runs.finished(*PUBLISHED_GAP, *SUBSET, metrics=GAP_AND_ALPHA | {"mae_gap": gap}, seed=seed)
    words = contents(runs)
    assert words["mae_gap [meV]", "egnn"] == "705.0 ± 7.1 ÷ floor 0.50 (48)"  # a subset: not comparable
    assert words["mae_alpha [meV]", "composition"] == "0.5000 ÷ floor 1.00"
    assert (words["seeds", "egnn"], words["parameters", "egnn"]) == ("2", "113,413")


def test_ratios_and_brackets_are_explained_below(runs: Runs):
    runs.finished(*PUBLISHED_GAP, *SUBSET, metrics=GAP_AND_ALPHA)
    words = " ".join(overview_sections(table(runs), 120)[-1].notes)
    assert "(in brackets)" in words
    assert "÷ floor" not in words
    for floor in ("mean", "composition"):
        runs.finished(f"model={floor}", *SUBSET, metrics=GAP_AND_ALPHA)
        assert f"÷ floor: measured over {floor}" in " ".join(overview_sections(table(runs), 120)[-1].notes)


def test_what_is_fewer_stands_across(runs: Runs):
    for width in (16, 32, 64, 128, 256, 512, 1024):  # seven groups, two metrics and the costs
        runs.finished("model=egnn", f"model.channels={width}", *SUBSET, metrics=GAP_AND_ALPHA)
    words = contents(runs)
    assert words["egnn model.channels 32", "mae_gap [meV]"] == "700.0 (48)"


@pytest.mark.parametrize("room", [40, 60, 80, 120])
def test_every_number_is_in_one_section_whatever_the_room(runs: Runs, room: int):
    for paper in ("mean", "composition", "egnn"):
        runs.finished(f"model={paper}", *SUBSET, metrics=GAP_AND_ALPHA)
    sections = overview_sections(table(runs), room)
    assert contents(runs, room) == contents(runs, 1000)
    assert (len(sections) > 1) == (room < 80)
    assert len({section.title for section in sections}) == len(sections)


def test_a_deviation_far_below_one_keeps_its_digits(runs: Runs):
    runs.finished("model=mean", *SUBSET, metrics=GAP_AND_ALPHA)
    for seed, value in ((1, 2.0e-9), (2, 4.0e-9)):
        runs.finished("model=egnn", *SUBSET, metrics=GAP_AND_ALPHA | {"mae_gap": value}, seed=seed)
    assert contents(runs)["mae_gap [meV]", "egnn"].startswith("3.0e-09 ± 1.4e-09")
