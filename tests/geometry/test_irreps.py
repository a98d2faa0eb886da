"""Irreps read, print and lie in memory as e3nn's do."""

import copy
import pickle

import pytest
from e3nn import o3

from erlangen.errors import UserError
from erlangen.geometry.irreps import Irreps, MulIrrep

TEXTS = ["8x0e+4x1o+2e", "0e", "3x0o + 1o", " 16 x 2e + 0x4o+5o", "1x0e+1x0e", ""]


@pytest.mark.parametrize("text", TEXTS)
def test_agrees_with_e3nn(text):
    ours, theirs = Irreps(text), o3.Irreps(text.replace(" ", ""))
    assert str(ours) == str(theirs)
    assert (ours.dim, ours.num_irreps) == (theirs.dim, theirs.num_irreps)
    assert list(ours.slices()) == list(theirs.slices())
    assert [tuple(term) for term in ours] == [(mul, ir.l, ir.p) for mul, ir in theirs]


def test_iterates_compares_and_hashes_by_value():
    irreps = Irreps("8x0e+4x1o+2e")
    assert list(irreps) == [MulIrrep(8, 0, 1), MulIrrep(4, 1, -1), MulIrrep(1, 2, 1)]
    assert [(mul, degree, parity) for mul, degree, parity in irreps] == [(8, 0, 1), (4, 1, -1), (1, 2, 1)]
    assert irreps == Irreps(str(irreps)) == Irreps(irreps) == Irreps(list(irreps))
    assert irreps != Irreps("8x0e+4x1o+2o")
    assert {irreps: 1}[Irreps("8x0e + 4x1o + 1x2e")] == 1
    assert irreps.lmax == 2
    assert irreps + Irreps("3e") == Irreps("8x0e+4x1o+2e+3e")
    assert isinstance(irreps + Irreps("3e"), Irreps)


def test_survives_pickling_and_copying():
    irreps = Irreps("8x0e+4x1o+2e")
    for twin in (pickle.loads(pickle.dumps(irreps)), copy.deepcopy(irreps)):
        assert twin == irreps
        assert isinstance(twin, Irreps)


def test_is_immutable():
    irreps = Irreps("0e+1o")
    with pytest.raises(TypeError):
        irreps[0] = MulIrrep(1, 1, 1)
    with pytest.raises(AttributeError):
        irreps.extra = 1


def test_spherical_irreps_are_those_of_the_harmonics():
    assert Irreps.spherical(3) == Irreps("0e+1o+2e+3o")
    assert str(Irreps.spherical(5)) == str(o3.Irreps.spherical_harmonics(5))


def test_lmax_ignores_empty_terms_and_refuses_empty_irreps():
    assert Irreps("2x1o+0x4e").lmax == 1
    with pytest.raises(UserError, match="empty irreps"):
        _ = Irreps("0x4e").lmax


@pytest.mark.parametrize("text", ["1", "8x", "x1o", "1z", "8*1o", "0e++1o", "0e+", "-1e", "1.5x0e", "1e 1o", "٣e"])
def test_unreadable_text_is_a_user_error(text):
    with pytest.raises(UserError, match="irreps: cannot read") as error:
        Irreps(text)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("term", [(1, 0, 0), (-1, 0, 1), (1, -1, 1)])
def test_impossible_terms_are_user_errors(term):
    with pytest.raises(UserError, match="parity 1 or -1"):
        Irreps([term])
