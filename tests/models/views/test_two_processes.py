"""Losses that compare samples, or groups of them, under DDP."""

import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
def test_two_processes_have_the_gradient_of_one() -> None:
    """Every paper's own loss, encoder without batch norm, unequal shares: to 1e-6 of the joined batch's gradient."""
    script, tests = Path(__file__).with_name("two_processes.py"), Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": str(tests)}
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=300, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    expected = ["simclr", "vicreg", "barlow_twins", "sie", "essl of objects", "essl of images", "care"]
    expected += ["equicaps", "seq_jepa"]
    assert done.stdout.splitlines() == expected
