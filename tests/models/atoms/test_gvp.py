"""What makes GVP GVP: its perceptron against algorithm 1, vectors that turn, and what these can tell apart."""

import pytest
import torch
from models.atoms.geometric_pairs import APART, CHOICE, ENERGY, SAME, assert_finite_where_degenerate, gap, pair_of
from synthetic import randomize

from erlangen.errors import UserError
from erlangen.geometry.rotations import random_orthogonal
from erlangen.models.atoms.gvp import GVP, GVPGNN, MessageLayer
from erlangen.nn.pooled_network import Edges
from erlangen.tasks.spec import Spec

OPTIONS = {"layers": 1, "channels": 8, "vectors": 4, "radial": 6, "dropout": 0.1, "cutoff": 10.0}


def gvp(spec: Spec, **options) -> GVPGNN:
    return GVPGNN(spec, CHOICE, **OPTIONS | options)


@pytest.mark.parametrize("activate", [True, False])
def test_the_perceptron_is_algorithm_1(activate: bool) -> None:
    """Row by row, vector by vector."""
    layer = GVP((3, 2), (5, 4), activate).double()
    randomize(layer)
    s, v = torch.randn(2, 3, dtype=torch.float64), torch.randn(2, 3, 2, dtype=torch.float64)
    found_s, found_v = layer(s, v)
    for row in range(2):
        hidden = [sum(w * v[row, :, c] for c, w in enumerate(weights)) for weights in layer.hidden.weight]
        norms = torch.stack([vector.norm() for vector in hidden])
        expected = layer.scalars.weight @ torch.cat([s[row], norms]) + layer.scalars.bias
        torch.testing.assert_close(found_s[row], expected * expected.sigmoid() if activate else expected)
        for place, weights in enumerate(layer.vectors.weight):
            vector = sum(w * hidden[c] for c, w in enumerate(weights))
            expected = vector * vector.norm().sigmoid() if activate else vector
            torch.testing.assert_close(found_v[row, :, place], expected)


def test_vectors_turn_with_the_positions(generator: torch.Generator) -> None:
    """Dropout included: it takes whole vectors."""
    layer = MessageLayer(CHOICE, (6, 3), 4, 0.5).double()
    randomize(layer)
    index = torch.tensor([[1, 2, 0, 3], [0, 0, 2, 1]])
    s, v = torch.randn(4, 6, dtype=torch.float64), torch.randn(4, 3, 3, dtype=torch.float64)
    radial, vector = torch.randn(4, 4, dtype=torch.float64), torch.randn(4, 3, dtype=torch.float64)
    distance, envelope = vector.norm(dim=1), torch.rand(4, dtype=torch.float64)
    turn = random_orthogonal(generator=generator)
    torch.manual_seed(1)
    before_s, before_v = layer(s, v, radial, Edges(index, vector, distance, envelope))
    torch.manual_seed(1)
    after_s, after_v = layer(s, turn @ v, radial, Edges(index, vector @ turn.T, distance, envelope))
    torch.testing.assert_close(after_s, before_s, atol=1e-12, rtol=1e-10)
    torch.testing.assert_close(after_v, turn @ before_v, atol=1e-12, rtol=1e-10)


@pytest.mark.parametrize("k", [2, 3, 4, 5])
def test_chains_need_half_their_length_and_one_layers(k: int) -> None:
    for layers, limit in ((k // 2, False), (k // 2 + 1, True)):
        found = gap(lambda spec, layers=layers: gvp(spec, layers=layers), pair_of("chains", k))
        assert found > APART if limit else found < SAME, layers


@pytest.mark.parametrize(("structures", "apart"), [("two_body", True), ("three_body", False), ("four_body", False)])
def test_one_layer_sees_angles_and_no_higher_bodies(structures: str, apart: bool) -> None:
    found = gap(gvp, pair_of(structures))
    assert found > APART if apart else found < SAME


@pytest.mark.parametrize("fold", [2, 3, 5, 10])
def test_vectors_see_no_turn_of_a_symmetric_structure(fold: int) -> None:
    assert gap(gvp, pair_of("spokes", fold)) < SAME


def test_lone_atoms_and_atoms_in_one_place() -> None:
    assert_finite_where_degenerate(gvp)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"layers": 0}, "model.layers"),
        ({"channels": 0}, "model.channels"),
        ({"vectors": 0}, "model.vectors"),
        ({"dropout": 1.0}, "model.dropout"),
        ({"radial": 0}, "BesselBasis"),
        ({"cutoff": 0.0}, "cutoff"),
    ],
)
def test_mistakes_are_named(options: dict, words: str) -> None:
    with pytest.raises(UserError, match=words):
        gvp(ENERGY, **options)
