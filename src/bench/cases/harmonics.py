"""Spherical harmonics and Wigner matrices of edges."""

from collections.abc import Iterable, Iterator
from importlib.util import find_spec
from math import pi, sqrt

from ..case import Case, Competitor, Scale, op_case
from . import with_e3nn


def spherical_harmonics(scale: Scale, degrees: Iterable[int]) -> Iterator[Case]:
    edges = scale.pick(50, 4000, 50_000)
    for lmax in degrees:
        size = f"L = {lmax}, {edges} edges"
        rivals = [*with_e3nn.spherical(lmax), *sphericart(lmax)]
        yield op_case(
            "spherical_harmonics", scale, {"edges": edges, "lmax": lmax}, rivals, lmax=lmax, size=size, rows=edges
        )


def wigner(scale: Scale, degrees: Iterable[int]) -> Iterator[Case]:
    """Second derivatives up to L = 2: beyond, their compilation takes minutes."""
    edges = scale.pick(50, 1000, 50_000)
    for lmax in degrees:
        size, orders = f"L = {lmax}, {edges} edges", 2 if lmax <= 2 else 1
        sizes = {"edges": edges, "lmax": lmax}
        yield op_case("wigner", scale, sizes, with_e3nn.wigner(lmax), lmax=lmax, size=size, rows=edges, orders=orders)


def sphericart(lmax: int) -> list[Competitor]:
    """Its harmonics are orthonormal and their polar axis is z: both are taken to ours by permuting and scaling."""
    if find_spec("sphericart") is None:
        return []

    def build():
        from sphericart.torch import SphericalHarmonics

        return SphericalHarmonics(lmax)

    return [Competitor("sphericart", build, lambda r: (r[:, [2, 0, 1]],), lambda out: out * sqrt(4 * pi))]
