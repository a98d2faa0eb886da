"""OpenEquivariance's problem for `so2_depthwise`, evaluated by e3nn: its kernels run on CUDA only."""

import pytest
import torch
from e3nn import o3
from kernels.edge_algebra import default_float64, frames, from_mul_ir, graph, mul_ir

from erlangen import kernels
from erlangen.errors import UserError
from erlangen.kernels.oeq import convolution, problem
from erlangen.kernels.registry import find
from erlangen.kernels.so2 import pairs

CHANNELS = 3


def evaluated_by_e3nn(lmax):
    """The convolution of the problem that is stated, in the layout that is asked for: rows (components, channels), flat."""
    stated = problem(lmax, CHANNELS)
    parts = [o3.Irreps(stated.pop(name)) for name in ("irreps_in1", "irreps_in2", "irreps_out")]
    with default_float64():
        product = o3.TensorProduct(*parts, stated.pop("instructions"), **stated)

    def kernel(x, harmonics, weight, destinations, sources):
        nodes = mul_ir(x.unflatten(1, (-1, CHANNELS)))
        message = from_mul_ir(product(nodes[sources], harmonics, weight), lmax, CHANNELS).flatten(1)
        return torch.zeros_like(x).index_add(0, destinations, message)

    return kernel


def derivatives(convolve, x, vectors, weight, edge_index, lmax, size):
    """Value, gradients by features, edge vectors and weights, and the gradient of the square of those by vectors."""
    leaves = [t.clone().requires_grad_() for t in (x, vectors, weight)]
    out = convolve(leaves[0], edge_index, frames(leaves[1], lmax), leaves[2], size)
    first = torch.autograd.grad(out.square().sum(), leaves, create_graph=True)
    return out, *first, *torch.autograd.grad(first[1].square().sum(), leaves)


@pytest.mark.parametrize(("lmax", "mmax"), [(1, 0), (1, 1), (2, 2), (3, 1), (3, 3)])
@pytest.mark.parametrize("size", [3, 5, 8])
def test_the_stated_problem_is_the_reference_and_so_are_forces_and_their_gradients(generator, lmax, mmax, size):
    x, edge_index, vectors = graph(generator, lmax, CHANNELS)
    edge_index = torch.stack([edge_index[0], edge_index[1] % size])
    weight = torch.randn(len(vectors), pairs(lmax, mmax), CHANNELS, generator=generator, dtype=torch.float64)
    kernel, reference = evaluated_by_e3nn(lmax), find("so2_depthwise").reference

    def stated(*args):
        return convolution(kernel, *args, lmax, mmax)

    def true(*args):
        return reference(*args, lmax=lmax, mmax=mmax)

    for found, expected in zip(
        *(derivatives(each, x, vectors, weight, edge_index, lmax, size) for each in (stated, true)), strict=True
    ):
        assert (found - expected).abs().max() <= 1e-11 * expected.abs().max().clamp_min(1)


@pytest.mark.parametrize("lmax", [0, 1, 2])
def test_an_edge_without_direction_lets_scalars_pass(generator, lmax):
    x, edge_index, vectors = graph(generator, lmax, CHANNELS)
    vectors[:4] = 0
    D = frames(vectors, lmax)
    weight = torch.randn(len(D), pairs(lmax, lmax), CHANNELS, generator=generator, dtype=torch.float64)
    found = convolution(evaluated_by_e3nn(lmax), x, edge_index, D, weight, 5, lmax, lmax)
    expected = find("so2_depthwise").reference(x, edge_index, D, weight, 5, lmax=lmax, mmax=lmax)
    assert (found - expected).abs().max() <= 1e-12 * expected.abs().max()


def test_a_run_that_names_it_says_why_it_cannot_run():
    args, spec = find("so2_depthwise").example(torch.float32, "cpu", 0)
    with pytest.raises(UserError, match="kernels.so2_depthwise=oeq cannot run on cpu .*it runs on cuda, not on cpu"):
        kernels.get("so2_depthwise", kernels.Kernels("oeq"), **spec)(*args)


def test_auto_takes_it_last():
    assert find("so2_depthwise").ranked({"lmax": 1, "mmax": 1})[-1] == "oeq"
