"""metrics.csv goes on where the training goes on, whatever a kill left in it."""

from pathlib import Path

import numpy as np
import pytest

from erlangen.runs.metrics_csv import MetricsCSV, read_metrics

ROWS = [
    ({"loss": 0.1 + 0.2, "lr": 1e-05, "epoch": 0}, 0),
    ({"loss": 1 / 3, "epoch": 0}, 1),
    ({"val": 1e22, "epoch": 1}, 1),
]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    write(tmp_path / "metrics.csv")
    return tmp_path / "metrics.csv"


def write(path: Path, first: int = 0) -> None:
    logger = MetricsCSV(path)
    for metrics, step in ROWS:
        if step >= first:
            logger.log_metrics(dict(metrics), step)


def test_numbers_are_read_back_to_the_last_bit(path: Path) -> None:
    table = read_metrics(path)
    assert table["value"].tolist() == [0.1 + 0.2, 1e-05, 1 / 3, 1e22]
    assert table["step"].tolist() == [0, 0, 1, 1]
    assert table["epoch"].tolist() == [0, 0, 0, 1]
    assert table["name"].tolist() == ["loss", "lr", "loss", "val"]


def test_other_loggers_still_get_the_epoch(tmp_path: Path) -> None:
    metrics = {"loss": 1.0, "epoch": 3}
    MetricsCSV(tmp_path / "metrics.csv").log_metrics(metrics, 5)
    assert metrics == {"loss": 1.0, "epoch": 3}


@pytest.mark.parametrize("step", [0, 1, 2])
def test_rewound_and_written_again_it_is_the_same_file(path: Path, step: int) -> None:
    whole = path.read_bytes()
    MetricsCSV(path).rewind(step)
    assert (read_metrics(path)["step"] < step).all()
    write(path, first=step)
    assert path.read_bytes() == whole


def test_a_file_cut_anywhere_can_be_read_and_gone_on_with(path: Path) -> None:
    whole = path.read_bytes()
    for length in range(len(whole) + 1):
        path.write_bytes(whole[:length])
        rows = whole[:length].count(b"\n") - 1
        if rows >= 0:
            assert len(read_metrics(path)) == rows
        MetricsCSV(path).rewind(0)
        write(path)
        assert path.read_bytes() == whole


def test_nan_and_infinity_stay_what_they_are(tmp_path: Path) -> None:
    MetricsCSV(tmp_path / "metrics.csv").log_metrics({"a": float("nan"), "b": float("inf")}, 0)
    np.testing.assert_array_equal(read_metrics(tmp_path / "metrics.csv")["value"], [np.nan, np.inf])


def test_nothing_to_rewind_is_no_error(tmp_path: Path) -> None:
    MetricsCSV(tmp_path / "metrics.csv").rewind(0)
    assert not (tmp_path / "metrics.csv").exists()
