"""Layers on features of SO(3), and in the frames of edges: they commute with turns, and are the formulas they stand for."""

import pytest
import torch
from torch_geometric.data import Data

from erlangen.geometry.clebsch_gordan import wigner_3j
from erlangen.geometry.rotations import edge_frames, random_rotations
from erlangen.geometry.spherical_harmonics import spherical_harmonics
from erlangen.geometry.wigner import rotate, wigner, wigner_blocks
from erlangen.kernels import Kernels
from erlangen.kernels.m_layout import from_edge_frame, m_slices, to_edge_frame
from erlangen.kernels.so2 import pair_slices, pairs, path_matrix, paths, radial_of_row, radial_rows, so2_linear
from erlangen.nn.drop_path import DropPath
from erlangen.nn.edge_degree import EdgeDegreeEmbedding
from erlangen.nn.edge_frames import EdgeFrames, Edges
from erlangen.nn.edge_radial import EdgeRadial
from erlangen.nn.so2_layers import SO2Linear, orders_of, row_degrees, scaled_orders, truncation_gain
from erlangen.nn.so3_layers import SeparableLayerNorm, SO3Linear, component_degrees, gated

LMAX = 3


def features(rows: int, components: int, channels: int, generator: torch.Generator) -> torch.Tensor:
    return torch.randn(rows, components, channels, generator=generator, dtype=torch.float64)


def randomized(module: torch.nn.Module, generator: torch.Generator) -> torch.nn.Module:
    module.double()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
    return module


def node_layers(generator: torch.Generator) -> dict:
    gates = torch.randn(6, LMAX * 4, generator=generator, dtype=torch.float64)
    degree = component_degrees(LMAX, dtype=torch.int64)
    return {
        "linear": randomized(SO3Linear(LMAX, 4, 5), generator),
        "norm": randomized(SeparableLayerNorm(LMAX, 4), generator),
        "gate": lambda x: gated(x, gates, degree),
    }


@pytest.mark.parametrize("name", ["linear", "norm", "gate"])
def test_layers_on_nodes_commute_with_rotations(name: str, generator: torch.Generator) -> None:
    layer = node_layers(generator)[name]
    x = features(6, (LMAX + 1) ** 2, 4, generator)
    D = wigner_blocks(random_rotations(6, generator=generator), LMAX)
    torch.testing.assert_close(layer(rotate(x, D)), rotate(layer(x), D), rtol=1e-11, atol=1e-11)


def test_separable_norm_leaves_ratios_of_higher_degrees_and_balances_them(generator: torch.Generator) -> None:
    x = 7 * features(5, (LMAX + 1) ** 2, 4, generator) + 3
    out = SeparableLayerNorm(LMAX, 4).double()(x)
    torch.testing.assert_close(out[:, 0], torch.nn.functional.layer_norm(x[:, 0], (4,)))
    by_degree = [part.square().mean((1, 2)) for part in out.split([1, 3, 5, 7], 1)[1:]]
    torch.testing.assert_close(torch.stack(by_degree).mean(0), torch.ones(5, dtype=torch.float64), rtol=1e-5, atol=0)
    ratio = out[:, 1:] / x[:, 1:]
    torch.testing.assert_close(ratio, ratio[:, :1, :1].expand_as(ratio))


