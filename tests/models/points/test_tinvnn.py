"""What makes TinvNN TinvNN: representations that are classical MDS, keep distances, and see no motion, mirror or scale."""

import pytest
import torch
from point_clouds import NORMALS, SPEC, clouds, join, only
from synthetic import randomize

from erlangen.geometry.rotations import random_orthogonal
from erlangen.kernels import Kernels
from erlangen.models.points.tinvnn import TinvDGCNN, TinvPointNet, initial_representations
from erlangen.tasks.point_classification import PointClassification, keyed_rotations, rotate_clouds

ROUNDING = {"rtol": 1e-9, "atol": 1e-9}


def network(kind: str, spec=SPEC):
    made = TinvDGCNN(spec, Kernels(), 8, 6, 0.5) if kind == "dgcnn" else TinvPointNet(spec, 8, True, 0.3, 0.001)
    randomize(made.double().eval())
    return made.network


def represented(batch):
    return initial_representations(batch.pos, batch.ptr)[0]


def test_it_is_classical_multidimensional_scaling() -> None:
    """Eigenvectors of -1/2 C D C, D all squared distances, times the roots of their eigenvalues; all others are zero."""
    pos = clouds([40]).pos
    squared = torch.cdist(pos, pos, compute_mode="donot_use_mm_for_euclid_dist") ** 2
    centring = torch.eye(40, dtype=torch.float64) - 1 / 40
    values, vectors = torch.linalg.eigh(-0.5 * centring @ squared @ centring)
    assert values[:-3].abs().max() < 1e-10
    columns = vectors[:, -3:].flip(1) * values[-3:].flip(0).sqrt()
    columns = columns * (columns**3).sum(0).sign()
    expected = columns / columns.norm(dim=1).max()
    torch.testing.assert_close(represented(clouds([40])), expected, **ROUNDING)


def test_distances_are_kept() -> None:
    batch = clouds([30, 50])
    points = represented(batch)
    for start, stop in ((0, 30), (30, 80)):
        before, after = torch.pdist(batch.pos[start:stop]), torch.pdist(points[start:stop])
        torch.testing.assert_close(after, before * (after.sum() / before.sum()), **ROUNDING)
        torch.testing.assert_close(points[start:stop].norm(dim=1).max(), torch.tensor(1.0, dtype=torch.float64))


@pytest.mark.parametrize(("dtype", "limit"), [(torch.float32, 1e-5), (torch.float64, 1e-10)])
def test_representations_see_no_motion_mirror_or_scale(dtype: torch.dtype, limit: float) -> None:
    batch, generator = clouds([60, 40]), torch.Generator().manual_seed(3)
    batch.pos = batch.pos * torch.tensor([3.0, 2, 1])
    before = represented(batch)
    for _ in range(8):
        moved = batch.clone()
        turn = random_orthogonal(generator=generator)
        shift = torch.randn(3, generator=generator, dtype=torch.float64)
        moved.pos = (5 * batch.pos @ turn.T + shift).to(dtype)
        assert (represented(moved) - before).abs().max() < limit


@pytest.mark.parametrize("kind", ["dgcnn", "pointnet"])
@pytest.mark.parametrize("spec", [SPEC, NORMALS])
def test_accuracy_cannot_depend_on_rotations(kind: str, spec) -> None:
    """The protocols z/z and z/SO(3): the same logits, each cloud turned by its own rotation, and scaled."""
    net, batch = network(kind, spec), clouds([50] * 6)
    turned = rotate_clouds(batch, spec, keyed_rotations("so3", (0,), batch.id))
    turned.pos = 3 * turned.pos
    before = net(batch)["label"]
    assert before.std(0).max() > 1e-3
    torch.testing.assert_close(net(turned)["label"], before, **ROUNDING)


@pytest.mark.parametrize("kind", ["dgcnn", "pointnet"])
def test_clouds_of_any_size_in_one_batch(kind: str) -> None:
    net = network(kind, NORMALS)
    batches = [clouds([size], seed=size) for size in (6, 17, 30)]
    torch.testing.assert_close(net(join(batches))["label"], torch.cat([net(batch)["label"] for batch in batches]))


@pytest.mark.parametrize("rows", [[0] * 8, [0, 1] * 5, [0, 1, 2] * 4, list(range(10)) * 2])
@pytest.mark.parametrize("kind", ["dgcnn", "pointnet"])
def test_poor_clouds_are_finite(kind: str, rows: list[int]) -> None:
    net = network(kind).train()
    net(only(clouds([20]), torch.tensor(rows)))["label"].sum().backward()
    assert all(p.grad.isfinite().all() for p in net.parameters() if p.grad is not None)


def test_one_place_is_zero() -> None:
    assert represented(only(clouds([3]), torch.tensor([1] * 8))).abs().max() < 1e-6


def test_the_published_width_takes_a_step() -> None:
    """64 channels: as many parameters as the backbones have, for the representations have none."""
    arguments = {TinvDGCNN: (Kernels(), 64, 20, 0.5), TinvPointNet: (64, True, 0.3, 0.001)}
    for kind, given in arguments.items():
        paper, backbone = kind(SPEC, *given), kind.__base__(SPEC, *given)
        assert sum(p.numel() for p in paper.parameters()) == sum(p.numel() for p in backbone.parameters())
        paper.task = PointClassification(SPEC, "none")
        batch = clouds([64, 64])
        batch.pos = batch.pos.float()
        paper.training_step(batch, 0).backward()
        assert all(p.grad.isfinite().all() for p in paper.parameters() if p.grad is not None)
