"""The orders of tensors that GWL's table asks of TFN (arXiv:2301.09308, table 2), with random weights in float64."""

import pytest
from models.atoms.geometric_pairs import APART, CHOICE, SAME, gap, pair_of

from erlangen.models.atoms.tensor_field_network import TFN
from erlangen.tasks.spec import Spec

OPTIONS = {"product": "cg", "layers": 1, "channels": 4, "radial": 8, "hidden": 8, "cutoff": 10.0, "max_neighbors": 32}


def tfn(spec: Spec, **options) -> TFN:
    return TFN(spec, CHOICE, **OPTIONS | options)


@pytest.mark.parametrize("lmax", [1, 2, 3, 5, 10])
@pytest.mark.parametrize("fold", [2, 3, 5, 10])
def test_the_order_that_sees_a_symmetric_structure_turn_is_its_symmetrys(fold: int, lmax: int) -> None:
    found = gap(lambda spec: tfn(spec, lmax=lmax), pair_of("spokes", fold))
    assert found > APART if lmax >= fold else found < SAME


@pytest.mark.parametrize("structures", ["two_body", "three_body", "four_body"])
def test_one_layer_of_messages_sees_two_bodies_only(structures: str) -> None:
    assert gap(lambda spec: tfn(spec, lmax=2), pair_of(structures)) < SAME


@pytest.mark.parametrize("k", [2, 3, 4])
def test_chains_need_a_layer_more_where_scalars_are_sums_over_single_neighbours(k: int) -> None:
    """The node that has heard of both ends needs one more message to put them into a scalar, as no product does it."""
    for layers, apart in ((k // 2 + 1, False), (k // 2 + 2, True)):
        found = gap(lambda spec, layers=layers: tfn(spec, lmax=2, layers=layers), pair_of("chains", k))
        assert found > APART if apart else found < SAME, (layers, found)
