"""A clock that jumps, back and forth by days, changes the time stamps in a run's files and nothing else."""

import datetime
import json
import random
import time
from pathlib import Path

import pytest
from runs.faults import DIGITS, ForkedRun
from runs.training_process import differences, outcome

from erlangen.evidence.collect import find_runs, group_runs
from erlangen.runs import folder

OPTIONS = (*DIGITS, "checkpoint.every_n_steps=3")


class Jumping(datetime.datetime):
    """A clock whose every reading lies up to ten days from the truth."""

    rng = random.Random(0)

    @classmethod
    def now(cls, tz: datetime.tzinfo | None = None) -> datetime.datetime:
        return super().now(tz) + datetime.timedelta(seconds=cls.rng.uniform(-864_000, 864_000))


@pytest.fixture
def jumping_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """For this process and its forks; `time.monotonic` is, by its definition, not moved."""
    true_time = time.time
    rng = random.Random(1)
    monkeypatch.setattr(time, "time", lambda: true_time() + rng.uniform(-864_000, 864_000))
    monkeypatch.setattr(folder.datetime, "datetime", Jumping)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run by a true clock."""
    run = ForkedRun(tmp_path_factory.mktemp("whole") / "runs", *OPTIONS)
    assert run.finish() == 0, run.output
    return run.folder


@pytest.mark.usefixtures("jumping_clock")
def test_a_run_and_its_resumption_do_not_read_the_clock(tmp_path: Path, whole: Path) -> None:
    run = ForkedRun(tmp_path / "runs", *OPTIONS)
    run.wait_until(lambda: run.has_written("checkpoints/last.ckpt"))
    assert run.kill()
    again = ForkedRun(tmp_path / "runs", *OPTIONS, "resume=true")
    assert again.finish() == 0, again.output
    assert differences(outcome(whole), outcome(again.folder)) == []
    result = json.loads((again.folder / "result.json").read_text())
    assert 0 < result["wall_time_seconds"] < 120
    assert result["train_samples_per_second"] > 0


def test_a_report_counts_one_of_two_equal_runs_whatever_their_times(tmp_path: Path, whole: Path) -> None:
    """Which is the newer one only the clock can say; both are named, and nothing is counted twice."""
    copy = tmp_path / "runs" / whole.name
    copy.parent.mkdir()
    copy.symlink_to(whole)
    other = tmp_path / "others" / whole.name
    other.mkdir(parents=True)
    for path in whole.iterdir():
        if path.name != "state.json":
            (other / path.name).symlink_to(path)
    state = json.loads((whole / "state.json").read_text())
    for stamp in "1970-01-01T00:00:00+00:00", state["time"], "2999-01-01T00:00:00+00:00":
        (other / "state.json").write_text(json.dumps({**state, "time": stamp}))
        groups, left = group_runs(find_runs([tmp_path / "runs", tmp_path / "others"]))
        assert [len(group.runs) for group in groups] == [1]
        assert [run.state for run in left] == ["repeated"]
