"""For every operation, the sizes it is measured at and who else can do the same; one file a family of operations.

A file holds functions named after operations, each `(scale, degrees) -> cases`. An operation that has none is measured
at the size of its example, with its own backends.
"""

import importlib
from collections.abc import Iterable, Iterator

from ..case import Case, Scale, op_case

FAMILIES = ("algebras", "clouds", "edges", "graphs", "harmonics", "products")


def cases(op: str, scale: Scale, degrees: Iterable[int]) -> Iterator[Case]:
    """The cases of an operation, made one after the other; those that have a degree, for each of `degrees`."""
    for family in FAMILIES:
        make = getattr(importlib.import_module(f".{family}", __package__), op, None)
        if make is not None:
            return make(scale, degrees)
    return iter([op_case(op, scale, {}, size="its example")])
