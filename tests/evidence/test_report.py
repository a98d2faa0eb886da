"""A report shows what runs measured, says how far it compares, and fills in nothing."""

import os
import re
import socket
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from evidence.run_folders import PUBLISHED_GAP, SUBSET, Runs

from erlangen import report
from erlangen.errors import UserError
from erlangen.evidence.collect import build_tables, find_runs, group_runs
from erlangen.evidence.document import duration, number, table_section
from erlangen.evidence.published import load_published
from erlangen.evidence.render import markdown

ALL = load_published()


@pytest.fixture
def shown(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    """What `erlangen report ARGUMENTS` prints on a terminal of so many columns."""

    def show(*arguments: Path | str, columns: int = 120) -> str:
        monkeypatch.setenv("COLUMNS", str(columns))
        report.main([str(argument) for argument in arguments])
        return capsys.readouterr().out

    return show


def tables(runs: Runs, published: list = ALL) -> list:
    groups, _ = group_runs(find_runs([runs.path]))
    return build_tables(groups, published)


def flat(text: str) -> str:
    return " ".join(text.split())


def test_runs_that_differ_only_in_seed_are_one_row(runs: Runs, shown):
    for seed, gap in enumerate((780.0, 800.0, 820.0), 1):
        runs.finished(*SUBSET, seed=seed, gap=gap)
    ((row,),) = [table.rows for table in tables(runs)]
    assert [run.result["seed"] for run in row.group.runs] == [1, 2, 3]
    assert (row.measured.mean, row.measured.std) == pytest.approx((800, 20))
    text = shown(runs.path)
    assert "800 ± 20" in text
    assert "n = 3" in text
    assert "95% 750 to 850" in text  # t = 4.303 with two degrees of freedom: 800 ± 4.303 * 20 / sqrt(3)


def test_another_setting_is_another_row_that_names_it(runs: Runs, shown):
    runs.finished(*SUBSET, gap=800.0)
    runs.finished(*SUBSET, "model.layers=2", gap=900.0)
    (table,) = tables(runs)
    assert [row.group.settings for row in table.rows] == [("model.layers 2",), ("model.layers 4",)]
    assert [row.measured.n for row in table.rows] == [1, 1]
    assert "±" not in shown(runs.path).split("wall")[1].split("[1]")[0]


def test_a_seed_counts_once(runs: Runs, shown):
    first = runs.finished(*SUBSET, seed=1, gap=800.0)
    again = runs.finished(*SUBSET, seed=1, gap=700.0, name="again")
    for path, time in ((first, "2026-01-02"), (again, "2026-01-01")):
        state = (path / "state.json").read_text()
        (path / "state.json").write_text(re.sub(r'"time": "[^"]*"', f'"time": "{time}"', state))
    ((row,),) = [table.rows for table in tables(runs)]
    assert (row.measured.n, row.measured.mean) == (1, 800.0)
    _, left = group_runs(find_runs([runs.path]))
    assert [(run.path.name, run.state) for run in left] == [("again", "repeated")]
    assert "repeated" in shown(runs.path)


def test_official_subset_and_miniature_never_share_a_table(runs: Runs, shown):
    runs.finished("model=composition", gap=810.0)
    runs.finished("model=mean", *SUBSET, gap=1060.0)
    runs.finished("model=composition", *SUBSET, gap=770.0, source="miniature")
    titles = [table.title for table in tables(runs)]
    assert titles == [
        "qm9 · official data · split cormorant",
        "qm9 · SUBSET of the official data · split cormorant, 500 of 100000 train",
        "qm9 · MINIATURE, not the benchmark's data, and a subset of it · split cormorant, 500 of 100000 train",
    ]
    assert all(len(table.rows) == 1 for table in tables(runs))
    assert all(flat(title) in flat(shown(runs.path)) for title in titles)


def test_a_row_is_held_against_the_composition_floor_of_its_own_split(runs: Runs, shown):
    runs.finished("model=composition", *SUBSET, gap=800.0)
    runs.finished("model=mean", *SUBSET, gap=1000.0)
    runs.finished(*SUBSET, gap=400.0)
    runs.finished("data.split=dimenet", gap=100.0)
    rows = {(row.group.paper, table.split): row.to_floor for table in tables(runs) for row in table.rows}
    subset = "cormorant, 500 of 100000 train"
    assert rows == {
        ("mean", subset): 1.25,
        ("composition", subset): 1.0,
        ("egnn", subset): 0.5,
        ("egnn", "dimenet"): None,
    }
    assert shown(runs.path).count("÷ floor") == 1


def test_images_are_held_against_logistic_regression(runs: Runs, shown):
    images = {"metrics": {"acc": 80.0}, "unit": "%"}
    runs.finished("model=linear", **images)
    runs.finished("model=cnn", **{**images, "metrics": {"acc": 88.0}})
    (table,) = tables(runs)
    assert [(row.group.paper, row.to_floor) for row in table.rows] == [("linear", 1.0), ("cnn", pytest.approx(1.1))]
    assert "measured over linear (logistic regression on the pixels)" in flat(shown(runs.path))


def test_without_a_floor_of_its_own_a_table_is_held_against_the_mean(runs: Runs, shown):
    runs.finished("model=mean", *SUBSET, gap=1000.0)
    runs.finished(*SUBSET, gap=400.0)
    (table,) = tables(runs)
    assert [row.to_floor for row in table.rows] == [1.0, 0.4]
    assert "measured over mean (the mean of the training split)" in flat(shown(runs.path))


def test_a_logarithm_has_no_ratio(runs: Runs):
    runs.finished("model=composition", metrics={"log_mae": -1.0, "std_mae": 0.5})
    runs.finished(metrics={"log_mae": -2.0, "std_mae": 0.1})
    (table,) = tables(runs)
    assert {row.metric: row.to_floor for row in table.rows if row.group.paper == "egnn"} == {
        "log_mae": None,
        "std_mae": pytest.approx(0.2),
    }


def test_a_recipe_that_goes_beyond_the_options_here_is_for_orientation_only(runs: Runs):
    runs.finished(*PUBLISHED_GAP)
    (gap,) = [row for row in ALL if (row.paper, row.metric) == ("egnn", "mae_gap")]
    for beyond, comparable in (((), True), (("a second optimiser",), False)):
        (table,) = tables(runs, [replace(gap, beyond=beyond)])
        standing = table.rows[0].standing
        assert standing.comparable == comparable
        assert standing.departures == tuple(f"without {name} (published with)" for name in beyond)


def test_the_published_value_stands_beside_a_run_of_the_published_recipe(runs: Runs, shown):
    runs.finished(*PUBLISHED_GAP, gap=49.0)
    ((row,),) = [table.rows for table in tables(runs)]
    assert row.standing.comparable
    text = flat(shown(runs.path))
    assert "48 meV" in text
    assert "(48 meV)" not in text
    assert "verified" in text
    assert "arXiv:2306.12059 Table 5" in text
    assert "recipe differs" not in text


def test_a_run_of_another_recipe_is_told_what_differs(runs: Runs, shown):
    runs.finished(*PUBLISHED_GAP, "model.layers=4", gap=60.0)
    text = flat(shown(runs.path))
    assert "(48 meV)" in text
    assert "recipe differs: model.layers 4 (published 7) " in text
    assert "subset" not in text


def test_a_subset_says_so_beside_the_published_value(runs: Runs, shown):
    runs.finished(*PUBLISHED_GAP, *SUBSET, gap=700.0)
    text = flat(shown(runs.path))
    assert "(48 meV)" in text
    assert "subset; recipe differs" in text
    assert "recipe differs: data.train_size 500 (published null) " in text


def test_a_miniature_or_another_unit_never_compares(runs: Runs):
    runs.finished(*PUBLISHED_GAP, source="miniature")
    runs.finished(*PUBLISHED_GAP, seed=2, unit="eV", name="electronvolts", split="cormorant*")
    reasons = [row.standing.reasons for table in tables(runs) for row in table.rows]
    assert sorted(reasons) == [("miniature data",), ("unit is meV",)]


def test_an_unverified_value_is_marked(runs: Runs):
    runs.finished(*PUBLISHED_GAP, gap=49.0)
    recollected = [replace(row, confidence="recollected") for row in ALL]
    (table,) = tables(runs, recollected)
    cell = table_section(table).rows[0][3]
    assert [(line.text, line.tone) for line in cell][-1] == ("recollected, unverified", "warning")


def test_the_published_result_nearest_to_the_run_is_shown(runs: Runs):
    runs.finished(*PUBLISHED_GAP, "model.layers=4")
    (row,) = [row for row in ALL if (row.paper, row.metric) == ("egnn", "mae_gap")]
    small = replace(row, value=99.0, overrides=(*row.overrides, "model.layers=4"))
    ((found,),) = [table.rows for table in tables(runs, [row, small])]
    assert found.standing.published.value == 99.0
    assert found.standing.comparable


def test_of_two_sources_the_verified_one_is_shown(runs: Runs):
    runs.finished(*PUBLISHED_GAP)
    (row,) = [row for row in ALL if (row.paper, row.metric) == ("egnn", "mae_gap")]
    from_memory = replace(row, value=47.0, confidence="recollected")
    ((found,),) = [table.rows for table in tables(runs, [from_memory, row])]
    assert found.standing.published == row


def test_runs_without_a_result_are_listed_and_never_filled_in(runs: Runs, shown):
    here = {"host": socket.gethostname()}
    done = runs.finished(*SUBSET, gap=812.5)
    runs.unfinished(seed=2, state="running", epoch=2, pid=os.getpid(), **here)
    runs.unfinished(seed=3, state="running", epoch=1, pid=2**22 + 1, **here)
    runs.unfinished(seed=4, state="failed", pid=1, reason="the loss became nan", **here)
    damaged = runs.finished(seed=5, name="damaged")
    (damaged / "result.json").write_text('{"paper": ')
    lost = runs.finished(seed=6, name="lost")
    (lost / "result.json").unlink()
    found = find_runs([runs.path, runs.path / "nowhere"])
    states = sorted(run.state for run in found)
    assert states == ["damaged", "damaged", "failed", "finished", "interrupted", "missing", "running"]
    text = flat(shown(runs.path, runs.path / "nowhere"))
    assert text.count("mae_gap [meV]") == 1
    assert all(word in text for word in ("interrupted", "2 epochs done", "the loss became nan", "no such folder"))
    assert done.name not in text.split("Runs that are in no table")[1]


def test_nothing_is_shown_that_no_run_measured(runs: Runs, shown):
    runs.finished("model=schnet", *SUBSET, gap=1061.5)
    text = shown(runs.path)
    assert set(re.findall(r"\bmae_\w+", text)) == {"mae_gap"}
    assert "÷" not in text  # no floor ran
    assert "meV)" not in text  # nothing is published for this one
    (table,) = tables(runs)
    cells = [" ".join(line.text for line in cell) for cell in table_section(table).rows[0]]
    assert cells == ["schnet", "mae_gap [meV]", "1,062 n = 1", "", "113,413", "417", "1.6 min"]


def test_one_report_word_for_word(runs: Runs, shown):
    runs.finished("model=composition", *SUBSET, gap=770.62)
    runs.finished(*PUBLISHED_GAP, *SUBSET, gap=700.0, seed=1)
    runs.finished(*PUBLISHED_GAP, *SUBSET, gap=710.0, seed=2)
    assert [line.rstrip() for line in shown(runs.path).strip().splitlines()] == GOLDEN.strip().splitlines()


GOLDEN = """
qm9 · SUBSET of the official data · split cormorant, 500 of 100000 train

                                                                                   ÷                            wall
 paper        metric                   measured  published                     floor  parameters  samples/s     time
 ───────────────────────────────────────────────────────────────────────────────────────────────────────────────────
 composition  mae_gap [meV]               770.6                                 1.00           0             1.6 min
                                          n = 1
 egnn         mae_gap [meV]         705.0 ± 7.1  (48 meV)                       0.91     113,413        417  1.6 min
                                          n = 2  subset; recipe differs [1]
                             95% 641.5 to 768.5  arXiv:2306.12059 Table 5 [2]
                                                 verified

[1] recipe differs: data.train_size 500 (published null)
[2] published: egnn (arXiv:2102.09844); 7 layers, 128 channels, attention; one model per target; split cormorant;
secondary source: arXiv:2306.12059 Table 5; that table marks EGNN's partition as different from its own
÷ floor: measured over composition (least squares on the composition), on the same split
(in brackets): published, for orientation only; it is not comparable with what was measured
samples/s in training, wall time of a run: on x86_64 CPU, 2 threads
"""


@pytest.mark.parametrize("columns", [40, 70, 90, 100, 110, 130])
def test_no_width_cuts_a_number(runs: Runs, shown, columns: int):
    for seed, gap in ((1, 1234.25), (2, 1234.5)):
        runs.finished(*PUBLISHED_GAP, *SUBSET, gap=gap, seed=seed)
    runs.finished("model=composition", *SUBSET, gap=987.6)
    text = shown(runs.path, columns=columns)
    assert "…" not in text
    assert all(len(line.rstrip()) <= columns for line in text.splitlines())
    for words in ("1,234.38 ± 0.18", "113,413", "987.6", "417", "1.6 min", "composition", "(48"):
        assert words in text


def test_code_that_changed_between_seeds_is_said(runs: Runs, shown):
    runs.finished(*SUBSET, seed=1, git="abc")
    runs.finished(*SUBSET, seed=2, git="def", device="another CPU")
    text = flat(shown(runs.path))
    assert "its seeds ran with different commits and devices" in text
    assert "on another CPU; x86_64 CPU, 2 threads" in text


def test_only_run_folders_are_read(runs: Runs):
    done = runs.finished(*SUBSET)
    for other in (done / "wandb" / "offline" / "files", runs.path / ".removed", runs.path / "notes"):
        other.mkdir(parents=True)
        (other / "readme").touch()
    (done / "wandb" / "offline" / "files" / "config.yaml").touch()
    (runs.path / ".removed" / "config.yaml").touch()
    assert [run.path for run in find_runs([runs.path, done])] == [done.resolve()]
    assert [run.path for run in find_runs([done])] == [done.resolve()]


def test_without_a_run_there_is_no_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("ERLANGEN_RUNS", str(tmp_path / "none"))
    with pytest.raises(UserError, match="there are no runs in .*none"):
        report.main([])
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="there are no runs"):
        report.main([str(tmp_path / "empty")])


