"""The geometric product as a sum over its terms, and the same sum differentiated by one of the factors."""

from collections.abc import Callable

import torch

from ..geometry.clifford import Signature, blades, product_terms

LEFT, RIGHT, OUT = range(3)  # the three places of a term: left factor, right factor, product


def other_places(place: int) -> tuple[int, int]:
    """The two other places of a term, in rising order."""
    first, second = (other for other in (LEFT, RIGHT, OUT) if other != place)
    return first, second


def unrolled(signature: Signature, place: int = OUT) -> Callable:
    """The sum of sign * left * right * out over all terms, differentiated by the factor at `place`.

    It maps the factors at the other two places to a multivector; with `OUT` it is the product, else a gradient of it.
    Compiled it is one pass over memory; not compiled it is slower than the dense sum.
    """
    first, second = other_places(place)
    by_blade = tuple(
        tuple((term[first], term[second], term.sign > 0) for term in product_terms(signature) if term[place] == blade)
        for blade in range(len(blades(signature)))
    )

    def form(a, b):
        a, b = a.unbind(0), b.unbind(0)
        out = []
        for blade in by_blade:
            total = torch.zeros_like(a[0])
            for i, j, positive in blade:
                total = total + a[i] * b[j] if positive else total - a[i] * b[j]
            out.append(total)
        return torch.stack(out)

    return form
