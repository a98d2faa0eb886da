"""Products of features of degrees 0..L, and nonlinearities of them."""

from collections.abc import Iterable, Iterator
from functools import partial

import torch

from ...geometry.s2grid import exact_resolution
from ...kernels import symmetric_contraction as contraction
from ...kernels.cg_product import paths
from ...kernels.registry import find
from ..case import Case, Competitor, Scale, op_case, torch_compiled
from . import with_e3nn

ROWS = {1: 1000, 2: 500, 3: 200, 4: 100, 6: 25, 8: 10}


def rows(scale: Scale, lmax: int) -> int:
    return scale.pick(4, next(n for top, n in ROWS.items() if lmax <= top or top == 8), 50_000)


def label(lmax: int, size: dict[str, int]) -> str:
    count = size.get("rows", size.get("nodes"))
    return f"L = {lmax}, {count} rows, {size['channels']} channels"


def cg_product(scale: Scale, degrees: Iterable[int]) -> Iterator[Case]:
    """All degrees with all degrees, weights of each row."""
    for lmax in degrees:
        size = {"rows": rows(scale, lmax), "channels": scale.pick(4, 64, 128)}
        spec = {"lmax1": lmax, "lmax2": lmax, "lmax3": lmax, "odd": True}
        count = len(paths(lmax, lmax, lmax, True))
        rivals = with_e3nn.clebsch_gordan(spec, size["channels"])
        yield op_case(
            "cg_product",
            scale,
            size | spec,
            rivals,
            lmax=lmax,
            size=label(lmax, size),
            rows=rows(scale, lmax),
            paths=count,
            weights=count * size["channels"],
        )


def gaunt_product(scale: Scale, degrees: Iterable[int]) -> Iterator[Case]:
    """It has no weights of its own; e3nn's product has one a path, here set to what makes it this function."""
    for lmax in degrees:
        size = {"rows": rows(scale, lmax), "channels": scale.pick(4, 64, 128)}
        spec = {"lmax1": lmax, "lmax2": lmax, "lmax3": lmax}
        yield op_case(
            "gaunt_product",
            scale,
            size | spec,
            with_e3nn.channelwise(lmax, size["channels"]),
            lmax=lmax,
            orders=2 if lmax <= 2 else 1,
            size=label(lmax, size),
            rows=rows(scale, lmax),
            paths=len(paths(lmax, lmax, lmax, False)),
            weights=0,
        )


def symmetric_contraction(scale: Scale, degrees: Iterable[int]) -> Iterator[Case]:
    """Three factors, as in MACE; L = 4 and more take couplings that MACE does not run either."""
    for lmax in (degree for degree in degrees if degree <= 3):
        size = {"nodes": rows(scale, lmax) // 4, "channels": scale.pick(4, 64, 128), "kinds": 4}
        spec = {"lmax": lmax, "lmax_out": 1, "correlation": scale.pick(2, 3, 3)}
        count = len(contraction.paths(lmax, 1, spec["correlation"]))
        yield op_case(
            "symmetric_contraction",
            scale,
            size | spec,
            [],
            lmax=lmax,
            size=label(lmax, size),
            rows=rows(scale, lmax),
            paths=count,
            weights=count * size["channels"],
        )


def s2_activation(scale: Scale, degrees: Iterable[int]) -> Iterator[Case]:
    """On the grid that is exact for twice the degree; e3nn's has as many points, in other places."""
    for lmax in degrees:
        grid = tuple(exact_resolution(3 * lmax))
        size = {"rows": rows(scale, lmax), "channels": scale.pick(4, 64, 128)}
        spec = {"lmax": lmax, "kind": "pointwise", "resolution": grid}
        yield op_case(
            "s2_activation",
            scale,
            size | spec,
            e3nn_activation(lmax, grid),
            lmax=lmax,
            size=f"{label(lmax, size)}, {grid[0]} x {grid[1]} points",
            rows=rows(scale, lmax),
        )


def s2_mlp(scale: Scale, degrees: Iterable[int]) -> Iterator[Case]:
    """With a layer on the grid and on the grid of eSCN, 2 (L + 1) x (2 M + 1) points, M at most 2."""
    for lmax in degrees:
        mmax = min(2, lmax)
        grid = (2 * (lmax + 1), 2 * mmax + 1)
        size = {"rows": rows(scale, lmax), "channels": scale.pick(4, 64, 128)}
        spec = {"lmax": lmax, "mmax": mmax, "resolution": grid}
        yield op_case(
            "s2_mlp",
            scale,
            size | spec,
            traced("s2_mlp", spec | {"m_major": True}),
            lmax=lmax,
            size=f"{label(lmax, size)}, {grid[0]} x {grid[1]} points",
            rows=rows(scale, lmax),
        )


def complex_linear(scale: Scale, degrees: Iterable[int]) -> Iterator[Case]:
    """The rows m = 1 and -1 of an SO(2) convolution: the degrees 1..L of all channels are mixed."""
    for lmax in degrees:
        width = lmax * scale.pick(4, 64, 128)
        size = {"rows": scale.pick(4, 1000, 50_000), "channels_in": width, "channels_out": width}
        name = f"L = {lmax}, {size['rows']} rows, {width} channels"
        rivals = traced("complex_linear", {})
        yield op_case("complex_linear", scale, size, rivals, lmax=lmax, size=name, rows=size["rows"])


def traced(op: str, spec: dict) -> list[Competitor]:
    """The reference through torch.compile."""
    return torch_compiled(Competitor("reference", lambda: partial(find(op).reference, **spec)))


def e3nn_activation(lmax: int, grid: tuple[int, int]) -> list[Competitor]:
    def build():
        from e3nn.o3 import FromS2Grid, ToS2Grid

        angles = max(2 * lmax + 2, grid[0] + grid[0] % 2), grid[1]  # as coarse as it takes
        to, back = ToS2Grid(lmax, angles), FromS2Grid(angles, lmax)
        return lambda x: back(torch.nn.functional.silu(to(x)))

    remark = "equal angles, more points"
    return with_e3nn.eager_and_compiled(Competitor("e3nn", build, lambda x: (x.mT,), None, remark=remark))
