"""Spherical harmonics and Wigner matrices of edges."""

from collections.abc import Iterable, Iterator

from ..case import Case, Scale, op_case
from . import with_e3nn


def spherical_harmonics(scale: Scale, degrees: Iterable[int]) -> Iterator[Case]:
    edges = scale.pick(50, 4000, 50_000)
    for lmax in degrees:
        sizes, size = {"edges": edges, "lmax": lmax}, f"L = {lmax}, {edges} edges"
        rivals = with_e3nn.spherical(lmax)
        yield op_case("spherical_harmonics", scale, sizes, rivals, lmax=lmax, size=size, rows=edges)


def wigner(scale: Scale, degrees: Iterable[int]) -> Iterator[Case]:
    """Second derivatives up to L = 2: beyond, their compilation takes minutes."""
    edges = scale.pick(50, 1000, 50_000)
    for lmax in degrees:
        size, orders = f"L = {lmax}, {edges} edges", 2 if lmax <= 2 else 1
        sizes = {"edges": edges, "lmax": lmax}
        yield op_case("wigner", scale, sizes, with_e3nn.wigner(lmax), lmax=lmax, size=size, rows=edges, orders=orders)
