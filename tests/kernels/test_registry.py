"""Which backend runs: what config says, what the machine can do, and what is recorded."""

import copy
import logging
import pickle
import subprocess
import sys

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.errors import ConfigCompositionException
from hydra.utils import instantiate

from erlangen import kernels
from erlangen.errors import UserError
from erlangen.kernels import registry

GROUPS = ("auto", "reference", "compiled", "native", "triton", "cueq", "oeq")

DOUBLE = """
import torch
from erlangen.kernels.registry import Backend, Cost, Op, plain, traffic

def double(x, *, times=1):
    return x * 2**times

def fast(x, *, times=1):
    return x * 2**times

def example(dtype, device, seed, *, size=3):
    return (torch.ones(size, device=device, dtype=dtype),), {"times": 1}

OP = Op(
    reference=double,
    backends={
        "cueq": Backend(plain(fast), requires=("no_such_module",)),
        "triton": Backend(plain(fast), device=("cuda",)),
        "single": Backend(plain(fast), dtypes=(torch.float32,)),
        "once": Backend(plain(fast), orders=1, dtypes=(torch.float64,)),
        "small": Backend(plain(fast), dtypes=(torch.bfloat16,), refuses=lambda times=1: "times > 3" if times > 3 else None),
    },
    cost=lambda out, x, times=1: Cost(x.numel(), traffic(out, x)),
    example=example,
)
"""


@pytest.fixture
def double(tmp_path, monkeypatch):
    """A new operation is a new file in the folder of kernels, and nothing else."""
    (tmp_path / "double_op.py").write_text(DOUBLE)
    monkeypatch.setattr(kernels, "__path__", [*kernels.__path__, str(tmp_path)])
    for cached in (registry.find, registry.ops):
        cached.cache_clear()
    yield "double_op"
    sys.modules.pop("erlangen.kernels.double_op", None)
    for cached in (registry.find, registry.ops):
        cached.cache_clear()


def test_a_file_in_the_folder_is_an_operation(double):
    assert double in kernels.ops()
    assert kernels.get(double, times=3)(torch.ones(2)).tolist() == [8, 8]
    assert list(kernels.available(double)) == ["cueq", "triton", "single", "once", "small", "reference"]


def test_available_says_where_and_why_not(double):
    support = kernels.available(double)
    assert support["cueq"].reason == "no_such_module not installed"
    assert support["triton"].reason == (None if torch.cuda.is_available() else "there is no CUDA device")
    assert support["once"].orders == 1
    assert support["reference"] == kernels.Support(None, registry.FLOATS, 2, None)


@pytest.mark.parametrize(
    ("backend", "dtype", "spec", "why"),
    [
        ("cueq", torch.float32, {}, "no_such_module not installed"),
        ("triton", torch.float32, {}, "runs on cuda, not on cpu"),
        ("single", torch.float64, {}, "does float32, not float64"),
        ("once", torch.float64, {}, "derivatives up to order 1, and order 2"),
        ("small", torch.bfloat16, {"times": 4}, "times > 3"),
    ],
)
def test_a_named_backend_that_cannot_run_says_why_at_the_first_call(double, backend, dtype, spec, why):
    kernel = kernels.get(double, backend, **spec)
    with pytest.raises(UserError, match=why):
        kernel(torch.ones(2, dtype=dtype, requires_grad=True))
    assert kernel.choice.ran == {}


def test_auto_takes_the_first_usable_backend_for_each_dtype_and_derivative(double):
    choice = kernels.Kernels()
    kernel = kernels.get(double, choice)
    kernel(torch.ones(2))
    assert choice.ran == {double: "single"}
    kernel(torch.ones(2, dtype=torch.float64, requires_grad=True))
    assert choice.ran == {double: "reference, single"}
    kernel(torch.ones(2, dtype=torch.float64))  # no derivative is taken, so that `once` will do
    assert choice.ran == {double: "once, reference, single"}
    first_order = kernels.Kernels()
    kernels.get(double, first_order, order=1)(torch.ones(2, dtype=torch.float64, requires_grad=True))
    assert first_order.ran == {double: "once"}


def test_auto_logs_its_choice_once_and_a_named_backend_needs_no_log(double, caplog):
    with caplog.at_level(logging.INFO, "erlangen"):
        choice = kernels.Kernels()
        for kernel in (kernels.get(double, choice), kernels.get(double, choice)):
            kernel(torch.ones(2))
            kernel(torch.ones(3))
        assert [r.message for r in caplog.records] == ["kernels: auto chose single for double_op"]
        kernels.get(double, "single")(torch.ones(2))
        assert len(caplog.records) == 1


def test_a_default_backend_that_an_operation_lacks_is_not_forced_on_it_but_one_it_has_is(double):
    assert kernels.get("knn", kernels.Kernels("cueq"), k=1).choice.backend("knn") == "auto"
    with pytest.raises(UserError, match="no_such_module"):
        kernels.get(double, kernels.Kernels("cueq"))(torch.ones(1))
    kernels.get(double, kernels.Kernels("cueq", **{double: "reference"}))(torch.ones(1))


def test_two_models_may_choose_differently(double):
    fast, slow = kernels.Kernels(), kernels.Kernels("reference")
    for choice in (fast, slow):
        kernels.get(double, choice)(torch.ones(1))
    assert (fast.ran, slow.ran) == ({double: "single"}, {double: "reference"})


