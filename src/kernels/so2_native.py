"""The depthwise product in the frames of edges in C, written out for one lmax and mmax."""

from collections import defaultdict
from collections.abc import Iterable
from functools import cache

import torch

from ..geometry.wigner import packed_size
from .edge_rows import m_major, place_in_packed
from .m_layout import degrees, m_rows
from .native import call
from .so2 import pair_slices, pairs


def forward(x, edge_index, D, weight, size, *, lmax, mmax):
    out = x.new_empty(size, *x.shape[1:])
    given = x, D, weight, *edge_index.long()
    call("so2_depthwise", *given, out, len(D), x.shape[2], size, source=source(lmax, mmax))
    return out, ()


def backward(gradient, args, saved, *, lmax, mmax):
    x, edge_index, D, weight, _ = args
    by_x, by_D, by_weight = (torch.empty_like(a) if a.requires_grad else None for a in (x, D, weight))
    given, wanted = (gradient, x, D, weight, *edge_index.long()), (by_x, by_D, by_weight)
    call("so2_depthwise_backward", *given, *wanted, len(D), x.shape[2], len(x), source=source(lmax, mmax))
    return [by_x, None, by_D, by_weight]


@cache
def source(lmax: int, mmax: int) -> str:
    """The C text; see native/so2_depthwise.h."""
    frame, product = list(_frame(lmax, mmax)), list(_product(lmax, mmax))
    sizes = {
        "ROWS": m_rows(lmax, mmax),
        "COMPONENTS": (lmax + 1) ** 2,
        "PACKED": packed_size(lmax),
        "PAIRS": pairs(lmax, mmax),
    }
    x, y, w, D = "const lanes *x", "const lanes *y", "const lanes *w", "const real *D"
    functions = [
        _function("into_frame", [x, D], "y", [(r, 1, f"D[{d}] * x[{k}]") for r, d, k in frame]),
        _function("out_of_frame", [y, D], "x", [(k, 1, f"D[{d}] * y[{r}]") for r, d, k in frame], upon=True),
        _function("add_products", [y, x], "D", [(d, 1, f"y[{r}] * x[{k}]") for r, d, k in frame], upon=True),
        _function("by_y", [x, w], "y", [(to, sign, f"x[{of}] * w[{i}]") for of, i, to, sign in product]),
        _function("by_x", [w, y], "x", [(of, sign, f"w[{i}] * y[{to}]") for of, i, to, sign in product]),
        _function("by_w", [x, y], "w", [(i, sign, f"x[{of}] * y[{to}]") for of, i, to, sign in product]),
    ]
    defined = [f"#define {name} {size}" for name, size in sizes.items()]
    return "\n".join([*defined, '#include "lanes.h"', *functions, '#include "so2_depthwise.h"', ""])


def _function(name: str, given: list[str], out: str, terms: Iterable[tuple[int, int, str]], upon: bool = False) -> str:
    """A C function that sums terms (row, sign, text) row by row, `upon` what is there or from zero."""
    of_row = defaultdict(list)
    for row, sign, text in terms:
        of_row[row].append(f"{'+' if sign > 0 else '-'} {text}")
    lines = [
        f"{out}[{row}] = {f'{out}[{row}]' if upon else '(lanes){0}'} {' '.join(texts)};"
        for row, texts in sorted(of_row.items())
    ]
    return "\n".join([f"INLINE void {name}({', '.join(given)}, lanes *{out}) {{", *lines, "}"])


def _frame(lmax: int, mmax: int) -> Iterable[tuple[int, int, int]]:
    """(row in the frame, place in packed D, component) of each product in D x."""
    for row, (degree, m) in enumerate(m_major(lmax, mmax)):
        for k in range(2 * degree + 1):
            yield row, place_in_packed(degree, m, k), degree**2 + k


def _product(lmax: int, mmax: int) -> Iterable[tuple[int, int, int, int]]:
    """(row in, weight, row out, sign) of y_m + i y_-m = w_m (x_m + i x_-m); so2.py says how the weights stand."""
    row = {place: number for number, place in enumerate(m_major(lmax, mmax))}
    for m, (n, part) in enumerate(zip(degrees(lmax, mmax), pair_slices(lmax, mmax), strict=True)):
        for pair in range(n * n):
            to, of, real = m + pair // n, m + pair % n, part.start + pair
            imaginary = real + n * n
            yield row[of, m], real, row[to, m], 1
            if m:
                yield row[of, -m], real, row[to, -m], 1
                yield row[of, -m], imaginary, row[to, m], -1
                yield row[of, m], imaginary, row[to, -m], 1
