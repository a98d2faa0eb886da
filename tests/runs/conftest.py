from collections.abc import Iterator
from pathlib import Path

import pytest
from runs.command import Command
from torch import distributed


@pytest.fixture
def command(
    capfd: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, qm9_root: Path
) -> Iterator[Command]:
    monkeypatch.setenv("ERLANGEN_TRUST", "runs")
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    yield Command(capfd, monkeypatch, tmp_path / "runs", qm9_root)
    if distributed.is_initialized():  # which a command leaves to the end of its process
        distributed.destroy_process_group()
