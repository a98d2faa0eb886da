"""eSCN's SO(2) convolution is the fully connected Clebsch-Gordan product (arXiv:2302.03655), and is equivariant."""

import pytest
import torch
from e3nn import o3
from kernels.edge_algebra import (
    clebsch_gordan_sum,
    default_float64,
    equivariance_error,
    frames,
    from_mul_ir,
    graph,
    mul_ir,
    relative,
)
from torch.autograd import gradcheck, gradgradcheck

from erlangen import kernels
from erlangen.errors import UserError
from erlangen.kernels.so2 import pair_slices, pairs, path_matrix, paths, radial_rows, so2_linear

NODES, EDGES, IN, OUT = 5, 20, 3, 4


def conv(lmax, mmax=None):
    return kernels.get("so2_conv", "reference", lmax=lmax, mmax=lmax if mmax is None else mmax)


def mixing(generator, rows, dtype=torch.float64):
    return torch.randn(rows, IN, OUT, generator=generator, dtype=torch.float64).to(dtype)


def radials(generator, lmax, mmax, dtype=torch.float64):
    return torch.rand(EDGES, radial_rows(lmax, mmax), IN, generator=generator, dtype=torch.float64).to(dtype)


@pytest.mark.parametrize("lmax", [0, 1, 2, 3, pytest.param(4, marks=pytest.mark.slow)])
@pytest.mark.parametrize(("dtype", "bound"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
def test_it_is_the_fully_connected_clebsch_gordan_product(generator, lmax, dtype, bound):
    """The identity of the paper; each degree of the source is scaled by a radial weight of its edge and channel."""
    x, edge_index, vectors = graph(generator, lmax, IN, dtype=dtype)
    w = mixing(generator, len(paths(lmax)), dtype)
    scale = torch.rand(EDGES, lmax + 1, IN, generator=generator, dtype=torch.float64).to(dtype)

    def mix(number, message):
        return (message * scale[:, paths(lmax)[number][0], None]) @ w[number]

    true = clebsch_gordan_sum(x, edge_index, vectors, mix, lmax)
    ours = torch.einsum("qp,puv->quv", path_matrix(lmax, lmax).to(dtype), w)
    radial = torch.cat([scale[:, m:] for m in range(lmax + 1)], 1)
    found = conv(lmax)(x, edge_index, frames(vectors, lmax), radial, ours, NODES)
    assert relative(found, true) < bound


def test_it_is_e3nns_own_fully_connected_tensor_product(generator):
    lmax = 2
    x, edge_index, vectors = graph(generator, lmax, IN)
    into, out = (o3.Irreps([(c, (degree, 1)) for degree in range(lmax + 1)]) for c in (IN, OUT))
    sh = o3.Irreps([(1, (degree, 1)) for degree in range(2 * lmax + 1)])
    options = {"irrep_normalization": "none", "path_normalization": "none", "internal_weights": False}
    with default_float64():
        product = o3.FullyConnectedTensorProduct(into, sh, out, shared_weights=True, **options)
    place = {path: number for number, path in enumerate(paths(lmax))}
    order = [place[i.i_in1, i.i_in2, i.i_out] for i in product.instructions]
    assert sorted(order) == list(range(len(place)))
    w = mixing(generator, len(order))
    Y = o3.spherical_harmonics(list(range(2 * lmax + 1)), vectors, True, "component")
    messages = from_mul_ir(product(mul_ir(x[edge_index[0]]), Y, w[order].flatten()), lmax, OUT)
    true = x.new_zeros(NODES, (lmax + 1) ** 2, OUT).index_add(0, edge_index[1], messages)
    ours = torch.einsum("qp,puv->quv", path_matrix(lmax, lmax), w)
    ones = torch.ones_like(radials(generator, lmax, lmax))
    assert relative(conv(lmax)(x, edge_index, frames(vectors, lmax), ones, ours, NODES), true) < 1e-14


@pytest.mark.parametrize(("lmax", "mmax"), [(1, 0), (2, 2), (3, 1), (6, 2), (4, 4)])
@pytest.mark.parametrize(("dtype", "bound"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
def test_it_is_equivariant_with_any_weights_and_orders(generator, lmax, mmax, dtype, bound):
    x, edge_index, vectors = graph(generator, lmax, IN, dtype=dtype)
    w, radial = mixing(generator, pairs(lmax, mmax), dtype), radials(generator, lmax, mmax, dtype)

    def convolution(x, vectors):
        return conv(lmax, mmax)(x, edge_index, frames(vectors, lmax), radial, w, NODES)

    assert equivariance_error(convolution, x, vectors, lmax, generator) < bound


def test_a_convolution_that_mixes_orders_would_be_caught(generator):
    """The test above can fail: one order of the frame scaled by itself breaks the symmetry."""
    x, edge_index, vectors = graph(generator, 2, IN)
    w, radial = mixing(generator, pairs(2, 2)), radials(generator, 2, 2)

    def broken(x, vectors):
        D = frames(vectors, 2).clone()
        D[:, 1:4] *= 1.1  # the row m = -1 of degree 1
        return conv(2)(x, edge_index, D, radial, w, NODES)

    assert equivariance_error(broken, x, vectors, 2, generator) > 1e-3


def test_the_pair_of_orders_is_multiplied_by_a_complex_matrix(generator):
    """The layer as the paper defines it, in complex numbers."""
    lmax, mmax, m = 3, 2, 2
    h = torch.randn(6, 14, IN, generator=generator, dtype=torch.float64)
    w = mixing(generator, pairs(lmax, mmax))
    y = so2_linear(h, w, lmax, mmax)
    real, imaginary = w[pair_slices(lmax, mmax)[m]].reshape(2, 2, 2, IN, OUT)
    z = torch.einsum("oiuv,eiu->eov", torch.complex(real, imaginary), torch.complex(h[:, 10:12], h[:, 12:14]))
    torch.testing.assert_close(y[:, 10:12], z.real)
    torch.testing.assert_close(y[:, 12:14], z.imag)
    zonal = torch.einsum("oiuv,eiu->eov", w[:16].reshape(4, 4, IN, OUT), h[:, :4])
    torch.testing.assert_close(y[:, :4], zonal)


def test_real_weights_keep_parity_and_imaginary_ones_do_not(generator):
    x, edge_index, vectors = graph(generator, 2, IN)
    sign = torch.tensor([1.0] + 3 * [-1.0] + 5 * [1.0], dtype=torch.float64).unsqueeze(1)
    radial, matrix = radials(generator, 2, 2), path_matrix(2, 2)
    ones = torch.ones_like(radial)
    even = torch.tensor([sum(path) % 2 == 0 for path in paths(2)])
    for kept, symmetric in ((even, True), (~even, False)):
        w = torch.einsum("qp,puv->quv", matrix[:, kept], mixing(generator, int(kept.sum())))
        plain = conv(2)(x, edge_index, frames(vectors, 2), ones, w, NODES)
        mirrored = conv(2)(sign * x, edge_index, frames(-vectors, 2), ones, w, NODES)
        torch.testing.assert_close(mirrored, sign * plain if symmetric else -sign * plain)


def test_edges_without_length_pass_scalars_only_and_keep_equivariance(generator):
    x, edge_index, vectors = graph(generator, 2, IN)
    vectors[3:6] = 0
    vectors[5] = 1e-200
    w, radial = mixing(generator, pairs(2, 2)), radials(generator, 2, 2)

    def convolution(x, vectors):
        return conv(2)(x, edge_index, frames(vectors, 2), radial, w, NODES)

    assert equivariance_error(convolution, x, vectors, 2, generator) < 1e-12
    vectors.requires_grad_()
    (gradient,) = torch.autograd.grad(convolution(x, vectors).square().sum(), vectors, create_graph=True)
    assert gradient[3:6].abs().max() == 0
    (second,) = torch.autograd.grad(gradient.square().sum(), vectors)
    assert second.isfinite().all()


def test_forces_through_frames_are_right_to_second_order(generator):
    """Positions reach the result through the frames; the frames' arbitrary turn about the edge must not show."""
    x, edge_index, vectors = graph(generator, 2, IN, nodes=2, edges=3)
    w, radial = mixing(generator, pairs(2, 1)), radials(generator, 2, 1)[:3]

    def energy(vectors):
        return conv(2, 1)(x, edge_index, frames(vectors, 2), radial, w, 2).square().sum()

    vectors.requires_grad_()
    assert gradcheck(energy, vectors)
    assert gradgradcheck(energy, vectors)
    pole = torch.tensor([[0.0, 1, 0], [0, -1, 0], [1, 0, 0]], dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(energy(pole), pole)
    assert gradient.isfinite().all()


@pytest.mark.parametrize("backend", ["reference", "compiled"])
def test_without_edges_the_sum_is_zero_and_so_are_gradients(backend):
    kernel = kernels.get("so2_conv", backend, lmax=2, mmax=1)
    x = torch.ones(1, 9, IN, dtype=torch.float64, requires_grad=True)
    w = torch.ones(pairs(2, 1), IN, OUT, dtype=torch.float64, requires_grad=True)
    radial = torch.ones(0, radial_rows(2, 1), IN, dtype=torch.float64)
    out = kernel(x, torch.zeros(2, 0, dtype=torch.int64), frames(x.new_zeros(0, 3), 2), radial, w, 1)
    assert out.shape == (1, 9, OUT)
    out.square().sum().backward()
    assert x.grad.abs().sum() == w.grad.abs().sum() == out.abs().sum() == 0


def test_mistakes_are_named(generator):
    x, edge_index, vectors = graph(generator, 2, IN)
    w, D, radial = mixing(generator, pairs(2, 1)), frames(vectors, 2), radials(generator, 2, 1)
    for args, why in (
        ((x, edge_index, D, radial[:, 1:], w, NODES), r"radial is \(20, 4, 3\); give \(20, 5, 3\)"),
        ((x, edge_index, D, radial, w[1:], NODES), r"weight is \(16, 3, 4\); give \(17, 3, channels out\)"),
        ((x, edge_index, D, radial, w.mT, NODES), r"weight is \(17, 4, 3\)"),
        ((x.mT, edge_index, D, radial, w, NODES), r"give \(rows, 9, channels\)"),
        ((x, edge_index.float(), D, radial, w, NODES), "one dtype"),
    ):
        with pytest.raises(UserError, match=why):
            conv(2, 1)(*args)
