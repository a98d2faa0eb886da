"""What makes eSCN (arXiv:2302.03655) that paper."""

import pytest
import torch
from models.atoms.so3_networks import S2EF, batch, paper

from erlangen.geometry.rotations import random_rotations
from erlangen.geometry.wigner import rotate, wigner_blocks
from erlangen.nn.sphere_heads import sphere_points
from erlangen.runs.assemble import build_paper
from erlangen.runs.config import compose_config, resolved


@pytest.mark.parametrize(("model", "counted"), [("escn_51m", 51_837_952), ("escn_200m", 200_227_840)])
def test_published_sizes(model: str, counted: int) -> None:
    """51.8M is what the authors' network of L = 6, M = 2, 12 layers counts; the paper prints 200M for the other."""
    config = resolved(*compose_config([f"model={model}"]))
    with torch.device("meta"):
        network = build_paper(config, S2EF).network
    assert sum(p.numel() for p in network.parameters()) == counted


def test_points_of_the_sphere_integrate_low_degrees() -> None:
    points = sphere_points(128)
    length = points.norm(dim=1)
    assert abs(length.mean() - 1) < 1e-12
    assert length.std() < 0.05
    second = points.T @ points / 128
    torch.testing.assert_close(points.mean(0), torch.zeros(3, dtype=torch.float64), atol=0.01, rtol=0)
    torch.testing.assert_close(second, torch.eye(3, dtype=torch.float64) / 3, atol=0.01, rtol=0)


def test_a_linear_head_reads_off_degrees_zero_and_one(generator: torch.Generator) -> None:
    """The integral over the sphere of a linear function of x(r) is its degree 0, and times r its degree 1."""
    network = paper("escn", activation="s2", sphere_samples=2000).network
    x = torch.randn(3, 9, 8, generator=generator, dtype=torch.float64)
    weight = torch.randn(8, 1, generator=generator, dtype=torch.float64)
    for head, want in (
        (network.energy, (4 * torch.pi) ** -0.5 * x[:, :1]),
        (network.force, (12 * torch.pi) ** -0.5 * x[:, 1:4]),
    ):
        head.network = torch.nn.Sequential(torch.nn.Linear(8, 1, bias=False)).double()
        head.network[0].weight.data = weight.T
        torch.testing.assert_close(head(x), want @ weight, rtol=1e-2, atol=1e-2)


def test_messages_pass_no_more_than_their_orders(generator: torch.Generator) -> None:
    """With M = 0 a message is symmetric about its edge: turned back to its frame, only m = 0 is there."""
    network = paper("escn", activation="gate", mmax=0).network
    graph = batch(1)
    graph.z, graph.pos = graph.z[:2], torch.tensor([[0.0, 0, 0], [0, 1.3, 0]], dtype=torch.float64)  # along the axis
    graph.batch, graph.ptr = graph.batch[:2], torch.tensor([0, 2])
    edges = network.frames(graph)
    x = torch.randn(2, 9, 8, generator=generator, dtype=torch.float64)
    out = network.layers[0].messages(x, network.basis(edges.distance), graph.z, edges)
    assert out[:, [1, 3, 4, 5, 7, 8]].abs().max() < 1e-12
    assert out[:, [0, 2, 6]].abs().min() > 0


@torch.no_grad()
def test_the_update_commutes_with_rotations_as_far_as_its_grid(generator: torch.Generator) -> None:
    x = torch.randn(5, 9, 16, generator=generator, dtype=torch.float64)
    D = wigner_blocks(random_rotations(5, generator=generator), 2)
    errors = []
    for resolution in (6, 12, 48):
        update = paper("escn", activation="s2", resolution=resolution).network.layers[0].update
        want = rotate(update(x), D)
        errors.append(float((update(rotate(x, D)) - want).abs().max() / want.abs().max()))
    assert errors[0] > errors[1] > 100 * errors[2]
