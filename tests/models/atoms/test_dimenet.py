"""What makes DimeNet DimeNet: messages from messages, against loops, and that it sees angles, but no torsion."""

import pytest
import torch
from models.atoms.geometric_pairs import APART, CHOICE, ENERGY, SAME, assert_finite_where_degenerate, gap, pair_of
from synthetic import randomize, ring

from erlangen.errors import UserError
from erlangen.models.atoms.dimenet import DimeNet, InteractionBlock, triplets
from erlangen.nn.angular import AngularBasis
from erlangen.nn.pooled_network import Edges
from erlangen.nn.radial import BesselBasis
from erlangen.tasks.spec import Spec

OPTIONS = {
    "layers": 1,
    "channels": 8,
    "bilinear": 3,
    "degrees": 5,
    "angular_radial": 3,
    "radial": 6,
    "cutoff": 10.0,
}


def dimenet(spec: Spec, **options) -> DimeNet:
    return DimeNet(spec, CHOICE, **OPTIONS | options)


@pytest.mark.parametrize("edges", ["ring", "random", "none"])
def test_triplets_are_pairs_of_edges_that_meet(edges: str) -> None:
    index = {
        "ring": ring(torch.tensor([0, 3, 7])),
        "random": torch.tensor([[0, 1, 2, 2, 3, 1, 0], [1, 0, 0, 1, 2, 3, 3]]),
        "none": torch.zeros(2, 0, dtype=torch.long),
    }[edges]
    pairs = index.T.tolist()
    expected = {
        (first, second)
        for first, (k, j) in enumerate(pairs)
        for second, (source, i) in enumerate(pairs)
        if j == source and k != i
    }
    found = triplets(index, 7)
    assert set(zip(found.arriving.tolist(), found.leaving.tolist(), strict=True)) == expected
    assert len(found.arriving) == len(expected)


def test_the_interaction_is_its_sum() -> None:
    """Triplet by triplet, with the bilinear layer as a tensor of three axes: eq. (4) and figure 4."""
    basis, radial_basis = AngularBasis(5.0, 2, 2), BesselBasis(5.0, 3)
    layer = InteractionBlock(CHOICE, 4, 3, basis, radial_basis).double()
    randomize(layer)
    index = torch.tensor([[0, 1, 2, 1], [1, 2, 0, 0]])
    meeting = triplets(index, 3)
    m, radial = torch.randn(4, 4, dtype=torch.float64), torch.randn(4, 3, dtype=torch.float64)
    angular = torch.randn(len(meeting.arriving), 4, dtype=torch.float64)
    weight = layer.bilinear.weight.view(4, 3, 4)
    act = torch.nn.functional.silu
    x = act(layer.own(m))
    for place, (k, j) in enumerate(zip(meeting.arriving.tolist(), meeting.leaving.tolist(), strict=True)):
        sent = act(layer.others(m[k])) * (layer.radial.weight @ radial[k])
        x[j] = x[j] + torch.einsum("ibc,b,c->i", weight, layer.angular.weight @ angular[place], sent)
    expected = layer.after(m + act(layer.mix(layer.before(x))))
    torch.testing.assert_close(layer(m, radial, angular, meeting), expected)


def test_the_angle_is_the_one_at_the_atom_between() -> None:
    """k -> j -> i in a right angle at j: P_1 of it is 0, and the arriving length is |x_k - x_j|."""
    network = dimenet(ENERGY).double().network
    pos = torch.tensor([[2.0, 0, 0], [0, 0, 0], [0, 3, 0]], dtype=torch.float64)
    index = torch.tensor([[0, 1], [1, 2]])
    vector = pos[index[0]] - pos[index[1]]
    edges = Edges(index, vector, vector.norm(dim=1), torch.ones(2, dtype=torch.float64))
    (found,) = network.angles(edges, triplets(index, 3)).unflatten(1, (5, 3))
    basis = network.angular_basis
    radial = basis.radial(torch.tensor([2.0 / OPTIONS["cutoff"]], dtype=torch.float64))[0]
    harmonics = basis.angular(torch.zeros(1, dtype=torch.float64))[0]
    torch.testing.assert_close(found, radial * harmonics[:, None])
    assert found[1].abs().max() < 1e-12


def test_an_angle_tells_structures_of_equal_distances_apart() -> None:
    assert gap(dimenet, pair_of("two_body")) > APART


@pytest.mark.parametrize("structures", ["three_body", "four_body"])
def test_angles_kept_apart_by_neighbour_tell_more_than_all_angles_together(structures: str) -> None:
    """All triplets of the centre are the same in both; but a message lists the angles of one neighbour with all others."""
    data, lists = pair_of(structures), []
    for structure in data.pair():
        x = structure.pos[1:]
        lists.append(sorted(tuple(sorted(row)) for row in (x @ x.T).round(6) + 0.0))
    assert lists[0] != lists[1]
    assert sorted(sum(lists[0], ())) == sorted(sum(lists[1], ()))
    assert gap(dimenet, data) > APART


@pytest.mark.parametrize("layers", [1, 4, 6])
def test_a_torsion_is_not_seen(layers: int) -> None:
    """The ends of a chain turn about it without any angle between edges that meet changing: no depth helps."""
    assert gap(lambda spec: dimenet(spec, layers=layers), pair_of("chains")) < SAME


def test_lone_atoms_and_atoms_in_one_place() -> None:
    assert_finite_where_degenerate(dimenet)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"layers": 0}, "model.layers"),
        ({"channels": 0}, "model.channels"),
        ({"bilinear": 0}, "model.bilinear"),
        ({"degrees": 0}, "AngularBasis"),
        ({"radial": 0}, "BesselBasis"),
        ({"cutoff": 0.0}, "cutoff"),
    ],
)
def test_mistakes_are_named(options: dict, words: str) -> None:
    with pytest.raises(UserError, match=words):
        dimenet(ENERGY, **options)
