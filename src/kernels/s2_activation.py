"""Nonlinearities for features of degrees 0..lmax: pointwise on a grid of the sphere, or gates by scalars."""

from math import sqrt

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import gelu, silu

from ..errors import UserError
from ..geometry.checks import require_degree
from ..geometry.rotations import random_rotations
from ..geometry.s2grid import from_grid_matrix, to_grid_matrix
from ..geometry.tables import constant_table
from ..geometry.wigner import rotate, wigner_blocks
from .registry import Backend, Cost, Op, plain, traffic
from .triton import backend

FUNCTIONS = {"silu": silu, "gelu": gelu, "tanh": torch.tanh}
DECAY = {
    "silu": 0.45,
    "gelu": 0.4,
    "tanh": 0.28,
}  # decimal digits of equivariance for each lmax that a grid resolves more
KINDS = ("pointwise", "separable", "gated")


def s2_activation(
    x: Float[Tensor, "rows ({lmax}+1)**2 channels"],
    scalars: Float[Tensor, "rows gates channels"] | None = None,
    *,
    lmax: int,
    kind: str,
    function: str = "silu",
    resolution: tuple[int, int] | None = None,
) -> Float[Tensor, "rows ({lmax}+1)**2 channels"]:
    """Apply `function` to features as signals on the sphere, or gate them.

    pointwise   the signal f(r) = sum of x_lm Y_lm(r) / sqrt(lmax + 1), `norm`-normalised Y, is sampled on the grid
                (beta, alpha) = `resolution`, put through the function, and analysed again (eSCN, arXiv:2302.03655).
                Unit-variance features have unit-variance samples; this is e3nn's `component` normalisation.
    separable   likewise for l > 0, while degree 0 is function(scalars), one scalar a channel (EquiformerV2,
                arXiv:2306.12059, section 4).
    gated       degree 0 is function(x_0), and degree l > 0 is x_l times the sigmoid of the l-th of lmax scalars. Exactly
                equivariant; takes no resolution.

    On a grid equivariance is approximate, since the function makes degrees that the grid aliases: `equivariance_error`
    measures by how much, and `declared_bound` says what to expect.
    """
    if kind == "gated":
        gates = torch.sigmoid(scalars).repeat_interleave(_widths(lmax, dtype=torch.int64, device=x.device), 1)
        return torch.cat([FUNCTIONS[function](x[:, :1]), x[:, 1:] * gates], 1)
    like = {"dtype": x.dtype, "device": x.device}
    signal = FUNCTIONS[function](synthesis_matrix(*resolution, lmax, **like) @ x)
    analysis = analysis_matrix(*resolution, lmax, **like)
    if kind == "pointwise":
        return analysis @ signal
    return torch.cat([FUNCTIONS[function](scalars), analysis[1:] @ signal], 1)


@constant_table
def _widths(lmax: int) -> np.ndarray:
    """2l + 1 for l = 1..lmax."""
    return 2 * np.arange(1, lmax + 1) + 1


@constant_table
def synthesis_matrix(beta: int, alpha: int, lmax: int) -> np.ndarray:
    """(points, (lmax + 1)^2); features of variance 1 have values of variance 1."""
    return (to_grid_matrix((beta, alpha), lmax, normalization="norm").flatten(0, 1) / sqrt(lmax + 1)).numpy()


@constant_table
def analysis_matrix(beta: int, alpha: int, lmax: int) -> np.ndarray:
    """((lmax + 1)^2, points), the inverse of synthesis on grids that are fine enough."""
    return (from_grid_matrix((beta, alpha), lmax, normalization="norm").flatten(1) * sqrt(lmax + 1)).numpy()


def equivariance_error(
    lmax: int, resolution: tuple[int, int], function: str = "silu", *, samples: int = 16, seed: int = 0
) -> float:
    """max |f(D x) - D f(x)| / max |f(x)| of the pointwise kind in float64, over random rotations of normal features."""
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(samples, (lmax + 1) ** 2, 4, generator=g, dtype=torch.float64)
    blocks = wigner_blocks(random_rotations(samples, generator=g), lmax)
    spec = {"lmax": lmax, "kind": "pointwise", "function": function, "resolution": resolution}
    after = rotate(s2_activation(x, **spec), blocks)
    before = s2_activation(rotate(x, blocks), **spec)
    return ((before - after).abs().max() / after.abs().max()).item()


