"""Backends by cuEquivariance: the reference's function at every spec, and what is stated for its kernels on CUDA."""

import importlib
import subprocess
import sys
from importlib.util import find_spec

import pytest
import torch

from erlangen import kernels
from erlangen.errors import UserError
from erlangen.kernels import cueq
from erlangen.kernels.registry import find

OPS = ("cg_product", "symmetric_contraction", "so2_depthwise")
INSTALLED = cueq.not_installed() is None
needs_cueq = pytest.mark.skipif(not INSTALLED, reason="cuEquivariance is not installed")

CASES = [
    *(
        ("cg_product", {"lmax1": l1, "lmax2": l2, "lmax3": l3, "odd": odd})
        for l1, l2, l3, odd in [(0, 0, 0, True), (3, 3, 3, False), (1, 3, 2, True), (2, 1, 3, False), (1, 0, 3, False)]
    ),
    *(
        ("symmetric_contraction", {"lmax": lmax, "lmax_out": out, "correlation": order})
        for lmax, out, order in [(0, 0, 3), (1, 1, 3), (2, 2, 2), (3, 1, 3), (1, 3, 2), (1, 0, 4), (2, 0, 1)]
    ),
    *(
        ("so2_depthwise", {"lmax": lmax, "mmax": mmax})
        for lmax, mmax in [(0, 0), (1, 0), (1, 1), (2, 2), (3, 1), (4, 4), (5, 2)]
    ),
]
cases = pytest.mark.parametrize(
    ("op", "sizes"), CASES, ids=["-".join(map(str, (op, *sizes.values()))) for op, sizes in CASES]
)


def numbers(args):
    return [a for a in args if isinstance(a, torch.Tensor) and a.is_floating_point()]


def value_and_gradients(op, backend, args, spec):
    """What comes out, and the gradients of the sum of its squares by every real argument."""
    args = tuple(
        a.clone().requires_grad_() if isinstance(a, torch.Tensor) and a.is_floating_point() else a for a in args
    )
    out = kernels.get(op, backend, **spec)(*args)
    return [out.detach(), *torch.autograd.grad(out.square().sum(), numbers(args))]


def assert_same(op, args, spec):
    found, true = (value_and_gradients(op, backend, args, spec) for backend in ("cueq", "reference"))
    for f, t in zip(found, true, strict=True):
        assert f.shape == t.shape
        assert (f - t).abs().max() <= 1e-12 * t.abs().max().clamp_min(1)


@needs_cueq
@cases
def test_it_is_the_reference_and_so_are_its_gradients(op, sizes):
    args, spec = find(op).example(torch.float64, "cpu", 0, **sizes)
    assert_same(op, args, spec)


@needs_cueq
@pytest.mark.parametrize("odd", [True, False])
@pytest.mark.parametrize("filters", [1, 3])
@pytest.mark.parametrize("rows", [1, 5])
def test_a_filter_of_one_channel_and_weights_that_rows_share(odd, filters, rows):
    (x, y, weight), spec = find("cg_product").example(torch.float64, "cpu", 0, lmax2=3, odd=odd)
    assert_same("cg_product", (x, y[:, :, :filters], weight[:rows]), spec)


@needs_cueq
def test_edges_may_come_in_any_order_between_nodes_of_two_kinds(generator):
    (x, edge_index, D, weight, _), spec = find("so2_depthwise").example(torch.float64, "cpu", 0)
    order = torch.randperm(len(D), generator=generator)
    edges = torch.stack([edge_index[0], edge_index[1] + 3])[:, order]
    assert_same("so2_depthwise", (x, edges.int(), D[order], weight[order], 11), spec)


@needs_cueq
def test_it_is_the_same_function_of_matrices_that_are_no_rotations(generator):
    (x, edges, D, weight, size), spec = find("so2_depthwise").example(torch.float64, "cpu", 0, lmax=3, mmax=2)
    D = torch.randn(D.shape, generator=generator, dtype=D.dtype)
    assert_same("so2_depthwise", (x, edges, D, weight, size), spec)


