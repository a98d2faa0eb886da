"""Spherical harmonics and their derivatives in C, written out for one lmax.

With C the coupling 1 x (l-1) -> l, the solid harmonics obey R_l = sqrt((2l+1) / l) C^T (r x R_(l-1)), and their derivative
along axis j is sqrt((2l+1) l) C_j^T R_(l-1): it is of that form by equivariance, and Euler's r . grad R_l = l R_l fixes the
factor.
"""

from collections.abc import Iterator
from functools import cache, partial
from math import sqrt

import torch
from torch import Tensor

from ..geometry.clebsch_gordan import clebsch_gordan
from ..geometry.spherical_harmonics import normalization_scales, spherical_harmonics
from .native import Native, call


def build(lmax: int, normalize: bool = True, normalization: str = "component") -> Native:
    """The harmonics, whose gradient is differentiable, too."""
    spec = {"lmax": lmax, "normalize": normalize, "normalization": normalization}
    sums_of_slopes = Native(slopes_plainly, slopes, slopes_backward, **spec)

    def pullback(gradient, args, saved, **spec):
        return [sums_of_slopes(gradient, *args)]

    return Native(spherical_harmonics, harmonics, harmonics_backward, pullback, **spec)


def harmonics(r, **spec):
    out = r.new_empty(len(r), (spec["lmax"] + 1) ** 2)
    run("spherical_harmonics", spec, r, out)
    return out, ()


def harmonics_backward(gradient, args, saved, **spec):
    return [slopes(gradient, *args, **spec)[0]]


def slopes(g, r, **spec):
    """The sum over components of g times the gradient of Y by r."""
    out = torch.empty_like(r)
    run("spherical_harmonics_slopes", spec, g, r, out)
    return out, ()


def slopes_backward(gradient, args, saved, **spec):
    g, r = args
    by_g, by_r = torch.empty_like(g), torch.empty_like(r)
    run("spherical_harmonics_slopes_backward", spec, gradient, g, r, by_g, by_r)
    return [by_g, by_r]


def slopes_plainly(g: Tensor, r: Tensor, **spec) -> Tensor:
    return torch.func.vjp(partial(spherical_harmonics, **spec), r)[1](g)[0]


def run(function: str, spec: dict, *tensors: Tensor) -> None:
    """A function of native/harmonics.h. Entries of a vector up to `zero` count as none: see `unit_vectors`."""
    zero = sqrt(torch.finfo(tensors[0].dtype).tiny)
    call(function, *tensors, len(tensors[0]), zero, source=source(**spec))


@cache
def source(lmax: int, normalize: bool, normalization: str) -> str:
    """The C text; see native/harmonics.h."""
    scales = normalization_scales(lmax, normalization)
    scales = [scale for degree, scale in enumerate(scales) for _ in range(2 * degree + 1)]
    parts = [
        f"#define COMPONENTS {len(scales)}",
        f"#define NORMALIZE {int(normalize)}",
        '#include "lanes.h"',
        f"static const real SCALES[] = {{{', '.join(map(repr, scales))}}};",
        function("rise", "const lanes *r, lanes *Y", "Y[{at}] += (real){by_degree} * r[{j}] * Y[{k}];", lmax),
        function(
            "add_slopes", "const lanes *Y, const lanes *g, lanes *to", "to[{j}] += (real){c} * Y[{k}] * g[{at}];", lmax
        ),
        function(
            "add_along", "const lanes *t, const lanes *Y, lanes *to", "to[{at}] += (real){c} * t[{j}] * Y[{k}];", lmax
        ),
        function(
            "add_lowered", "const lanes *t, const lanes *g, lanes *to", "to[{k}] += (real){c} * t[{j}] * g[{at}];", lmax
        ),
        '#include "harmonics.h"',
        "",
    ]
    return "\n".join(parts)


def function(name: str, given: str, term: str, lmax: int) -> str:
    """A C function of one statement a term."""
    lines = [
        term.format(at=at, j=axis, k=below, c=repr(slope), by_degree=repr(slope / degree))
        for degree, at, axis, below, slope in terms(lmax)
    ]
    return "\n".join([f"INLINE void {name}({given}) {{", *lines, "}"])


def terms(lmax: int) -> Iterator[tuple[int, int, int, int, float]]:
    """(degree, component, axis, component of the degree below, c): c times that is in the component's derivative there."""
    for degree in range(1, lmax + 1):
        coupling = sqrt((2 * degree + 1) * degree) * clebsch_gordan(1, degree - 1, degree)
        for m, axis, below in coupling.movedim(2, 0).nonzero().tolist():
            yield degree, degree**2 + m, axis, (degree - 1) ** 2 + below, coupling[axis, below, m].item()
