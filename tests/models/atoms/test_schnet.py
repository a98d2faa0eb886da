"""What makes SchNet SchNet: filters of the distance, against sums written out, and that it sees nothing else."""

import math

import pytest
import torch
from models.atoms.geometric_pairs import APART, CHOICE, ENERGY, SAME, assert_finite_where_degenerate, gap, pair_of
from synthetic import randomize, synthetic_batch

from erlangen.errors import UserError
from erlangen.models.atoms.schnet import InteractionBlock, SchNet, ShiftedSoftplus
from erlangen.nn.pooled_network import Edges
from erlangen.tasks.spec import Spec

OPTIONS = {"layers": 2, "channels": 16, "radial": 20, "width": 1.0, "cutoff": 10.0}


def schnet(spec: Spec, **options) -> SchNet:
    return SchNet(spec, CHOICE, **OPTIONS | options)


def test_the_convolution_is_its_sum() -> None:
    """Edge by edge: x_j times the filter of the distance (eq. 2), between the atom-wise layers."""
    layer = InteractionBlock(CHOICE, 4, 5).double()
    randomize(layer)
    h, radial = torch.randn(3, 4, dtype=torch.float64), torch.randn(3, 5, dtype=torch.float64)
    index, envelope = torch.tensor([[1, 2, 0], [0, 0, 2]]), torch.rand(3, dtype=torch.float64)
    total = torch.zeros_like(h)
    for edge, (source, destination) in enumerate(index.T.tolist()):
        inner = torch.log(torch.exp(layer.filter[0](radial[edge])) / 2 + 0.5)
        weight = torch.log(torch.exp(layer.filter[2](inner)) / 2 + 0.5)
        total[destination] += (layer.first.weight @ h[source]) * weight * envelope[edge]
    edges = Edges(index, torch.zeros(3, 3), torch.zeros(3), envelope)
    torch.testing.assert_close(layer(h, radial, edges), layer.last(total))


def test_the_shifted_softplus_is_zero_at_zero() -> None:
    x = torch.linspace(-3, 3, 7, dtype=torch.float64)
    torch.testing.assert_close(ShiftedSoftplus()(x), torch.log(0.5 * x.exp() + 0.5))
    assert ShiftedSoftplus()(torch.zeros(())) == pytest.approx(0, abs=1e-7)


@pytest.mark.parametrize("structures", ["chains", "two_body", "three_body", "four_body"])
@pytest.mark.parametrize("layers", [1, 6])
def test_what_has_the_same_distances_is_the_same(structures: str, layers: int) -> None:
    assert gap(lambda spec: schnet(spec, layers=layers), pair_of(structures)) < SAME


def test_a_distance_is_seen() -> None:
    paper = schnet(ENERGY).double()
    randomize(paper)
    batch = synthetic_batch(ENERGY, 1)
    batch.pos = batch.pos.double()
    before = paper(batch)["energy"]
    batch.pos[0] *= 1.1
    assert (paper(batch)["energy"] - before).abs().item() > APART


def test_atoms_beyond_the_cutoff_are_alone() -> None:
    paper = schnet(ENERGY)
    randomize(paper)
    batch = synthetic_batch(ENERGY, 1)
    near, pos = paper(batch)["energy"], 1e4 * batch.pos
    far = []
    for batch.pos in (pos, 2 * pos):
        far.append(paper(batch)["energy"])
    assert torch.equal(*far)
    assert not math.isclose(near.item(), far[0].item(), rel_tol=1e-4)


def test_lone_atoms_and_atoms_in_one_place() -> None:
    assert_finite_where_degenerate(schnet)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"layers": 0}, "model.layers"),
        ({"channels": 1}, "model.channels"),
        ({"radial": 1}, "GaussianBasis"),
        ({"width": 0.0}, "GaussianBasis"),
        ({"cutoff": 0.0}, "cutoff"),
    ],
)
def test_mistakes_are_named(options: dict, words: str) -> None:
    with pytest.raises(UserError, match=words):
        schnet(ENERGY, **options)