@needs_cueq
@pytest.mark.parametrize("op", OPS)
def test_one_kernel_serves_any_number_of_channels_rows_and_dtypes(op):
    kernel = kernels.get(op, "cueq", **find(op).example(torch.float64, "cpu", 0)[1])
    count = "rows" if op == "cg_product" else "nodes"
    for channels, rows, dtype in ((3, 5, torch.float64), (1, 1, torch.float32), (4, 2, torch.float64)):
        args, spec = find(op).example(dtype, "cpu", 0, channels=channels, **{count: rows})
        torch.testing.assert_close(kernel(*args), find(op).reference(*args, **spec), rtol=1e-5, atol=1e-5)


@needs_cueq
@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("absent", ["rows", "channels"])
def test_without_rows_or_channels_the_result_is_zero_and_so_are_gradients(op, absent):
    count = {"cg_product": "rows", "symmetric_contraction": "nodes", "so2_depthwise": "degree"}[op]
    args, spec = find(op).example(torch.float64, "cpu", 0, **{count if absent == "rows" else absent: 0})
    found = value_and_gradients(op, "cueq", args, spec)
    assert found[0].shape == find(op).reference(*args, **spec).shape
    assert all(t.abs().sum() == 0 for t in found)


@needs_cueq
@pytest.mark.parametrize("op", OPS)
def test_made_without_gradients_it_has_them_afterwards(op):
    args, spec = find(op).example(torch.float64, "cpu", 0)
    kernel = kernels.get(op, "cueq", **spec)
    with torch.inference_mode():
        kernel(*args)
    args[0].requires_grad_()
    assert torch.autograd.grad(kernel(*args).sum(), args[0])[0].abs().max() > 0


@needs_cueq
@pytest.mark.slow
@pytest.mark.parametrize("op", OPS)
def test_a_compiled_model_may_call_it(op):
    args, spec = find(op).example(torch.float64, "cpu", 0)
    kernel = kernels.get(op, "cueq", **spec)
    torch._dynamo.reset()
    compiled = torch.compile(lambda *args: 2 * kernel(*args), fullgraph=True, dynamic=True, backend="aot_eager")
    for channels in (3, 5):
        args, spec = find(op).example(torch.float64, "cpu", 0, channels=channels)
        torch.testing.assert_close(compiled(*args), 2 * find(op).reference(*args, **spec))


@needs_cueq
def test_cuequivariances_own_symmetric_contraction_with_maces_weights_is_ours():
    import cuequivariance as cue
    import cuequivariance_torch as cuet

    (x, weight, species), spec = find("symmetric_contraction").example(torch.float64, "cpu", 0)
    channels = x.shape[2]
    irreps = [
        cue.Irreps("O3", [(channels, (degree, (-1) ** degree)) for degree in range(lmax + 1)])
        for lmax in (spec["lmax"], spec["lmax_out"])
    ]
    theirs = cuet.SymmetricContraction(
        *irreps,
        spec["correlation"],
        weight.shape[0],
        layout=cue.ir_mul,
        dtype=torch.float64,
        original_mace=True,
        method="naive",
    )
    paths = importlib.import_module("erlangen.kernels.symmetric_contraction").paths(*spec.values())

    def place(number):
        """Theirs: the highest order first; then by the degree between, of the harmonics' parity before the other."""
        degrees, middle = paths[number].degrees, paths[number].middle[:1]
        return paths[number].out, -len(degrees), middle, sum((*degrees[:2], *middle)) % 2

    with torch.no_grad():
        theirs.weight.copy_(weight[:, sorted(range(len(paths)), key=place)])
        expected = theirs(x.flatten(1), species).unflatten(1, (-1, channels))
    found = kernels.get("symmetric_contraction", "cueq", **spec)(x, weight, species)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12 * expected.abs().max().item())


def descriptions(op, spec, channels):
    """The polynomials of a backend, each with its method's name."""
    module = importlib.import_module(f"erlangen.kernels.cueq.{op}")
    if op == "so2_depthwise":
        return [describe(*spec.values(), channels) for describe in (module.turning, module.mixing, module.turning_back)]
    sizes = [(channels, channels), (channels, 1)] if op == "cg_product" else [(channels,)]
    return [module.describe(*spec.values(), *size) for size in sizes]


