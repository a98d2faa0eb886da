"""Figures show the data that they are given, and a run never fails for one."""

import logging
from io import BytesIO
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
import pytest
from evidence.run_folders import SUBSET, Runs
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.image import imread

from erlangen.evidence.plots import (
    PALETTE,
    Bar,
    Bars,
    Parity,
    Point,
    draw_bars,
    draw_loss,
    draw_parity,
    draw_score,
    learning_curve,
    measured_beside_published,
    parity,
    plot_run,
    pretty,
    score_against_speed,
)
from erlangen.runs.folder import RunFolder


@pytest.fixture
def axis() -> Axes:
    return Figure().subplots()


def test_a_finished_run_gets_its_figures(runs: Runs):
    trained, floor = runs.finished(*SUBSET), runs.finished("model=composition", *SUBSET)
    assert [path.name for path in plot_run(RunFolder(trained))] == ["learning_curve.png", "parity.png"]
    assert [path.name for path in plot_run(RunFolder(floor))] == ["parity.png"]
    for path in (trained / "plots").iterdir():
        image = imread(path)
        assert min(image.shape[:2]) > 400
        assert image[..., :3].std() > 0.05  # something is drawn


def test_a_figure_that_cannot_be_drawn_is_a_warning_and_no_file(runs: Runs, caplog: pytest.LogCaptureFixture):
    path = runs.finished(*SUBSET)
    (path / "test.npz").write_bytes(b"nonsense")
    with caplog.at_level(logging.WARNING):
        assert [drawn.name for drawn in plot_run(RunFolder(path))] == ["learning_curve.png"]
    assert "parity.png was not drawn" in caplog.text
    assert not (path / "plots" / "parity.png").exists()
    (path / "metrics.csv").unlink()
    (path / "test.npz").unlink()
    assert plot_run(RunFolder(path)) == []


def test_drawing_leaves_the_settings_of_matplotlib_alone():
    before = dict(matplotlib.rcParams)
    parity([Parity("gap", "meV", np.arange(9.0), np.arange(9.0))], BytesIO())
    assert dict(matplotlib.rcParams) == before


def test_bars_are_as_long_as_their_values_and_hatched_where_they_do_not_compare(axis: Axes):
    bars = [Bar("mean", 1062.0), Bar("egnn", 50.0, 2.0, 48.0, True), Bar("ponita", 70.0, None, 20.0, False, False)]
    draw_bars(axis, Bars("mae_gap", "meV", bars))
    patches = axis.patches
    assert [patch.get_width() for patch in patches] == [1062.0, 50.0, 48.0, 70.0, 20.0]
    assert [patch.get_hatch() for patch in patches] == [None, None, None, None, "////"]
    assert [to_hex(patch.get_facecolor()).upper() for patch in patches[:3]] == [PALETTE[0], PALETTE[0], PALETTE[1]]
    assert [label.get_text() for label in axis.get_yticklabels()] == ["mean", "egnn", "ponita"]
    assert [words.get_text() for words in axis.texts] == ["1062", "50", "48", "70", "20 (recollected)"]
    assert axis.get_xlim()[0] == 0
    assert axis.get_xlabel() == "test mae_gap [meV]"


def test_parity_counts_every_sample_once_on_equal_axes(axis: Axes):
    rng = np.random.default_rng(0)
    true = rng.normal(size=3000)
    draw_parity(axis, Parity("gap", "meV", true + 0.5, true), alone=False)
    (density,) = axis.collections
    assert density.get_array().sum() == 3000
    assert axis.get_xlim() == axis.get_ylim()
    assert axis.texts[0].get_text() == "MAE 0.5 meV\n3,000 samples"


def test_the_best_validation_score_is_marked(axis: Axes):
    score = pd.DataFrame({"step": [1, 2, 3], "value": [5.0, 2.0, 4.0]})
    draw_score(axis, score, PALETTE[0], "seed 1", "lower")
    draw_score(axis, score, PALETTE[1], "seed 1", "higher")
    stars = [line for line in axis.lines if line.get_marker() == "*"]
    assert [(star.get_xdata()[0], star.get_ydata()[0]) for star in stars] == [(2, 2.0), (1, 5.0)]


def test_a_long_loss_is_shown_with_its_running_mean(axis: Axes):
    values = np.random.default_rng(0).normal(1.0, 0.1, 1000)
    draw_loss(axis, pd.DataFrame({"step": np.arange(1000), "value": values}), PALETTE[0], "seed 1")
    raw, smooth = (line.get_ydata() for line in axis.lines)
    np.testing.assert_array_equal(raw, values)
    assert smooth.std() == pytest.approx(0.1 / np.sqrt(40), rel=0.3)  # windows of 1000 / 25 independent values


def test_every_figure_of_a_report_can_be_drawn():
    table = pd.DataFrame({"step": [1, 2, 3], "name": ["train/loss"] * 3, "value": [100.0, 10.0, 1.0]})
    twelve = [Bars(f"mae_{i}", "meV", [Bar("egnn", 2.0, 0.1, 1.0)]) for i in range(12)]
    points = [Point("mean", 900.0, None, None), Point("egnn", 50.0, 2.0, 400.0), Point("ponita", 20.0, None, 90.0)]
    for draw in (
        lambda file: learning_curve({"seed 1": table, "seed 2": table}, "mae_gap", "meV", "lower", file),
        lambda file: measured_beside_published(twelve, file),
        lambda file: score_against_speed(points, "mae_gap", "meV", "lower", "some CPU", file),
        lambda file: parity([Parity("gap", "", np.ones(5), np.ones(5))] * 5, file),
    ):
        file = BytesIO()
        draw(file)
        assert imread(BytesIO(file.getvalue())).shape[0] > 300


@pytest.mark.parametrize(
    ("unit", "words"), [("a0^3", "$a_0^{3}$"), ("meV", "meV"), ("cal/mol/K", "cal/mol/K"), ("Å^2", "Å$^{2}$"), ("", "")]
)
def test_units_are_written_as_one_writes_them(unit: str, words: str):
    assert pretty(unit) == words


def test_figures_go_where_they_are_told(tmp_path: Path):
    parity([Parity("gap", "meV", np.arange(9.0), np.arange(9.0))], tmp_path / "here.png")
    assert [path.name for path in tmp_path.iterdir()] == ["here.png"]
