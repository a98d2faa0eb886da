"""Triton's kernels in its interpreter, which has to be switched on before Triton is imported: in a process of its own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from kernels.triton.cases import QUICK

from erlangen.kernels.triton import interpreted

pytest.importorskip("triton", reason="Triton is not installed")
pytestmark = pytest.mark.skipif(interpreted(), reason="the kernels' own tests run in this process")

HERE = Path(__file__).parent


def run(*arguments: str) -> str:
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *arguments]
    done = subprocess.run(
        command, env={**os.environ, "TRITON_INTERPRET": "1"}, cwd=HERE.parents[2], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert "skipped" not in done.stdout, done.stdout[-2000:]
    return done.stdout


def test_the_kernels_are_right_in_the_interpreter():
    assert "passed" in run(str(HERE / "test_kernels.py"), "-m", "not slow", "-k", "fp64")


@pytest.mark.slow
def test_they_are_right_in_every_dtype_and_where_nothing_is_to_be_done():
    assert "passed" in run(str(HERE / "test_kernels.py"), str(HERE / "test_backend.py"), "-m", "not slow")


@pytest.mark.slow
def test_they_are_right_at_more_sizes():
    assert "passed" in run(str(HERE / "test_kernels.py"), "-m", "slow")


@pytest.mark.slow
@pytest.mark.parametrize("op", [op for op, _ in QUICK])
def test_they_are_what_every_backend_must_be(op):
    """With gradcheck and gradgradcheck in float64."""
    assert "passed" in run(str(HERE.parent / "test_every_op.py"), "-k", f"{op}-triton", "-m", "not slow")