@needs_cueq
@cases
def test_the_kernels_for_cuda_can_take_what_is_stated_for_them(op, sizes, monkeypatch):
    """One axis in each segment, of channels, or none; no other axis of coefficients: their own constructor checks it."""
    module = importlib.import_module("cuequivariance_torch.primitives.segmented_polynomial_uniform_1d")
    for name in ("uniform_1d", "BATCH_DIM_AUTO", "BATCH_DIM_SHARED", "BATCH_DIM_BATCHED", "BATCH_DIM_INDEXED"):
        monkeypatch.setattr(module, name, 0, raising=False)
    flattened = importlib.import_module("erlangen.kernels.cueq.polynomial").flattened
    for polynomial in descriptions(op, find(op).example(torch.float64, "cpu", 0, **sizes)[1], 4):
        assert module.SegmentedPolynomialFromUniform1dJit(flattened(polynomial)).operand_extent == 4


@needs_cueq
@pytest.mark.parametrize("op", OPS)
def test_what_is_stated_for_the_kernels_for_cuda_is_the_same_polynomial(op, generator):
    polynomial = importlib.import_module("erlangen.kernels.cueq.polynomial")
    for described in descriptions(op, find(op).example(torch.float64, "cpu", 0)[1], 2):
        inputs = [torch.randn(operand.size, generator=generator).double().numpy() for operand in described.inputs]
        for found, true in zip(polynomial.flattened(described)(*inputs), described(*inputs), strict=True):
            assert abs(found - true).max() <= 1e-13 * abs(true).max()


@pytest.mark.parametrize("op", OPS)
def test_where_it_is_missing_a_run_that_names_it_says_what_to_install(op, monkeypatch):
    monkeypatch.setattr(cueq, "find_spec", lambda name: None if name.startswith("cuequivariance") else find_spec(name))
    args, spec = find(op).example(torch.float32, "cpu", 0)
    why = rf"kernels.{op}=cueq cannot run on cpu in float32: cueq: .*cuequivariance_torch not installed: pip install 'erlangen"
    for choice in (kernels.Kernels("cueq"), kernels.Kernels(**{op: "cueq"})):
        with pytest.raises(UserError, match=why):
            kernels.get(op, choice, **spec)(*args)
    kernels.get(op, kernels.Kernels(), **spec)(*args)


@needs_cueq
@pytest.mark.parametrize("op", OPS)
def test_on_cuda_it_asks_for_its_kernels(op, monkeypatch):
    def find_one(name):
        return None if name == "cuequivariance_ops_torch" else find_spec(name)

    monkeypatch.setattr(cueq, "find_spec", find_one)
    reason = find(op).backends["cueq"].unusable("cuda", torch.float32, 2, find(op).example(torch.float32, "cpu", 0)[1])
    assert "pip install cuequivariance-ops-torch-cu12 (or -cu13" in reason


@needs_cueq
def test_five_factors_are_refused():
    args, spec = find("symmetric_contraction").example(torch.float64, "cpu", 0, lmax=0, lmax_out=0, correlation=5)
    with pytest.raises(UserError, match="it multiplies up to 4 factors, not correlation=5"):
        kernels.get("symmetric_contraction", "cueq", **spec)(*args)


@pytest.mark.parametrize("op", OPS)
def test_auto_takes_the_reference_before_it(op):
    ranked = find(op).ranked(find(op).example(torch.float32, "cpu", 0)[1])
    assert ranked.index("reference") < ranked.index("cueq")


def test_nothing_of_cuequivariance_is_imported_before_it_is_called():
    code = f"""
import sys
from erlangen import kernels
for op in {OPS}:
    kernels.available(op)
    kernels.get(op, "cueq")
assert not [name for name in sys.modules if name.startswith("cuequivariance")]
"""
    subprocess.run([sys.executable, "-c", code], check=True)
