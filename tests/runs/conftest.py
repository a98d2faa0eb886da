from pathlib import Path

import pytest
from runs.command import Command


@pytest.fixture
def command(capfd: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, qm9_root: Path) -> Command:
    monkeypatch.setenv("ERLANGEN_TRUST", "runs")
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    return Command(capfd, monkeypatch, tmp_path / "runs", qm9_root)
