"""What makes MACE MACE: its layer against sums written out, and what orders L and correlations tell apart."""

import pytest
import torch
from models.atoms.geometric_pairs import APART, CHOICE, ENERGY, SAME, assert_finite_where_degenerate, gap, pair_of
from synthetic import randomize, synthetic_batch

from erlangen.errors import UserError
from erlangen.geometry.clebsch_gordan import clebsch_gordan
from erlangen.geometry.spherical_harmonics import spherical_harmonics
from erlangen.kernels.symmetric_contraction import paths as products
from erlangen.models.atoms.mace import MACE, Interaction
from erlangen.nn.pooled_network import Edges
from erlangen.tasks.spec import Spec

OPTIONS = {
    "layers": 1,
    "channels": 6,
    "lmax": 2,
    "lmax_hidden": 1,
    "correlation": 2,
    "radial": 6,
    "hidden": 8,
    "neighbors": 1.0,
    "cutoff": 10.0,
}


def mace(spec: Spec, **options) -> MACE:
    return MACE(spec, CHOICE, **OPTIONS | options)


def test_a_layer_is_its_sums() -> None:
    """lmax = 1 and pairs: A edge by edge, and B by its paths 0, 1, 00, 11 -> 0 and 01, 10 -> 1, written out."""
    channels, species = 2, 2
    layer = Interaction(CHOICE, channels, species, (0, 1, 1), 2, [3, 4, 4, 4], 1.5).double()
    randomize(layer)
    like = {"dtype": torch.float64}
    h, radial, vector = torch.randn(3, 1, channels, **like), torch.randn(3, 3, **like), torch.randn(3, 3, **like)
    index, envelope = torch.tensor([[1, 2, 0], [0, 0, 2]]), torch.rand(3, **like)
    harmonics, one_hot = spherical_harmonics(vector, 1), torch.eye(2, **like)[torch.tensor([0, 1, 1])]
    edges = Edges(index, vector, vector.norm(dim=1), envelope)
    weight = layer.radial(radial).unflatten(1, (2, channels)) * envelope[:, None, None]  # paths 000 and 011
    sent, a = layer.sent(h), torch.zeros(3, 4, channels, **like)
    for edge, (j, i) in enumerate(index.T.tolist()):
        a[i, 0] += weight[edge, 0] * sent[j, 0] / 1.5
        a[i, 1:] += weight[edge, 1] * sent[j, 0] * harmonics[edge, 1:, None] * clebsch_gordan(0, 1, 1)[0, 0, 0] / 1.5
    a = layer.received(a)
    b = torch.zeros(3, 4, channels, **like)
    for place, path in enumerate(products(1, 1, 2)):
        factors = [a[:, degree**2 : (degree + 1) ** 2] for degree in path.degrees]
        value = factors[0]
        if len(factors) == 2:
            value = torch.einsum("nac,nbc,abk->nkc", *factors, clebsch_gordan(*path.degrees, path.out))
        own = (one_hot @ layer.products[:, place]).unsqueeze(1)
        b[:, path.out**2 : (path.out + 1) ** 2] += own * value
    expected = layer.message(b)
    for node, element in enumerate((0, 1, 1)):
        expected[node, 0] += h[node, 0] @ layer.own[element, 0]
    torch.testing.assert_close(layer(h, one_hot, harmonics, radial, edges), expected)


@pytest.mark.parametrize(
    ("structures", "body_order"),
    [("two_body", 2), ("three_body", 3), ("four_body", 4)],
)
def test_a_counterexample_needs_a_product_of_its_order(structures: str, body_order: int) -> None:
    """One layer: a pair that agrees in all scalars of so many bodies differs in products of as many neighbours."""
    for correlation in (body_order - 1, body_order):
        found = gap(lambda spec, n=correlation: mace(spec, lmax=3, correlation=n, channels=4), pair_of(structures))
        assert found > APART if correlation == body_order else found < SAME, (correlation, found)


@pytest.mark.parametrize("k", [2, 3, 4, 5])
def test_chains_need_half_their_length_and_one_layers(k: int) -> None:
    for layers, apart in ((k // 2, False), (k // 2 + 1, True)):
        found = gap(lambda spec, layers=layers: mace(spec, layers=layers), pair_of("chains", k))
        assert found > APART if apart else found < SAME, (layers, found)


@pytest.mark.parametrize(("lmax", "correlation"), [(1, 2), (2, 2), (3, 2), (5, 2), (10, 1)])
def test_the_order_that_sees_a_symmetric_structure_turn_is_its_symmetrys(lmax: int, correlation: int) -> None:
    """Published: n-fold structures need L >= n; products of invariant factors help as little.

    Tables of products at L = 10 take a minute. Without products odd degrees cancel between centre and spokes, but there
    the even multiple of an odd fold is seen.
    """
    options = {"lmax": lmax, "lmax_hidden": lmax, "correlation": correlation, "channels": 3}
    for fold in (2, 3, 5, 10):
        found = gap(lambda spec: mace(spec, **options), pair_of("spokes", fold))
        assert found > APART if lmax >= fold else found < SAME, (fold, found)


def test_elements_have_weights_of_their_own() -> None:
    paper = mace(ENERGY).double()
    randomize(paper)
    batch = synthetic_batch(ENERGY, 1)
    batch.pos = batch.pos.double()
    before = paper(batch)["energy"]
    batch.z = batch.z.where(torch.arange(len(batch.z)) > 0, 7 - batch.z)
    assert (paper(batch)["energy"] - before).abs().item() > APART


def test_lone_atoms_and_atoms_in_one_place() -> None:
    assert_finite_where_degenerate(lambda spec: mace(spec, layers=2))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"layers": 0}, "model.layers"),
        ({"channels": 0}, "model.channels"),
        ({"lmax": -1}, "model.lmax"),
        ({"lmax_hidden": -1}, "model.lmax_hidden"),
        ({"correlation": 0}, "model.correlation"),
        ({"hidden": 0}, "model.hidden"),
        ({"neighbors": 0.0}, "model.neighbors"),
        ({"radial": 0}, "BesselBasis"),
        ({"cutoff": 0.0}, "cutoff"),
    ],
)
def test_mistakes_are_named(options: dict, words: str) -> None:
    with pytest.raises(UserError, match=words):
        mace(ENERGY, **options)