def error_curve(
    lmax: int, resolutions: list[tuple[int, int]], function: str = "silu"
) -> dict[tuple[int, int], tuple[float, float]]:
    """{resolution: (measured equivariance error, declared bound)}, the curve to print or plot."""
    return {
        resolution: (equivariance_error(lmax, resolution, function), declared_bound(lmax, resolution, function))
        for resolution in resolutions
    }


def declared_bound(lmax: int, resolution: tuple[int, int], function: str = "silu") -> float:
    """The equivariance error that the pointwise kind stays below, in float64 and for features of unit variance.

    10^(-k (d / lmax - 2)), d the degree that the grid integrates exactly, k a constant of the function: an envelope of
    what was measured for lmax = 1..6 and d up to 12 lmax, not a theorem. Larger features bend the function more and err
    more. Degree 0 alone is constant on the sphere, and exact up to rounding.
    """
    rounding = 1e-12
    if lmax == 0:
        return rounding
    degree = min(2 * resolution[0] - 1, resolution[1] - 1)
    return max(rounding, 10 ** (-DECAY[function] * (degree / lmax - 2)))


def check(
    x: Tensor,
    scalars: Tensor | None = None,
    *,
    lmax: int,
    kind: str,
    function: str = "silu",
    resolution: tuple[int, int] | None = None,
) -> None:
    require_degree("s2_activation", lmax)
    if kind not in KINDS or function not in FUNCTIONS:
        raise UserError(
            f"s2_activation: kind={kind!r}, function={function!r}; choose from {', '.join(KINDS)} and {', '.join(FUNCTIONS)}"
        )
    if (resolution is None) != (kind == "gated"):
        raise UserError(f"s2_activation: kind={kind} and resolution={resolution}; give one, except for gated")
    if resolution is not None and (resolution[0] <= lmax or resolution[1] <= 2 * lmax):
        raise UserError(
            f"s2_activation: a grid of {resolution[0]} x {resolution[1]} points cannot hold degree {lmax}; "
            f"give at least {lmax + 1} x {2 * lmax + 1}"
        )
    if x.ndim != 3 or x.shape[1] != (lmax + 1) ** 2:
        raise UserError(f"s2_activation: x {tuple(x.shape)}; give (rows, {(lmax + 1) ** 2}, channels) for lmax={lmax}")
    gates = {"pointwise": None, "separable": (x.shape[0], 1, x.shape[2]), "gated": (x.shape[0], lmax, x.shape[2])}[kind]
    found = None if scalars is None else tuple(scalars.shape)
    if found != gates:
        raise UserError(f"s2_activation: scalars {found}; {kind} takes {gates} for this x")


def cost(out: Tensor, x: Tensor, scalars: Tensor | None = None, **spec) -> Cost:
    """Two matrix products and the function (counted as one) at each point; a multiplication for each gated component."""
    if spec["kind"] == "gated":
        return Cost(x.numel() + scalars.numel(), traffic(out, x, scalars))
    points = spec["resolution"][0] * spec["resolution"][1]
    return Cost(x.shape[0] * x.shape[2] * points * (4 * x.shape[1] + 1), traffic(out, x, scalars))


def _gridless(*, kind: str, **spec) -> str | None:
    return "gates need no grid, and nothing of them is worth fusing" if kind == "gated" else None


def example(dtype, device, seed, *, rows=5, channels=3, lmax=3, kind="separable", resolution=(8, 14)):
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(rows, (lmax + 1) ** 2, channels, generator=g, dtype=torch.float64)
    gates = {"pointwise": 0, "separable": 1, "gated": lmax}[kind]
    scalars = torch.randn(rows, gates, channels, generator=g, dtype=torch.float64).to(device, dtype)
    spec = {"lmax": lmax, "kind": kind} | ({} if kind == "gated" else {"resolution": resolution})
    return (x.to(device, dtype), *([scalars] if gates else [])), spec


OP = Op(
    reference=s2_activation,
    backends={
        "reference": Backend(plain(s2_activation), device=None),
        "triton": backend("s2_activation", refuses=_gridless),
    },
    check=check,
    cost=cost,
    example=example,
)
