"""What makes MACE MACE: its layer against sums written out, and what orders L and correlations tell apart."""

from pathlib import Path

import pytest
import torch
from models.atoms.geometric_pairs import APART, CHOICE, ENERGY, SAME, assert_finite_where_degenerate, gap, pair_of
from synthetic import randomize, synthetic_batch

from erlangen.errors import UserError
from erlangen.geometry.clebsch_gordan import clebsch_gordan
from erlangen.geometry.gaunt import gaunt, gaunt_tensor
from erlangen.geometry.spherical_harmonics import spherical_harmonics
from erlangen.kernels.symmetric_contraction import paths as products
from erlangen.models.atoms.mace import MACE, GauntPowers, Interaction, SymmetricContraction
from erlangen.nn.pooled_network import Edges
from erlangen.runs.assemble import build_data, build_paper
from erlangen.runs.folder import RunFolder
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
    layer = Interaction(CHOICE, "cg", channels, species, (0, 1, 1), 2, [3, 4, 4, 4], 1.5).double()
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


@pytest.mark.parametrize("product", ["cg", "gaunt"])
@pytest.mark.parametrize(
    ("structures", "body_order"),
    [("two_body", 2), ("three_body", 3), ("four_body", 4)],
)
def test_a_counterexample_needs_a_product_of_its_order(structures: str, body_order: int, product: str) -> None:
    """One layer: a pair that agrees in all scalars of so many bodies differs in products of as many neighbours."""
    options = {"lmax": 3, "channels": 4, "product": product}
    for correlation in (body_order - 1, body_order):
        found = gap(lambda spec, n=correlation: mace(spec, correlation=n, **options), pair_of(structures))
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


def contracted(powers: GauntPowers, lmax: int, lmax_out: int, correlation: int, weight: torch.Tensor) -> torch.Tensor:
    """The contraction's weights (species, paths, channels) with which it computes these powers."""
    rows = []
    for path in products(lmax, lmax_out, correlation):
        factor, left = 1.0, path.degrees[0]
        for degree, out in zip(path.degrees[1:], path.middle, strict=True):
            coupling = clebsch_gordan(left, degree, out)
            factor *= (gaunt(left, degree, out) * coupling).sum() / coupling.square().sum()
            left = out
        place = sum(top + 1 for top in powers.reached[: len(path.degrees) - 1]) + path.out
        rows.append(factor * weight[:, place])
    return torch.stack(rows, 1)


@pytest.mark.parametrize(
    ("lmax", "lmax_out", "correlation"), [(1, 1, 3), (2, 1, 3), (2, 0, 4), (3, 2, 2), (2, 3, 1), (1, 3, 2)]
)
def test_gaunt_powers_are_the_contraction_with_fixed_weights_in_every_chain(
    lmax: int, lmax_out: int, correlation: int
) -> None:
    like = {"dtype": torch.float64}
    powers = GauntPowers(CHOICE, lmax, lmax_out, correlation)
    a, element = torch.randn(5, (lmax + 1) ** 2, 3, **like), torch.tensor([0, 1, 1, 0, 1])
    weight = torch.randn(2, powers.weights, 3, **like)
    by_paths = SymmetricContraction(CHOICE, lmax, lmax_out, correlation)
    expected = by_paths(a, contracted(powers, lmax, lmax_out, correlation, weight), element)
    torch.testing.assert_close(powers(a, weight, element), expected, rtol=1e-11, atol=1e-11)
    assert powers.weights <= by_paths.weights


def test_gaunt_powers_are_the_gaunt_coefficients_sums() -> None:
    """A, A A and A A A with all degrees kept between, by dense tensors."""
    a, weight = torch.randn(4, 9, 2, dtype=torch.float64), torch.ones(1, 6, 2, dtype=torch.float64)
    square = torch.einsum("nac,nbc,abk->nkc", a, a, gaunt_tensor(2, 2, 4))
    cube = torch.einsum("nac,nbc,abk->nkc", square, a, gaunt_tensor(4, 2, 1))
    found = GauntPowers(CHOICE, 2, 1, 3)(a, weight, torch.zeros(4, dtype=torch.long))
    torch.testing.assert_close(found, a[:, :4] + square[:, :4] + cube, rtol=1e-12, atol=1e-12)