@pytest.mark.parametrize("mmax", [1, 2, 3])
def test_so2_layers_commute_with_turns_about_the_edge(mmax: int, generator: torch.Generator) -> None:
    x = features(6, (LMAX + 1) ** 2, 4, generator)
    axis = torch.tensor([0.0, 1.0, 0.0], dtype=torch.float64)
    turn = edge_frames(axis.expand(6, 3)) @ about_y(torch.rand(6, generator=generator, dtype=torch.float64) * 6)
    D, identity = wigner(turn, LMAX), wigner(torch.eye(3, dtype=torch.float64).expand(6, 3, 3), LMAX)
    layer = randomized(SO2Linear(Kernels("reference"), LMAX, mmax, 4, 5, scalars=3), generator)
    radial = torch.randn(6, radial_rows(LMAX, mmax) * 4, generator=generator, dtype=torch.float64)
    gates = torch.randn(6, LMAX * 5, generator=generator, dtype=torch.float64)
    degree = row_degrees(LMAX, mmax, dtype=torch.int64)

    def run(frame: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        scalars, message = layer(scaled_orders(orders_of(to_edge_frame(x, frame, LMAX, mmax), LMAX, mmax), radial))
        return scalars, from_edge_frame(gated(message, gates, degree), frame, LMAX, mmax)

    for found, want in zip(run(D), run(identity), strict=True):
        torch.testing.assert_close(found, want, rtol=1e-10, atol=1e-10)


def about_y(angle: torch.Tensor) -> torch.Tensor:
    zero, one = torch.zeros_like(angle), torch.ones_like(angle)
    rows = (angle.cos(), zero, angle.sin(), zero, one, zero, -angle.sin(), zero, angle.cos())
    return torch.stack(rows, -1).unflatten(-1, (3, 3))


def loaded(weight: torch.Tensor, lmax: int, mmax: int, backend: str = "auto") -> SO2Linear:
    """The layer with the weights (pairs, in, out) of the kernels, without bias."""
    channels_in, channels_out = weight.shape[1:]
    layer = SO2Linear(Kernels(complex_linear=backend), lmax, mmax, channels_in, channels_out).double()
    torch.nn.init.zeros_(layer.invariant.bias)
    with torch.no_grad():
        for m, part in enumerate(pair_slices(lmax, mmax)):
            n = lmax - m + 1
            matrix = weight[part].unflatten(0, (-1, n, n)).permute(0, 2, 3, 1, 4).flatten(3).flatten(1, 2)
            (layer.complex[m - 1] if m else layer.invariant.weight).copy_(matrix if m else matrix[0].T)
    return layer


@pytest.mark.parametrize("backend", ["reference", "three"])
@pytest.mark.parametrize("mmax", [0, 1, 3])
def test_so2_layer_is_the_kernels_linear_map(mmax: int, backend: str, generator: torch.Generator) -> None:
    weight = features(pairs(LMAX, mmax), 4, 5, generator)
    x = features(6, m_slices(LMAX, mmax)[-1].stop, 4, generator)
    _, found = loaded(weight, LMAX, mmax, backend)(orders_of(x, LMAX, mmax))
    torch.testing.assert_close(found, so2_linear(x, weight, LMAX, mmax), rtol=1e-11, atol=1e-11)
    radial = torch.randn(6, radial_rows(LMAX, mmax), 4, generator=generator, dtype=torch.float64)
    want = x * radial[:, radial_of_row(LMAX, mmax, dtype=torch.int64)]
    for part, scaled in zip(
        orders_of(want, LMAX, mmax), scaled_orders(orders_of(x, LMAX, mmax), radial.flatten(1)), strict=True
    ):
        torch.testing.assert_close(scaled, part)


def test_so2_convolution_is_the_full_clebsch_gordan_product(generator: torch.Generator) -> None:
    """What eSCN (arXiv:2302.03655) is about: all paths (l1, l2, l3), l2 up to 2 lmax, in the frame of the edge."""
    lmax, edges = 2, 5
    x = features(edges, (lmax + 1) ** 2, 3, generator)
    r = torch.randn(edges, 3, generator=generator, dtype=torch.float64)
    w = features(len(paths(lmax)), 3, 4, generator)
    Y = spherical_harmonics(r, 2 * lmax, normalization="component")
    want = torch.zeros(edges, (lmax + 1) ** 2, 4, dtype=torch.float64)
    for weight, (l1, l2, l3) in zip(w, paths(lmax), strict=True):
        x1, y2 = x[:, l1**2 : (l1 + 1) ** 2], Y[:, l2**2 : (l2 + 1) ** 2]
        want[:, l3**2 : (l3 + 1) ** 2] += torch.einsum("ijk,eic,ej,cd->ekd", wigner_3j(l1, l2, l3), x1, y2, weight)
    layer = loaded(torch.einsum("pq,qcd->pcd", path_matrix(lmax, lmax), w), lmax, lmax)
    D = wigner(edge_frames(r), lmax)
    _, message = layer(orders_of(to_edge_frame(x, D, lmax, lmax), lmax, lmax))
    torch.testing.assert_close(from_edge_frame(message, D, lmax, lmax), want, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("mmax", [1, 3])
def test_edge_degree_embedding_is_radial_functions_times_harmonics(mmax: int, generator: torch.Generator) -> None:
    nodes, edges, channels = 4, 9, 3
    index = torch.stack([torch.randint(nodes, (edges,)), torch.randint(nodes, (edges,)).sort().values])
    r = torch.randn(edges, 3, generator=generator, dtype=torch.float64)
    z, basis = torch.tensor([1, 6, 8, 1]), torch.rand(edges, 5, generator=generator, dtype=torch.float64)
    radial = randomized(EdgeRadial(10, 5, 6, (LMAX + 1) * channels), generator)
    layer = EdgeDegreeEmbedding(Kernels("reference"), radial, LMAX, mmax, average_degree=2.5, order=1)
    found = layer(basis, z, Edges(index, r.norm(dim=1), wigner(edge_frames(r), LMAX)))
    Y = spherical_harmonics(r, LMAX, normalization="norm")
    degree = component_degrees(LMAX, dtype=torch.int64)
    weights = radial(basis, z, index).unflatten(1, (LMAX + 1, channels))[:, degree]
    each = weights * (Y * truncation_gain(LMAX, mmax)[:, 0])[:, :, None] / 2.5
    want = torch.zeros(nodes, (LMAX + 1) ** 2, channels, dtype=torch.float64).index_add(0, index[1], each)
    torch.testing.assert_close(found, want, rtol=1e-10, atol=1e-10)


def test_edge_radial_is_its_layers_on_the_concatenation(generator: torch.Generator) -> None:
    net = randomized(EdgeRadial(10, 5, 6, 7), generator)
    index, z = torch.tensor([[0, 1, 2], [1, 2, 0]]), torch.tensor([1, 6, 8])
    basis = torch.rand(3, 5, generator=generator, dtype=torch.float64)
    joined = torch.cat([basis, net.source(z[index[0]]), net.destination(z[index[1]])], 1)
    torch.testing.assert_close(net(basis, z, index), net.rest(net.first(joined)))


def test_drop_path_leaves_out_whole_samples_and_keeps_the_mean() -> None:
    layer, graph = DropPath(0.3), torch.arange(2000).repeat_interleave(2)
    x = torch.ones(4000, 2, 3)
    out = layer(x, graph, 2000).unflatten(0, (2000, 2))
    kept = out[:, 0, 0, 0] != 0
    assert torch.equal(out != 0, kept[:, None, None, None].expand_as(out))
    torch.testing.assert_close(out[kept], torch.full_like(out[kept], 1 / 0.7))
    assert abs(kept.float().mean() - 0.7) < 0.04
    assert layer.eval()(x, graph, 2000) is x


def test_edge_frames_point_along_the_axis_and_know_cells() -> None:
    """D^1 turns each edge to +y; without length only scalars pass; edges that are brought are used, but not with a cell."""
    frames = EdgeFrames(Kernels("reference"), cutoff=3.0, max_neighbors=50, lmax=1, order=1)
    pos = torch.tensor([[0.0, 0, 0], [1.0, 2.0, -0.5], [1.0, 2.0, -0.5]], dtype=torch.float64)
    molecule = Data(pos=pos, ptr=torch.tensor([0, 3]))
    edges = frames(molecule)
    assert edges.index.shape == (2, 6)
    source, destination = edges.index
    turned = torch.einsum("eij,ej->ei", edges.D[:, 1:].unflatten(1, (3, 3)), pos[source] - pos[destination])
    torch.testing.assert_close(turned[:, 1], edges.distance)
    assert turned[:, [0, 2]].abs().max() < 1e-12
    assert edges.D[edges.distance == 0].tolist() == 2 * [[1.0, *9 * [0.0]]]
    molecule.edge_index = torch.tensor([[0], [1]])
    assert frames(molecule).index.tolist() == [[0], [1]]
    molecule.cell, molecule.pbc = 2.5 * torch.eye(3, dtype=torch.float64)[None], torch.ones(1, 3, dtype=torch.bool)
    assert frames(molecule).index.shape[1] > 6