def test_markdown_has_whole_tables(runs: Runs, shown, tmp_path: Path):
    runs.finished(*PUBLISHED_GAP, *SUBSET, gap=700.0)
    runs.finished("model=composition", *SUBSET)
    shown(runs.path, "--markdown", tmp_path / "report.md")
    text = (tmp_path / "report.md").read_text()
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert len(rows) == 4
    assert len({line.count("|") for line in rows}) == 1
    assert "- [1] recipe differs: data.train\\_size 500" in text


def test_markdown_escapes_what_would_break_a_table(runs: Runs):
    runs.finished(*SUBSET, split="a|b <c>", subset=False)
    assert "| a\\|b" not in markdown([table_section(tables(runs)[0])])
    runs.unfinished(seed=2, state="failed", pid=1, host="x", reason="a|b <c>")
    _, left = group_runs(find_runs([runs.path]))
    assert [run.detail for run in left] == ["0 epochs done: a|b <c>"]


class Tags(HTMLParser):
    """Collects images, and checks that tags are closed in order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.sources: list[str] = []
        self.words = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "img":
            self.sources.append(dict(attrs)["src"] or "")
        elif tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words += data


def test_html_is_one_file_that_needs_no_other(runs: Runs, shown, tmp_path: Path):
    runs.finished(*SUBSET, gap=700.0, seed=1)
    runs.finished(*SUBSET, gap=720.0, seed=2)
    runs.finished("model=composition", *SUBSET)
    runs.unfinished(seed=3, state="failed", pid=1, host="x", reason="<script>alert(1)</script> & more")
    shown(runs.path, "--html", tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    tags = Tags()
    tags.feed(page)
    assert tags.open == []
    # measured beside published, accuracy against throughput, EGNN's learning curves, two parity plots
    assert len(tags.sources) == 5
    assert all(source.startswith("data:image/png;base64,iVBOR") for source in tags.sources)
    assert "http" not in page
    assert "<script" not in page
    assert "710 ± 14" in tags.words
    assert "<script>alert(1)</script> & more" in tags.words


def test_a_file_that_cannot_be_written_is_a_clear_error(runs: Runs, shown, tmp_path: Path):
    runs.finished(*SUBSET)
    with pytest.raises(UserError, match="cannot write .*nowhere"):
        shown(runs.path, "--html", tmp_path / "nowhere" / "report.html")


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (0.0, "0"),
        (48.0, "48.00"),
        (0.0712, "0.07120"),
        (123456.7, "123,457"),
        (1.5e-7, "1.500e-07"),
        (float("nan"), "nan"),
        (-2.5, "-2.500"),
    ],
)
def test_numbers_have_four_digits(value: float, words: str):
    assert number(value) == words


@pytest.mark.parametrize(("seconds", "words"), [(3.94, "3.9 s"), (93.0, "1.6 min"), (7200.0, "2.0 h")])
def test_durations(seconds: float, words: str):
    assert duration(seconds) == words
