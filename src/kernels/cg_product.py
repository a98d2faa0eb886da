"""The Clebsch-Gordan tensor product of features of degrees 0..lmax, channel by channel, with a weight for each path."""

from itertools import groupby
from math import sqrt

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ..errors import UserError
from ..geometry.checks import require_degree
from ..geometry.clebsch_gordan import clebsch_gordan
from ..geometry.tables import constant_table
from .cueq import backend as cueq
from .registry import Backend, Cost, Op, plain, traffic


def paths(lmax1: int, lmax2: int, lmax3: int, odd: bool) -> list[tuple[int, int, int]]:
    """All (l1, l2, l3) that couple, in lexicographic order; those of odd sum only if `odd`."""
    return [
        (l1, l2, l3)
        for l1 in range(lmax1 + 1)
        for l2 in range(lmax2 + 1)
        for l3 in range(abs(l1 - l2), min(l1 + l2, lmax3) + 1)
        if odd or (l1 + l2 + l3) % 2 == 0
    ]


def cg_product(
    x: Float[Tensor, "rows ({lmax1}+1)**2 channels"],
    y: Float[Tensor, "rows ({lmax2}+1)**2 channels_or_one"],
    weight: Float[Tensor, "rows_or_one paths channels"],
    *,
    lmax1: int,
    lmax2: int,
    lmax3: int,
    odd: bool,
) -> Float[Tensor, "rows ({lmax3}+1)**2 channels"]:
    """z_l3 = 1 / sqrt(n) times the sum over the n paths to l3 of weight times C (x_l1, y_l2), C Clebsch-Gordan.

    This is e3nn's TensorProduct in its default normalisation (component, element) with one output irrep for each
    degree: instructions `uuu` where y has channels of its own, `uvu` where it has one for all of x's (a filter).
    `paths` gives the order of the weights, which are shared by all rows or belong to each (a radial network's output).
    `odd` says whether paths of odd l1 + l2 + l3 take part: yes if only rotations count; no if degree l has the parity
    (-1)^l of the harmonics, 0e + 1o + 2e + ..., and the output is to have it. A degree that no path reaches is zero.
    """
    spec = (lmax1, lmax2, lmax3, odd)
    coupled = []
    for (l1, l2), _ in groupby(paths(*spec), key=lambda path: path[:2]):
        left, right = x[:, l1**2 : (l1 + 1) ** 2], y[:, l2**2 : (l2 + 1) ** 2]
        pairs = (left.unsqueeze(2) * right.unsqueeze(1)).flatten(1, 2)
        coupled.append(_coupling(l1, l2, spec, dtype=x.dtype, device=x.device) @ pairs)
    path, component = _places(*spec, dtype=torch.int64, device=x.device)
    out = x.new_zeros(x.shape[0], (lmax3 + 1) ** 2, x.shape[2])
    return out.index_add(1, component, torch.cat(coupled, 1) * weight.index_select(1, path))


@constant_table
def _coupling(l1: int, l2: int, spec: tuple[int, int, int, bool]) -> np.ndarray:
    """The couplings of l1 and l2 to every degree that they reach, one above the other: (components, pairs)."""
    all_paths = paths(*spec)
    reached = [l3 for path in all_paths for l3 in path[2:] if path[:2] == (l1, l2)]
    count = {l3: sum(path[2] == l3 for path in all_paths) for l3 in reached}
    return np.concatenate(
        [clebsch_gordan(l1, l2, l3).flatten(0, 1).T.numpy() / sqrt(count[l3]) for l3 in reached],
    )


@constant_table
def _places(lmax1: int, lmax2: int, lmax3: int, odd: bool) -> np.ndarray:
    """For each row of all couplings, the path it belongs to and the component it adds to."""
    rows = [
        (place, component)
        for place, (_, _, l3) in enumerate(paths(lmax1, lmax2, lmax3, odd))
        for component in range(l3**2, (l3 + 1) ** 2)
    ]
    return np.array(rows).T


def check(x: Tensor, y: Tensor, weight: Tensor, *, lmax1: int, lmax2: int, lmax3: int, odd: bool) -> None:
    for lmax in (lmax1, lmax2, lmax3):
        require_degree("cg_product", lmax)
    sizes, count = ((lmax1 + 1) ** 2, (lmax2 + 1) ** 2), len(paths(lmax1, lmax2, lmax3, odd))
    rows, channels = x.shape[0] if x.ndim == 3 else -1, x.shape[-1] if x.ndim else -1
    if (
        tuple(x.shape) != (rows, sizes[0], channels)
        or tuple(y.shape) not in ((rows, sizes[1], channels), (rows, sizes[1], 1))
        or tuple(weight.shape) not in ((rows, count, channels), (1, count, channels))
    ):
        raise UserError(
            f"cg_product: x {tuple(x.shape)}, y {tuple(y.shape)} and weight {tuple(weight.shape)}; give x (rows, "
            f"{sizes[0]}, channels), y (rows, {sizes[1]}, channels or 1) and weight (rows or 1, {count} paths, channels)"
        )


def cost(out: Tensor, x: Tensor, y: Tensor, weight: Tensor, *, lmax1: int, lmax2: int, lmax3: int, odd: bool) -> Cost:
    """Three for each non-zero coefficient (two factors and a sum), two for each path's component (weight and sum)."""
    all_paths = paths(lmax1, lmax2, lmax3, odd)
    terms = sum(int((clebsch_gordan(*path) != 0).sum()) for path in all_paths)
    components = sum(2 * l3 + 1 for _, _, l3 in all_paths)
    return Cost(x.shape[0] * x.shape[2] * (3 * terms + 2 * components), traffic(out, x, y, weight))


def example(dtype, device, seed, *, rows=5, channels=3, lmax1=2, lmax2=2, lmax3=2, odd=True):
    g = torch.Generator().manual_seed(seed)
    x, y = (torch.randn(rows, (n + 1) ** 2, channels, generator=g, dtype=torch.float64) for n in (lmax1, lmax2))
    count = len(paths(lmax1, lmax2, lmax3, odd))
    weight = torch.randn(rows, count, channels, generator=g, dtype=torch.float64)
    args = tuple(t.to(device, dtype) for t in (x, y, weight))
    return args, {"lmax1": lmax1, "lmax2": lmax2, "lmax3": lmax3, "odd": odd}


OP = Op(
    reference=cg_product,
    backends={"reference": Backend(plain(cg_product), device=None), "cueq": cueq(cg_product)},
    check=check,
    cost=cost,
    example=example,
)
