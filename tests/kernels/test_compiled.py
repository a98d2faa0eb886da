"""Compiled backends: compiled code really runs, once for all sizes, or an error says that it does not."""

import pytest
import torch
from torch import Tensor
from torch._dynamo.utils import counters

from erlangen import kernels
from erlangen.errors import UserError
from erlangen.kernels import compiled as module
from erlangen.kernels.compiled import Compiled


def cubes(x: Tensor, weight: Tensor, shift: int) -> Tensor:
    return (x**3 * weight).sum(0) + shift


@pytest.mark.slow
def test_compiled_code_runs_at_each_call_and_one_compilation_serves_all_sizes():
    function = Compiled(cubes)
    function(torch.ones(7, 3), torch.ones(7, 3), 5)
    function(torch.ones(8, 2), torch.ones(8, 2), 6)
    graphs = counters["stats"]["unique_graphs"]
    for call, rows in enumerate(range(9, 19)):
        assert function(torch.ones(rows, 4), torch.ones(rows, 4), rows).tolist() == [2 * rows] * 4
        assert function.ran == call + 3
    assert counters["stats"]["unique_graphs"] == graphs


@pytest.mark.slow
def test_falling_back_to_eager_is_an_error():
    function = Compiled(cubes)
    with torch.compiler.set_stance("force_eager"), pytest.raises(UserError, match="without compiling it"):
        function(torch.ones(7, 3), torch.ones(7, 3), 5)


@pytest.mark.slow
def test_the_recompile_limit_is_an_error():
    function = Compiled(lambda x: x.sum())
    with torch._dynamo.config.patch(recompile_limit=2):
        for dims in (1, 2):
            function(torch.ones((2,) * dims))
        with pytest.raises(UserError, match="more than 2 kinds"):
            function(torch.ones(2, 2, 2))


@pytest.mark.slow
def test_kernels_do_not_share_the_recompile_limit():
    with torch._dynamo.config.patch(recompile_limit=1):
        for dims in range(1, 4):
            assert Compiled(_total)(torch.ones((2,) * dims)) == 2**dims


def _total(x):
    return x.sum()


@pytest.mark.slow
def test_derivatives_are_compiled_and_right_to_third_order():
    function = Compiled(cubes)
    x = torch.tensor([[2.0], [3.0]], dtype=torch.float64, requires_grad=True)
    weight = torch.tensor([[1.0], [5.0]], dtype=torch.float64)
    value = function(x, weight, 1)
    assert value.item() == 8 + 5 * 27 + 1
    orders = []
    for _ in range(3):
        (value,) = torch.autograd.grad(value.sum(), x, create_graph=True)
        orders.append(value.flatten().tolist())
    assert orders == [[12, 135], [12, 90], [6, 30]]
    first = function.pullback((0,), 1, False)
    assert first.ran == 1
    assert first.pullback((0, 1), 1, True).ran + first.pullback((1,), 1, True).ran == 1


@pytest.mark.slow
def test_inside_a_compiled_model_it_is_part_of_its_graph():
    kernel = kernels.get("gather_scale_scatter", "compiled")
    x, weight = torch.randn(4, 3, requires_grad=True), torch.randn(5, 1)
    edges = torch.randint(4, (2, 5))
    model = torch.compile(lambda x: kernel(x, weight, edges, 4).tanh().sum(), fullgraph=True)
    reference = kernels.get("gather_scale_scatter", "reference")(x, weight, edges, 4).tanh().sum()
    torch.testing.assert_close(model(x), reference)
    torch.testing.assert_close(torch.autograd.grad(model(x), x), torch.autograd.grad(reference, x))
    assert kernel.choice.ran == {"gather_scale_scatter": "compiled"}


def test_empty_arguments_need_no_compilation():
    function = Compiled(cubes)
    assert function(torch.ones(0, 3), torch.ones(0, 3), 5).tolist() == [5, 5, 5]
    assert function.ran == 0


def test_what_is_missing_is_said(monkeypatch):
    assert module.no_compiler() is None
    monkeypatch.setattr(module.shutil, "which", lambda name: None)
    assert "no C++ compiler" in module.no_compiler()
    assert "no C++ compiler" in kernels.available("gather_scale_scatter")["compiled"].reason
    choice = kernels.Kernels()
    kernels.get("gather_scale_scatter", choice)(torch.ones(2, 1), torch.ones(1, 1), torch.tensor([[0], [1]]), 2)
    assert choice.ran == {"gather_scale_scatter": "reference"}
    monkeypatch.setenv("TORCH_COMPILE_DISABLE", "1")
    assert module.no_compiler() == "torch.compile is switched off"
