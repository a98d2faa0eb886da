from pathlib import Path

import pytest
from evidence.run_folders import Runs


@pytest.fixture
def runs(tmp_path: Path) -> Runs:
    return Runs(tmp_path / "runs")
