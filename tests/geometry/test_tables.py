"""Constant tables are made once, on first use, wherever that first use happens."""

import subprocess
import sys

import numpy as np
import pytest
import torch

from erlangen.geometry.tables import constant_table, no_autocast


@pytest.fixture
def table():
    """A fresh table, and the list of what it was built for."""
    built = []

    @constant_table
    def squares(n: int) -> np.ndarray:
        built.append(n)
        return np.arange(n) ** 2.0

    return squares, built


def test_tables_are_built_once_and_kept_per_dtype(table):
    squares, built = table
    assert squares(4) is squares(4)
    assert squares(4, dtype=torch.float32).dtype == torch.float32
    assert squares(4, device="meta").device.type == "meta"
    assert squares(3).tolist() == [0, 1, 4]
    assert built == [4, 3]


def test_tables_first_made_in_inference_mode_can_be_differentiated_through(table):
    squares, _ = table
    with torch.inference_mode():
        squares(4)
    x = torch.ones(4, dtype=torch.float64, requires_grad=True)
    (squares(4) * x).sum().backward()
    assert x.grad.tolist() == [0, 1, 4, 9]


def test_tables_first_made_while_tracing_are_real(table):
    squares, _ = table

    class Scale(torch.nn.Module):
        def forward(self, x):
            return squares(4) * x

    x = torch.ones(4, dtype=torch.float64)
    program = torch.export.export(Scale(), (x,), strict=False)
    assert type(squares(4)) is torch.Tensor
    assert program.module()(x).tolist() == [0, 1, 4, 9]


def test_default_device_does_not_matter(table):
    squares, _ = table
    with torch.device("meta"):
        assert squares(4).tolist() == [0, 1, 4, 9]


def run_without_the_hook(script: str) -> None:
    """In a process of its own, as a user's: signatures are not checked there, and no table is kept yet."""
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr


def test_importing_builds_no_table():
    run_without_the_hook("""
import sys
from erlangen.geometry import clebsch_gordan, gaunt, irreps, rotations, s2grid, tables, wigner
assert not vars(tables._kept)
assert not {"e3nn", "scipy"} & set(sys.modules)
""")


@pytest.mark.slow
def test_compiling_makes_one_graph_for_all_sizes():
    run_without_the_hook("""
import torch
from erlangen.geometry.rotations import edge_frames
from erlangen.geometry.s2grid import to_grid_matrix
from erlangen.geometry.spherical_harmonics import spherical_harmonics
from erlangen.geometry.wigner import representation, wigner
from torch._dynamo.testing import CompileCounterWithBackend

def features(r):
    R = edge_frames(r)
    on_grid = spherical_harmonics(r, 3) @ to_grid_matrix((3, 5), 3).flatten(0, 1).T
    return torch.cat([wigner(R, 3), on_grid, representation("0o+2x1e+2e", R).flatten(-2)], -1)

counter = CompileCounterWithBackend("aot_eager")
compiled = torch.compile(features, fullgraph=True, dynamic=True, backend=counter)
for edges in (10, 33, 7):
    r = torch.randn(edges, 3, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(compiled(r).square().sum(), r)
    (expected,) = torch.autograd.grad(features(r).square().sum(), r)
    torch.testing.assert_close(compiled(r), features(r))
    torch.testing.assert_close(gradient, expected)
assert counter.frame_count == 1, counter.frame_count
""")


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_no_autocast_keeps_products_in_their_dtype(device):
    x = torch.ones(2, 2, device=device)
    with torch.autocast("cpu", torch.bfloat16), no_autocast(x):
        assert (x @ x).dtype == torch.float32
