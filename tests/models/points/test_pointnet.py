"""What makes PointNet PointNet: critical points decide, T-nets start as the identity, and the published size."""

import pytest
import torch
from point_clouds import NORMALS, SPEC, clouds, join, only
from synthetic import randomize

from erlangen.models.points.pointnet import FeatureTransform, PointNet, PointNetNetwork, TNet
from erlangen.tasks.point_classification import PointClassification

ROUNDING = {"rtol": 1e-12, "atol": 1e-12}
"""In float64: a matrix product rounds differently where its rows stand elsewhere."""


def network(transforms: bool = True, spec=SPEC, width: int = 8) -> PointNetNetwork:
    made = PointNetNetwork(spec, width, transforms, dropout=0.3).double().eval()
    randomize(made)
    return made


@pytest.mark.parametrize(("transforms", "published"), [(True, 3.5e6), (False, 0.8e6)])
def test_published_size(transforms: bool, published: float) -> None:
    """Table 6: 3.5M parameters, and 0.8M of "PointNet vanilla"; beside it our own count, layer by layer."""
    with torch.device("meta"):
        paper = PointNet(SPEC, width=64, transforms=transforms, dropout=0.3, orthogonality=0.001)
    count = sum(p.numel() for p in paper.parameters())
    assert abs(count - published) < 0.05e6

    def mlp(*widths: int) -> int:  # a matrix, and the scale and shift of its batch norm
        return sum(a * b + 2 * b for a, b in zip(widths, widths[1:], strict=False))

    expected = mlp(3, 64, 64) + mlp(64, 64, 128, 1024) + mlp(1024, 512, 256) + 256 * 40 + 40
    if transforms:
        expected += mlp(3, 64, 128, 1024) + mlp(1024, 512, 256) + 256 * 9 + 9
        expected += mlp(64, 64, 128, 1024) + mlp(1024, 512, 256) + 256 * 4096 + 4096
    assert count == expected


@pytest.mark.parametrize("transforms", [True, False])
@pytest.mark.parametrize("spec", [SPEC, NORMALS])
def test_the_order_of_points_does_not_matter_at_all(transforms: bool, spec) -> None:
    net, batch = network(transforms, spec), clouds([60])
    shuffled = only(batch, torch.randperm(60))
    torch.testing.assert_close(net(shuffled)["label"], net(batch)["label"], **ROUNDING)


def test_clouds_of_any_size_in_one_batch() -> None:
    net = network(spec=NORMALS)
    batches = [clouds([size], seed=size) for size in (1, 7, 30)]
    torch.testing.assert_close(net(join(batches))["label"], torch.cat([net(batch)["label"] for batch in batches]))


def test_only_critical_points_decide() -> None:
    """Theorem 2: any cloud between the critical set and the full one has the very same feature."""
    net, batch = network(transforms=False), clouds([200])
    h = net.second(net.first(batch.pos))
    critical = h.argmax(0)[h.amax(0) > 0].unique()  # where ReLU leaves no point, none is critical
    assert len(critical) < 100
    feature = net.global_feature(batch)
    torch.testing.assert_close(net.global_feature(only(batch, critical)), feature, **ROUNDING)
    between = torch.cat([critical, torch.arange(200)[::3]]).unique()
    torch.testing.assert_close(net.global_feature(only(batch, between)), feature, **ROUNDING)
    for left_out in range(len(critical)):
        fewer = torch.cat([critical[:left_out], critical[left_out + 1 :]])
        assert (net.global_feature(only(batch, fewer)) - feature).abs().max() > 1e-6


def test_repeated_points_change_nothing() -> None:
    net, batch = network(), clouds([40])
    twice = only(batch, torch.arange(40).repeat_interleave(2))
    torch.testing.assert_close(net(twice)["label"], net(batch)["label"], **ROUNDING)


def test_transforms_start_as_the_identity() -> None:
    """Appendix C: at first PointNet is PointNet vanilla with the same weights, and eq. (2) is zero."""
    full = PointNetNetwork(SPEC, 8, transforms=True, dropout=0.0).double().eval()
    vanilla = PointNetNetwork(SPEC, 8, transforms=False, dropout=0.0).double().eval()
    vanilla.load_state_dict(full.state_dict(), strict=False)
    batch = clouds([30, 30])
    torch.testing.assert_close(full(batch)["label"], vanilla(batch)["label"])
    assert full.feature_transform.deviation < 1e-20


def test_a_transform_turns_its_own_cloud() -> None:
    net = TNet(3, 3, 8).double().eval()
    randomize(net)
    batch = clouds([20, 30])
    matrices = net(batch.pos, batch.ptr)
    alone = [
        net(only(batch, torch.arange(*span)).pos, torch.tensor([0, span[1] - span[0]])) for span in ((0, 20), (20, 50))
    ]
    torch.testing.assert_close(matrices, torch.cat(alone))


def test_the_regulariser_is_equation_2() -> None:
    transform = FeatureTransform(8).double().eval()
    randomize(transform)
    h, ptr = torch.randn(24, 8, dtype=torch.float64), torch.tensor([0, 10, 24])
    turned = transform(h, ptr)
    matrices = transform.net(h, ptr)
    by_hand = torch.stack([torch.linalg.matrix_norm(torch.eye(8) - a @ a.T) ** 2 for a in matrices]).mean()
    torch.testing.assert_close(transform.deviation, by_hand)
    torch.testing.assert_close(turned[:10], h[:10] @ matrices[0])
    torch.testing.assert_close(turned[10:], h[10:] @ matrices[1])


def test_training_adds_the_regulariser_to_the_loss() -> None:
    losses = {}
    for weight in (0.0, 2.0):
        torch.manual_seed(0)
        paper = PointNet(SPEC, width=8, transforms=True, dropout=0.0, orthogonality=weight).double()
        randomize(paper)
        paper.task = PointClassification(SPEC, "none")
        losses[weight] = paper.training_step(clouds([30, 30, 30]), 0)
    deviation = paper.network.feature_transform.deviation
    assert deviation > 0.01
    torch.testing.assert_close(losses[2.0] - losses[0.0], 2 * deviation)


def test_it_is_not_invariant_to_rotations() -> None:
    """The backbone of the comparison: without this the invariant papers would have nothing to show."""
    net, batch = network(), clouds([50])
    turned = batch.clone()
    turned.pos = batch.pos[:, [1, 2, 0]]
    before, after = net(batch)["label"], net(turned)["label"]
    assert (before - after).abs().max() > 1e-3 * before.std()
