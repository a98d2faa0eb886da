"""What makes DGCNN DGCNN: EdgeConv against its equations, graphs found anew, PointNet as the case k = 1."""

import pytest
import torch
from point_clouds import NORMALS, SPEC, clouds, join, only
from synthetic import randomize
from torch import nn
from torch.nn.functional import leaky_relu

from erlangen.errors import UserError
from erlangen.kernels import Kernels
from erlangen.models.points.dgcnn import DGCNN, DGCNNNetwork, EdgeConv

CHOICE = Kernels()


def network(k: int = 6, spec=SPEC) -> DGCNNNetwork:
    made = DGCNNNetwork(spec, CHOICE, width=8, k=k, dropout=0.5).double().eval()
    randomize(made)
    return made


def test_published_size() -> None:
    """The authors' code, layer by layer (it has a bias in the second hidden layer of the classifier only)."""
    with torch.device("meta"):
        paper = DGCNN(SPEC, CHOICE, width=64, k=20, dropout=0.5)
    edge_convs = sum(2 * a * b + 2 * b for a, b in ((3, 64), (64, 64), (64, 128), (128, 256)))
    joint = 512 * 1024 + 2 * 1024
    classifier = 2048 * 512 + 2 * 512 + 512 * 256 + 256 + 2 * 256 + 256 * 40 + 40
    assert sum(p.numel() for p in paper.parameters()) == edge_convs + joint + classifier == 1_809_576


@pytest.mark.parametrize("training", [True, False])
def test_edge_conv_is_its_equations(training: bool) -> None:
    """Eqs. (7) and (8) in a loop over points and neighbours, batch norm over all edges."""
    layer = EdgeConv(CHOICE, 4, 5, k=3).double().train(training)
    randomize(layer)
    x, ptr = torch.randn(18, 4, dtype=torch.float64), torch.tensor([0, 10, 18])
    edges = []
    for start, stop in ((0, 10), (10, 18)):
        cloud = x[start:stop]
        for point in cloud:
            nearest = (cloud - point).norm(dim=1).argsort()[:3]
            assert torch.equal(cloud[nearest[0]], point), "a point is its own first neighbour"
            edges.append(torch.stack([torch.cat([cloud[j] - point, point]) for j in nearest]))
    values = torch.stack(edges).flatten(0, 1) @ layer.linear.weight.T
    norm = nn.BatchNorm1d(5).double().train(training)
    norm.load_state_dict(layer.norm.state_dict())
    expected = leaky_relu(norm(values), 0.2).unflatten(0, (18, 3)).max(1).values
    torch.testing.assert_close(layer(x, ptr), expected)


def test_with_one_neighbour_it_is_a_pointnet() -> None:
    """k = 1: a point sees only itself, x_j - x_i = 0, and every EdgeConv is an MLP at every point (section 3.3)."""
    net, batch = network(k=1), clouds([25])
    h, outputs = batch.pos, []
    for layer in net.layers:
        phi = layer.linear.weight[:, layer.channels :]
        h = leaky_relu(layer.norm(h @ phi.T), 0.2)
        outputs.append(h)
    joint = net.joint(torch.cat(outputs, -1))
    pooled = torch.cat([joint.max(0).values, joint.mean(0)])[None]
    torch.testing.assert_close(net(batch)["label"], net.head(net.classifier(pooled)))


def test_the_graph_is_found_in_the_layers_own_features() -> None:
    """Points far apart that have the same features are neighbours in the layer behind."""
    net, batch = network(k=2), clouds([20])
    first, second = net.layers[:2]
    features = first(batch.pos, batch.ptr)
    features[7] = features[3] + 1e-9
    assert 7 in second.neighbors(features, batch.ptr)[3]
    assert not torch.equal(first.neighbors(batch.pos, batch.ptr), second.neighbors(features, batch.ptr))


@pytest.mark.parametrize("spec", [SPEC, NORMALS])
def test_the_order_of_points_does_not_matter(spec) -> None:
    net, batch = network(spec=spec), clouds([60])
    order = torch.randperm(60)
    torch.testing.assert_close(net(batch)["label"], net(only(batch, order))["label"], rtol=1e-12, atol=1e-12)


def test_clouds_of_any_size_in_one_batch() -> None:
    net = network(spec=NORMALS)
    batches = [clouds([size], seed=size) for size in (6, 17, 30)]
    torch.testing.assert_close(net(join(batches))["label"], torch.cat([net(batch)["label"] for batch in batches]))


def test_neighbours_stay_within_their_cloud() -> None:
    net, batch = network(), clouds([9, 12, 7])
    neighbors = net.layers[0].neighbors(batch.pos, batch.ptr)
    assert neighbors.shape == (28, 6)
    assert torch.equal(batch.batch[neighbors], batch.batch[:, None].expand(28, 6))


def test_duplicate_points_are_no_trouble() -> None:
    net, batch = network(), clouds([30])
    twice = only(batch, torch.arange(30).repeat_interleave(2))
    assert net(twice)["label"].isfinite().all()
    same = only(batch, torch.zeros(30, dtype=torch.long))
    assert net(same)["label"].isfinite().all()


def test_fewer_points_than_neighbours_are_refused() -> None:
    with pytest.raises(UserError, match=r"model.k=6: a cloud of this batch has only 5 points; use model.k=5"):
        network()(clouds([12, 5]))
