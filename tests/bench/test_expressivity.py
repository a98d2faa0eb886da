"""Expressivity and interactability: dimensions that are known in closed form, and what the command writes."""

import json

import pytest
import torch

from erlangen.bench.command import main
from erlangen.bench.expressivity import (
    INSTRUCTIONS,
    PRODUCTS,
    SETTINGS,
    Expressivity,
    Sandwich,
    equivariant_dimension,
    expressivity,
    order,
)
from erlangen.bench.tensor_products import ClebschGordan, paths, size
from erlangen.errors import UserError
from erlangen.geometry.irreps import Irreps
from erlangen.geometry.rotations import random_rotations
from erlangen.geometry.wigner import representation

DEGREES = (1, 2)


def measured(name: str, setting: str, lmax: int, channels: int = 1) -> Expressivity:
    return expressivity({**PRODUCTS, **INSTRUCTIONS}[name], *SETTINGS[setting](lmax), channels=channels)


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("lmax", [1, 2, 3, 4])
def test_the_dimension_of_all_maps_is_the_number_of_couplings(setting: str, lmax: int) -> None:
    ins, outs = SETTINGS[setting](lmax)
    expected = {
        "SISO": 1,
        "SIMO": 2 * lmax + 1,
        "MIMO": sum(2 * min(l1, l2) + 1 for l1 in range(lmax + 1) for l2 in range(lmax + 1)),
    }
    assert equivariant_dimension(ins, outs) == len(paths(ins, outs)) == expected[setting]


def test_the_dimension_of_all_maps_is_that_of_a_null_space(generator: torch.Generator) -> None:
    """B (D x D) = D B for two rotations, which generate a dense subgroup."""
    ins, outs = SETTINGS["MIMO"](1)
    constraints = []
    for rotation in random_rotations(2, generator=generator):
        left, right = (representation(Irreps((1, degree, 1) for degree in d), rotation) for d in (ins, outs))
        both = torch.kron(left, left)
        identity = [torch.eye(n, dtype=torch.float64) for n in (size(outs), size(ins) ** 2)]
        constraints.append(torch.kron(identity[0], both.T.contiguous()) - torch.kron(right, identity[1]))
    stacked = torch.cat(constraints)
    assert stacked.shape[1] - int(torch.linalg.matrix_rank(stacked, rtol=1e-10)) == equivariant_dimension(ins, outs)


@pytest.mark.parametrize("lmax", DEGREES)
def test_what_each_product_reaches_with_all_degrees_in_and_out(lmax: int) -> None:
    """Products with a weight for each degree of each factor have that many dimensions less two scales that cancel."""
    everything = paths(*SETTINGS["MIMO"](lmax))
    even = [path for path in everything if sum(path) % 2 == 0]
    one_for_each_degree = (lmax + 1) + (lmax + 1) + (2 * lmax + 1) - 2
    expected = {
        "CG": (len(everything), everything),
        "CG even": (len(even), even),
        "Gaunt": (one_for_each_degree, even),
        "vector": (len(everything) - 1, everything[1:]),  # two radial fields have no cross product
        "matrix": (one_for_each_degree, everything),
        "blocks": (len(everything), everything),
    }
    for name, (freedom, reached) in expected.items():
        found = measured(name, "MIMO", lmax)
        assert (found.freedom, found.reached) == (freedom, reached), name
        assert set(found.reached) | set(found.missing) == set(everything)
        assert found.residual < 1e-12
        assert found.gap[1] < 1e-12 < 1e-4 < found.gap[0], "the rank is not in doubt"


@pytest.mark.parametrize("lmax", [1, 2, 3])
def test_one_degree_in_and_out(lmax: int) -> None:
    """The coupling of L with L to L is antisymmetric for odd L: no product of signals on the sphere has it."""
    for name in PRODUCTS:
        expected = 1 - lmax % 2 if name in ("Gaunt", "CG even") else 1
        assert measured(name, "SISO", lmax).freedom == expected, name


def test_instructions_of_the_channels() -> None:
    """With two channels uvw reaches all of the 2^3 maps a path; those that sum over fewer channels do not."""
    found = {name: measured(name, "MIMO", 1, channels=2) for name in INSTRUCTIONS}
    whole, most, least = (found[f"CG {name}"].freedom for name in ("uvw", "uvu", "uuu"))
    assert whole == 8 * 6 == found["CG uvw"].dimension
    assert least < most < whole
    assert all(value.reached == paths(*SETTINGS["MIMO"](1)) for value in found.values())


def test_coordinates_are_the_weights_of_the_paths() -> None:
    """Between layers that do nothing, the Clebsch-Gordan product's map has its own weights as coordinates."""
    ins, outs = SETTINGS["MIMO"](2)
    layers = Sandwich(ClebschGordan(ins, outs), ins, outs, 1)
    own = torch.randn(layers.shapes[3], dtype=torch.float64)
    value, residual = layers.coordinates(
        [*(torch.ones(shape, dtype=torch.float64) for shape in layers.shapes[:3]), own]
    )
    torch.testing.assert_close(value.flatten(), own.flatten())
    assert residual < 1e-12


def test_a_map_that_is_not_equivariant_has_a_residual() -> None:
    ins, outs = SETTINGS["MIMO"](1)
    layers = Sandwich(PRODUCTS["Gaunt"](ins, outs), ins, outs, 1)
    layers.product.analysis[1] += 0.1
    weights = [torch.ones(shape, dtype=torch.float64) for shape in layers.shapes]
    assert layers.coordinates(weights)[1] > 1e-3


def test_growth_of_the_operations() -> None:
    found = {name: tuple(order(make, setting) for setting in SETTINGS) for name, make in PRODUCTS.items()}
    assert found == {
        "CG": (3, 4, 6),
        "CG even": (3, 4, 6),
        "Gaunt": (3, 4, 4),
        "vector": (3, 4, 4),
        "matrix": (3, 4, 4),
        "blocks": (6, 6, 6),
    }


def test_the_command_writes_what_it_measured(tmp_path, capsys) -> None:
    main(["expressivity", "--lmax", "1", "--repetitions", "2", "--output", str(tmp_path)])
    printed = capsys.readouterr().out
    assert all(setting in printed for setting in SETTINGS)
    found = json.loads((tmp_path / "expressivity.json").read_text())
    assert [(row["setting"], row["product"]) for row in found["rows"]] == [(s, p) for s in SETTINGS for p in PRODUCTS]
    assert all(row["us"] > 0 and row["freedom"] <= row["dimension"] for row in found["rows"])
    assert {row["product"] for row in found["two channels"]} > set(INSTRUCTIONS)
    assert (tmp_path / "expressivity.png").read_bytes()[:4] == b"\x89PNG"


@pytest.mark.parametrize("wrong", [["--lmax", "0"], ["--repetitions", "1"]])
def test_mistakes_are_named(wrong: list[str], tmp_path) -> None:
    with pytest.raises(UserError, match="bench expressivity"):
        main(["expressivity", *wrong, "--output", str(tmp_path)])