def test_a_gaunt_power_is_the_power_of_a_function() -> None:
    """With every degree up to 3 lmax kept, the third order is A^3 at any point of the sphere."""
    a, direction = torch.randn(1, 4, 1, dtype=torch.float64), torch.randn(20, 3, dtype=torch.float64)
    powers = GauntPowers(CHOICE, 1, 3, 3)
    weight = torch.zeros(1, powers.weights, 1, dtype=torch.float64)
    weight[:, -4:] = 1.0
    y = spherical_harmonics(direction, 3, normalization="integral")
    found = y @ powers(a, weight, torch.zeros(1, dtype=torch.long))[0]
    torch.testing.assert_close(found, (y[:, :4] @ a[0]) ** 3, rtol=1e-12, atol=1e-12)


GWL_RUNS = sorted((Path(__file__).parents[3] / "results" / "gwl").glob("mace_*"))
KINDS = {str(RunFolder(run).config["model"]): run for run in GWL_RUNS}


@pytest.mark.parametrize("run", KINDS.values(), ids=lambda run: run.name)
def test_runs_on_gwl_are_built_as_they_were(run: Path) -> None:
    """Their configurations know nothing of `product`, and give networks of as many parameters."""
    config = RunFolder(run).config
    config["model"]["neighbors"] = float(config["model"]["neighbors"])  # 1 on the command line is an int to beartype
    paper = build_paper(config, build_data(config).spec)
    assert sum(p.numel() for p in paper.parameters()) == RunFolder(run).result["parameters"]


def test_the_contraction_computes_what_it_did_before_there_was_a_choice() -> None:
    """Energies that the network had with these parameters when results/gwl were made."""
    options = {"layers": 3, "channels": 4, "lmax": 2, "lmax_hidden": 2, "correlation": 3, "neighbors": 0.3}
    paper = mace(ENERGY, **options).double()
    for k, parameter in enumerate(paper.network.parameters()):
        with torch.no_grad():
            values = torch.sin(1.0 + k + torch.arange(parameter.numel(), dtype=torch.float64))
            parameter.copy_(0.5 * values.view_as(parameter))
    batch = synthetic_batch(ENERGY, 3)
    batch.pos = 3 * torch.sin(torch.arange(batch.pos.numel(), dtype=torch.float64)).view_as(batch.pos)
    batch.z = torch.tensor([1, 6] * 11)
    expected = torch.tensor([-5.338626124352943, -2.352689863514655, 2255.0195435395644], dtype=torch.float64)
    torch.testing.assert_close(paper(batch)["energy"], expected, rtol=1e-10, atol=0)


def test_elements_have_weights_of_their_own() -> None:
    paper = mace(ENERGY).double()
    randomize(paper)
    batch = synthetic_batch(ENERGY, 1)
    batch.pos = batch.pos.double()
    before = paper(batch)["energy"]
    batch.z = batch.z.where(torch.arange(len(batch.z)) > 0, 7 - batch.z)
    assert (paper(batch)["energy"] - before).abs().item() > APART


@pytest.mark.parametrize("product", ["cg", "gaunt"])
def test_lone_atoms_and_atoms_in_one_place(product: str) -> None:
    assert_finite_where_degenerate(lambda spec: mace(spec, layers=2, product=product))


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
        ({"product": "cross"}, "model.product must be cg or gaunt, not 'cross'"),
    ],
)
def test_mistakes_are_named(options: dict, words: str) -> None:
    with pytest.raises(UserError, match=words):
        mace(ENERGY, **options)
