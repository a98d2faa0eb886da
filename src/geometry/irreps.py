"""Irreps of O(3) as text: how a feature vector is put together."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from ..errors import UserError

_TERM = re.compile(r"(?:(\d+)\s*x\s*)?(\d+)\s*([eo])", re.ASCII)


class MulIrrep(NamedTuple):
    """`mul` copies of the irrep of degree `l` and parity +1 (even) or -1 (odd)."""

    mul: int
    l: int  # noqa: E741 (the field's name for it)
    parity: int

    @property
    def dim(self) -> int:
        """Components of all copies together."""
        return self.mul * (2 * self.l + 1)

    def __str__(self) -> str:
        return f"{self.mul}x{self.l}{'e' if self.parity == 1 else 'o'}"


class Irreps(tuple[MulIrrep, ...]):
    """An immutable direct sum of irreps of O(3), such as `Irreps("8x0e+4x1o+2e")`.

    It is a tuple of `MulIrrep(mul, l, parity)`, so it iterates, compares and hashes as one. The layout is e3nn's (see
    `erlangen.geometry`). Built from text, from another Irreps, or from (mul, l, parity) triples; text that cannot be
    read, a negative mul or l, and a parity other than +1 or -1 raise UserError.
    """

    __slots__ = ()

    def __new__(cls, source: str | Iterable[tuple[int, int, int]] = ()) -> Irreps:
        terms = _parse(source) if isinstance(source, str) else source
        return super().__new__(cls, (_checked(term) for term in terms))

    @classmethod
    def spherical(cls, lmax: int) -> Irreps:
        """The irreps of the spherical harmonics of degrees 0..lmax: 0e + 1o + 2e + ..."""
        return cls((1, degree, (-1) ** degree) for degree in range(lmax + 1))

    @property
    def dim(self) -> int:
        """Components in all."""
        return sum(term.dim for term in self)

    @property
    def num_irreps(self) -> int:
        """Irreps in all, counting copies."""
        return sum(term.mul for term in self)

    @property
    def lmax(self) -> int:
        """The highest degree; UserError where there is no irrep."""
        if not self.num_irreps:
            raise UserError("irreps: lmax of empty irreps is undefined; give at least one irrep, such as '1x0e'")
        return max(term.l for term in self if term.mul)

    def slices(self) -> tuple[slice, ...]:
        """Where each term stands along the feature axis."""
        stops = [0]
        for term in self:
            stops.append(stops[-1] + term.dim)
        return tuple(slice(start, stop) for start, stop in zip(stops, stops[1:], strict=False))

    def __add__(self, other: Irreps) -> Irreps:
        return Irreps((*self, *other))

    def __str__(self) -> str:
        return "+".join(map(str, self))

    def __repr__(self) -> str:
        return f"Irreps({str(self)!r})"


def _parse(text: str) -> list[MulIrrep]:
    terms = []
    for word in text.split("+") if text.strip() else ():
        match = _TERM.fullmatch(word.strip())
        if match is None:
            raise UserError(f"irreps: cannot read {word.strip()!r} in {text!r}; write terms like '8x0e' joined by '+'")
        mul, degree, parity = match.groups()
        terms.append(MulIrrep(int(mul or 1), int(degree), 1 if parity == "e" else -1))
    return terms


def _checked(term: tuple[int, int, int]) -> MulIrrep:
    readable = isinstance(term, tuple) and len(term) == 3 and all(type(value) is int for value in term)
    if not readable or term[0] < 0 or term[1] < 0 or term[2] not in (1, -1):
        raise UserError(f"irreps: {term!r} is not (mul >= 0, l >= 0, parity 1 or -1)")
    return MulIrrep(*term)
