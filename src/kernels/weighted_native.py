"""The weighted geometric product and its gradients in C, written out for an algebra, as geometric_native.py does it."""

from collections import defaultdict
from functools import cache

import torch
from torch import Tensor

from ..geometry.clifford import Signature, blades, grade_paths, grades, product_terms
from .native import call

RIGHT, OUT, SIGN = range(3)  # of a term, given its left blade and its path


def forward(x: Tensor, y: Tensor, weight: Tensor, *, signature: Signature) -> tuple[Tensor, tuple]:
    out = torch.empty_like(x)
    call("weighted_product", x, y, weight, out, x[0].numel(), x.shape[2], source=source(signature))
    return out, ()


def backward(gradient: Tensor, args: list[Tensor], _, *, signature: Signature) -> list[Tensor]:
    x, y, weight = args
    found = [torch.empty_like(a) for a in args]
    sizes = x[0].numel(), x.shape[2]
    call("weighted_product_gradients", x, y, weight, gradient, *found, *sizes, source=source(signature))
    return found


@cache
def source(signature: Signature) -> str:
    """C for the product and for its gradients; see native/weighted_blades.h."""
    head = [f"#define BLADES {len(blades(signature))}", f"#define PATHS {len(grade_paths(signature))}"]
    parts = [
        *head,
        '#include "lanes.h"',
        *_product(signature),
        *_gradients(signature),
        '#include "weighted_blades.h"',
        "",
    ]
    return "\n".join(parts)


def _groups(signature: Signature) -> dict[int, dict[int, list[tuple[int, int, str]]]]:
    """For each left blade and path from its grade the right blades, the blades they lead to, and signs."""
    number = {path: i for i, path in enumerate(grade_paths(signature))}
    grade, found = grades(signature), defaultdict(lambda: defaultdict(list))
    for term in product_terms(signature):
        path = number[grade[term.left], grade[term.right], grade[term.out]]
        found[term.left][path].append((term.right, term.out, "+-"[term.sign < 0]))
    return found


def _product(signature: Signature) -> list[str]:
    arguments = "const real *x, const real *y, const real *w, real *out, int64_t columns, int64_t wide"
    return [f"INLINE void product({arguments}) {{", *_of_left(signature, "y", "out", RIGHT, OUT), "}"]


def _gradients(signature: Signature) -> list[str]:
    arguments = "const real *x, const real *y, const real *g, const real *w, real *by_x, real *by_y, real *by_w"
    lines = [f"INLINE void gradients({arguments}, int64_t columns, int64_t wide) {{"]
    for left, paths in _groups(signature).items():
        lines.append(f"{{ lanes a = load(x + {left} * columns, LANES), by = {{0}}, t;")
        for path, terms in paths.items():
            lines.append("t = (lanes){0};")
            lines += [
                f"t {sign}= load(y + {j} * columns, LANES) * load(g + {k} * columns, LANES);" for j, k, sign in terms
            ]
            at = f"by_w + {path} * wide"
            lines += [f"by += load(w + {path} * wide, LANES) * t;", f"store({at}, load({at}, LANES) + a * t, LANES);"]
        lines += [f"store(by_x + {left} * columns, by, LANES);", "}"]
    return [*lines, *_of_left(signature, "g", "by_y", OUT, RIGHT), "}"]


def _of_left(signature: Signature, factor: str, result: str, place: int, to: int) -> list[str]:
    """The sum of sign * weight * x * factor, the factor having blades of one of two places and the result of the other.

    Even blades come first, then odd ones: one of the two has room in a processor's registers.
    """
    lines, grade = [], grades(signature)
    for parity in (0, 1):
        half = [blade for blade, g in enumerate(grade) if g % 2 == parity]
        lines += ["{", *(f"lanes o{blade} = {{0}};" for blade in half)]
        for left, paths in _groups(signature).items():
            lines.append(f"{{ lanes a = load(x + {left} * columns, LANES), f;")
            for path, terms in paths.items():
                sums = [
                    f"o{term[to]} {term[SIGN]}= f * load({factor} + {term[place]} * columns, LANES);"
                    for term in terms
                    if term[to] in half
                ]
                if sums:
                    lines += [f"f = a * load(w + {path} * wide, LANES);", *sums]
            lines.append("}")
        lines += [*(f"store({result} + {blade} * columns, o{blade}, LANES);" for blade in half), "}"]
    return lines
