"""The geometric product and its gradients in C, written out for an algebra: every term is one multiply-add of registers.

Only source text can name registers, and each algebra has other terms, so the text is made here from the table of terms.
"""

from functools import cache

import torch
from torch import Tensor

from ..geometry.clifford import Signature, blades, product_terms
from .geometric_terms import LEFT, OUT, RIGHT, other_places, unrolled
from .native import Native, call

TOGETHER = 4
"""Left factors that are kept while the right ones pass: of 32 registers they and 16 sums leave room."""


class Forms:
    """The sums of sign * left * right * out over all terms without the factor at one place, for each of the three places.

    Without `out` it is the product; the gradient of each is the same sum without another factor.
    """

    def __init__(self, signature: Signature):
        self.forms = [
            Native(plainly, self.run, self.back, self.pull, signature=signature, place=place)
            for place in (LEFT, RIGHT, OUT)
        ]

    def run(self, first, second, *, signature, place):
        out = torch.empty_like(first)
        call("product_of_blades", first, second, out, first[0].numel(), source=source(signature, place))
        return out, ()

    def back(self, gradient, factors, saved, *, signature, place):
        return [
            self.run(*others, signature=signature, place=p)[0] if factor.requires_grad else None
            for p, factor, others in around(gradient, factors, place)
        ]

    def pull(self, gradient, factors, saved, *, signature, place):
        return [self.forms[p](*others) for p, _, others in around(gradient, factors, place)]


def plainly(first, second, *, signature, place):
    """What compilers trace."""
    return unrolled(signature, place)(first, second)


def around(gradient: Tensor, factors: list[Tensor], place: int) -> list[tuple[int, Tensor, list[Tensor]]]:
    """For each factor its place, itself, and the two at the other places, of which the gradient is one."""
    at = dict(zip(other_places(place), factors, strict=True)) | {place: gradient}
    return [(p, at[p], [at[q] for q in other_places(p)]) for p in other_places(place)]


@cache
def source(signature: Signature, place: int) -> str:
    """C for the sum without the factor at `place`; see native/blades.h."""
    size, (first, second) = len(blades(signature)), other_places(place)
    term = {(t[first], t[second]): (t[place], "+-"[t.sign < 0]) for t in product_terms(signature)}
    lines = [f"lanes o{k} = {{0}};" for k in range(size)]
    for start in range(0, size, TOGETHER):
        kept = range(start, min(start + TOGETHER, size))
        lines += ["{", *(f"lanes a{i} = load(first + {i} * columns, LANES);" for i in kept)]
        for j in range(size):
            sums = [f"o{term[i, j][0]} {term[i, j][1]}= a{i} * b;" for i in kept if (i, j) in term]
            if sums:
                lines += [f"{{ lanes b = load(second + {j} * columns, LANES);", *sums, "}"]
        lines.append("}")
    lines += [f"put(out + {k} * columns, o{k}, past);" for k in range(size)]
    head = "INLINE void terms(const real *first, const real *second, real *out, int64_t columns, int past) {"
    parts = [f"#define BLADES {size}", '#include "lanes.h"', head, *lines, "}", '#include "blades.h"', ""]
    return "\n".join(parts)