def test_mistakes_are_named():
    with pytest.raises(UserError, match="no operation 'segment_sun'; did you mean segment_sum"):
        kernels.get("segment_sun")
    with pytest.raises(UserError, match="no operation 'registry'"):
        kernels.get("registry")
    with pytest.raises(UserError, match="kernels.knn=fast: knn has the backends auto, scipy, reference"):
        kernels.get("knn", "fast", k=1)
    with pytest.raises(UserError, match="kernels=fast: choose one of auto"):
        kernels.Kernels("fast")
    with pytest.raises(UserError, match="knn: no argument neighbours"):
        kernels.get("knn", neighbours=3)
    with pytest.raises(UserError, match="must be made of numbers"):
        kernels.get("knn", k=[3])
    with pytest.raises(TypeError, match="segment_sum takes values, index, size"):
        kernels.get("segment_sum", "reference")(torch.ones(1), torch.zeros(1, dtype=torch.int64))
    with pytest.raises(UserError, match="float32 and float64"):
        kernels.get("segment_attention", "reference")(
            torch.ones(1, 1), torch.ones(1, 1, 1).double(), torch.zeros(1, dtype=torch.int64), 1
        )
    with pytest.raises(UserError, match="none of its arguments is a tensor of real or complex numbers"):
        kernels.get("segment_sum", "reference")(torch.ones(1).long(), torch.zeros(1, dtype=torch.int64), 1)


def test_autocast_promotes_mixed_precision_to_the_widest(double):
    attention = kernels.get("segment_attention", "reference")
    logits, values, index = torch.randn(3, 1), torch.randn(3, 1, 2).bfloat16(), torch.tensor([0, 0, 1])
    with torch.autocast("cpu", torch.bfloat16):
        out = attention(logits, values, index, 2)
    torch.testing.assert_close(out, attention(logits, values.float(), index, 2))


def test_arguments_may_be_named():
    values, index = torch.randn(3, 2), torch.tensor([1, 0, 1])
    sums = kernels.get("segment_sum", "reference")
    assert torch.equal(sums(values, size=2, index=index), sums(values, index, 2))
    points, ptr = torch.randn(4, 3), torch.tensor([0, 4])
    knn = kernels.get("knn", "reference", k=1)
    assert torch.equal(knn(points, ptr, query_ptr=ptr, query=points), knn(points, ptr, points, ptr))


def test_the_meta_device_gives_shapes_whatever_is_named(double):
    choice = kernels.Kernels("triton")
    assert kernels.get(double, choice)(torch.ones(5, device="meta")).shape == (5,)
    softmax = kernels.get("segment_softmax", "compiled")
    assert softmax(torch.ones(5, 2, device="meta"), torch.ones(5, device="meta").long(), 3).shape == (5, 2)
    assert choice.ran == {}


def test_copies_and_pickles_of_a_model_run_and_copies_share_the_record(double):
    class Net(torch.nn.Module):
        def __init__(self, choice):
            super().__init__()
            self.kernel = kernels.get(double, choice, times=2)

    choice = kernels.Kernels()
    net = Net(choice)
    net.kernel(torch.ones(1))
    teacher = copy.deepcopy(net)
    teacher.kernel(torch.ones(1, dtype=torch.float64))
    assert choice.ran == {double: "once, single"}
    restored = pickle.loads(pickle.dumps(net.kernel))
    assert restored(torch.ones(1)).item() == 4
    assert repr(restored) == "Kernel(double_op, times=2)"


@pytest.fixture
def config(tmp_path):
    """Hydra on the shipped group `kernels`, whatever else the top level holds."""
    (tmp_path / "train.yaml").write_text(
        "defaults: [{kernels: auto}, _self_]\nhydra: {searchpath: ['pkg://erlangen.conf']}\n"
    )
    kernels.register_schema()
    with initialize_config_dir(str(tmp_path), version_base="1.3"):
        yield lambda *overrides: compose("train", overrides=list(overrides)).kernels


@pytest.mark.parametrize("group", GROUPS)
def test_the_command_line_chooses_for_all_operations(config, group):
    choice = instantiate(config(f"kernels={group}"))
    assert (choice.default, choice.named) == (group, {})


@pytest.mark.parametrize("op", kernels.ops())
def test_the_command_line_chooses_for_one_operation(config, op):
    for backend in kernels.available(op):
        choice = instantiate(config("kernels=auto", f"kernels.{op}={backend}"))
        assert choice.backend(op) == backend
        assert choice.default == "auto"


def test_the_command_line_refuses_an_operation_that_does_not_exist(config):
    with pytest.raises(ConfigCompositionException, match="kernels.segment_sun"):
        config("kernels.segment_sun=compiled")


def test_importing_neither_compiles_nor_loads_a_compiler():
    code = """
import sys
import erlangen.kernels as kernels
assert not {"torch._dynamo", "hydra"} & {*sys.modules}
import torch._dynamo  # as Lightning does; it brings triton where that is installed
before = {*sys.modules}
kernels.ops()
assert not {"torch._inductor.compile_fx", "triton", "vesin", "scipy.spatial"} & ({*sys.modules} - before)
"""
    subprocess.run([sys.executable, "-c", code], check=True)
