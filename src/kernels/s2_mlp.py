"""A network applied at each point of a sphere, to features as signals: the nonlinearity of eSCN and of EquiformerV2."""

from collections.abc import Callable
from functools import partial
from math import pi

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import silu

from ..errors import UserError
from ..geometry.s2grid import from_grid_matrix, to_grid_matrix, truncated_components
from ..geometry.tables import constant_table
from .m_layout import check_orders, m_rows
from .native import Native, call, native_backend
from .registry import FLOATS, Backend, Cost, Op, traffic
from .s2_activation import DECAY

NORMALIZATIONS = ("component", "integral")
BLOCK = 1 << 19  # numbers of a signal that the blocked backend holds at a time: what the cache next to a core takes


def s2_mlp(
    x: Float[Tensor, "rows components channels"],
    weight: Float[Tensor, "channels channels"] | None = None,
    *,
    lmax: int,
    mmax: int,
    resolution: tuple[int, int],
    normalization: str = "component",
    m_major: bool = False,
) -> Float[Tensor, "rows components channels"]:
    """Sample features as signals on a grid (beta, alpha), apply SiLU, or SiLU(SiLU(.) weight), and analyse them again.

    x has the components |m| <= mmax of the degrees 0..lmax, degree after degree or in the m-major layout (m_layout.py).
    A linear layer without bias before or after commutes with the grid, and belongs where there are fewer rows: on x.

    integral   the signal is sum of x_lm Y_lm with orthonormal Y (eSCN, arXiv:2302.03655).
    component  each degree has the same share of the signal's variance, which is 1 for features of unit variance
               (EquiformerV2, arXiv:2306.12059): with n_l components in degree l, x_lm is multiplied by
               sqrt(4 pi / (n_l (lmax + 1))). As in its authors' code, a degree that is cut to n_l < 2l + 1 components
               gains the factor (2l + 1) / n_l on the way there and back.

    Equivariant as far as the grid resolves the function: see `s2_activation`.
    """
    like = {"dtype": x.dtype, "device": x.device}
    table = (*resolution, lmax, mmax, normalization, m_major)
    signal = silu(_synthesis(*table, **like) @ x)
    if weight is not None:
        signal = silu(signal @ weight)
    return _analysis(*table, **like) @ signal


@constant_table
def _synthesis(beta: int, alpha: int, lmax: int, mmax: int, normalization: str, m_major: bool) -> np.ndarray:
    matrix = to_grid_matrix((beta, alpha), lmax, mmax, "integral").flatten(0, 1).numpy()
    return (matrix * _scales(lmax, mmax, normalization))[:, _order(lmax, mmax, m_major)]


@constant_table
def _analysis(beta: int, alpha: int, lmax: int, mmax: int, normalization: str, m_major: bool) -> np.ndarray:
    matrix = from_grid_matrix((beta, alpha), lmax, mmax, "integral").flatten(1).numpy()
    degree = _degrees(lmax, mmax)
    gained = 1.0
    if normalization == "component":
        gained = (2 * degree + 1) / (2 * np.minimum(degree, mmax) + 1)
    return (matrix * (gained / _scales(lmax, mmax, normalization))[:, None])[_order(lmax, mmax, m_major)]


def _degrees(lmax: int, mmax: int) -> np.ndarray:
    """The degree of each component, degree after degree."""
    return np.sqrt(truncated_components(lmax, mmax)).astype(int)


def _scales(lmax: int, mmax: int, normalization: str) -> np.ndarray:
    """What multiplies each component of the signal."""
    degree = _degrees(lmax, mmax)
    if normalization == "integral":
        return np.ones(len(degree))
    return np.sqrt(4 * pi / ((2 * np.minimum(degree, mmax) + 1) * (lmax + 1)))


def _order(lmax: int, mmax: int, m_major: bool) -> list[int]:
    """Where each component stands degree after degree."""
    degree = _degrees(lmax, mmax)
    places = list(range(len(degree)))
    if not m_major:
        return places
    m = np.array(truncated_components(lmax, mmax)) - degree * (degree + 1)
    return sorted(places, key=lambda i: (abs(m[i]), m[i] < 0, degree[i]))


@constant_table
def _turns(beta: int, alpha: int, lmax: int, mmax: int, normalization: str, m_major: bool) -> np.ndarray:
    """(alpha, orders): cos or sin of m times the azimuth, up to a factor; of the order |m| come sin and cos, m = 0 first."""
    matrix, order = _grid_of(_synthesis, beta, alpha, lmax, mmax, normalization, m_major)
    found = []
    for m in range(2 * mmax + 1):
        rows = matrix[:, :, order.index(m)]
        found.append(rows[np.abs(rows).max(1).argmax()])
    return np.stack(found, 1) / np.abs(found).max(1)


@constant_table
def _up(*table) -> np.ndarray:
    """(beta, components): what multiplies a component at each colatitude, on its way to the grid."""
    return _colatitudes(_synthesis, *table)


@constant_table
def _down(*table) -> np.ndarray:
    """The same on the way back."""
    return _colatitudes(_analysis, *table)


def _colatitudes(matrix: Callable, *table) -> np.ndarray:
    values, order = _grid_of(matrix, *table)
    turns = _turns(*table, dtype=torch.float64, device="cpu").numpy()[:, order]
    return np.einsum("bak,ak->bk", values, turns) / np.square(turns).sum(0)


def _grid_of(matrix: Callable, beta: int, alpha: int, *rest) -> tuple[np.ndarray, list[int]]:
    """The matrix as (beta, alpha, components), and the order of each component as `_turns` counts them."""
    values = matrix(beta, alpha, *rest, dtype=torch.float64, device="cpu").numpy()
    lmax, mmax, _, m_major = rest
    values = values if matrix is _synthesis else values.T
    degree = _degrees(lmax, mmax)
    m = np.array(truncated_components(lmax, mmax)) - degree * (degree + 1)
    order = (2 * np.abs(m) - (m > 0))[_order(lmax, mmax, m_major)]
    return values.reshape(beta, alpha, -1), order.tolist()


def build_native(
    *,
    lmax: int,
    mmax: int,
    resolution: tuple[int, int],
    normalization: str = "component",
    m_major: bool = False,
) -> Callable[..., Tensor]:
    """Signals point by point, never stored; with a weight, which mixes channels, `blocked`."""
    table = (*resolution, lmax, mmax, normalization, m_major)
    spec = {"lmax": lmax, "mmax": mmax, "resolution": resolution, "normalization": normalization, "m_major": m_major}
    order = torch.tensor(_grid_of(_synthesis, *table)[1])
    sizes = (*resolution, 2 * mmax + 1)

    def tables(x):
        return (*(made(*table, dtype=x.dtype, device=x.device) for made in (_up, _down, _turns)), order)

    def forward(x):
        out = torch.empty_like(x)
        call("s2_mlp", x, *tables(x), out, *x.shape, *sizes)
        return out, ()

    def backward(gradient, args, saved):
        (x,) = args
        by_x = torch.empty_like(x)
        call("s2_mlp_backward", gradient, x, *tables(x), by_x, *x.shape, *sizes)
        return [by_x]

    def pullback(gradient, args, _):
        return [_pullback(gradient, *args, None, spec)[0]]

    pointwise, mixing = Native(partial(s2_mlp, **spec), forward, backward, pullback), build_blocked(**spec)

    def run(x: Tensor, weight: Tensor | None = None) -> Tensor:
        return pointwise(x) if weight is None else mixing(x, weight)

    return run


def build_blocked(
    *,
    lmax: int,
    mmax: int,
    resolution: tuple[int, int],
    normalization: str = "component",
    m_major: bool = False,
) -> Callable[..., Tensor]:
    """Few rows at a time, so that their signals stay in the cache, are never stored, and are made anew for gradients."""
    table = (*resolution, lmax, mmax, normalization, m_major)
    spec = dict(zip(("lmax", "mmax", "normalization", "m_major"), table[2:], strict=True), resolution=resolution)

    def run(x: Tensor, weight: Tensor | None = None) -> Tensor:
        if torch.compiler.is_compiling():
            return s2_mlp(x, weight, **spec)
        return _Blocked.apply(x, weight, table, spec)

    return run


class _Blocked(torch.autograd.Function):
    """Forward and pullback block by block; the pullback of the pullback is that of the reference."""

    @staticmethod
    def forward(ctx, x, weight, table, spec):
        ctx.save_for_backward(x, weight)
        ctx.table, ctx.spec = table, spec
        like = {"dtype": x.dtype, "device": x.device}
        synthesis, analysis = _synthesis(*table, **like), _analysis(*table, **like)
        out = torch.empty_like(x, memory_format=torch.contiguous_format)
        for rows in _blocks(x, len(synthesis)):
            signal = _signal(synthesis, x[rows])
            silu(signal, inplace=True)
            if weight is not None:
                signal = silu(signal @ weight, inplace=True)
            out[rows] = _components(analysis, signal, x[rows])
        return out

    @staticmethod
    def backward(ctx, gradient):
        x, weight = ctx.saved_tensors
        if torch.is_grad_enabled():
            return (*_pullback(gradient, x, weight, ctx.spec), None, None)
        like = {"dtype": x.dtype, "device": x.device}
        synthesis, analysis = _synthesis(*ctx.table, **like), _analysis(*ctx.table, **like)
        to_x = torch.empty_like(x, memory_format=torch.contiguous_format)
        to_weight = None if weight is None else torch.zeros_like(weight)
        for rows in _blocks(x, len(synthesis)):
            first = _signal(synthesis, x[rows])
            to_signal = _signal(analysis.T, gradient[rows])
            if weight is not None:
                hidden = silu(first)
                to_signal = _silu_pullback(to_signal, hidden @ weight)
                to_weight.addmm_(hidden.flatten(0, 1).T, to_signal.flatten(0, 1))
                to_signal = to_signal @ weight.T
            to_x[rows] = _components(synthesis.T, _silu_pullback(to_signal, first), x[rows])
        return to_x, to_weight, None, None


def _blocks(x: Tensor, points: int) -> list[slice]:
    """Slices of rows whose signals are of about BLOCK numbers."""
    step = max(1, BLOCK // (points * max(1, x.shape[2])))
    return [slice(start, start + step) for start in range(0, len(x), step)]


def _signal(matrix: Tensor, x: Tensor) -> Float[Tensor, "points rows channels"]:
    """One product of matrices for all rows and channels."""
    return (matrix @ x.transpose(0, 1).flatten(1)).unflatten(1, (x.shape[0], x.shape[2]))


def _components(matrix: Tensor, signal: Tensor, like: Tensor) -> Float[Tensor, "rows components channels"]:
    return (matrix @ signal.flatten(1)).unflatten(1, (like.shape[0], like.shape[2])).transpose(0, 1)


def _silu_pullback(gradient: Tensor, x: Tensor) -> Tensor:
    return torch.ops.aten.silu_backward(gradient, x)


def _pullback(gradient: Tensor, x: Tensor, weight: Tensor | None, spec: dict) -> tuple[Tensor, Tensor | None]:
    """The gradients of x and weight, by operations that have derivatives."""
    if weight is None:
        return torch.func.vjp(lambda x: s2_mlp(x, **spec), x)[1](gradient)[0], None
    return torch.func.vjp(lambda x, weight: s2_mlp(x, weight, **spec), x, weight)[1](gradient)


def declared_bound(lmax: int, mmax: int, resolution: tuple[int, int]) -> float:
    """The equivariance error that it stays below, in float64 and for features of unit variance.

    As `s2_activation.declared_bound`, an envelope of what was measured: 10^(-k (d - 2)), d how many times over the grid
    resolves the degrees, or the orders where that is less.
    """
    resolved = min((2 * resolution[0] - 1) / max(lmax, 1e-9), (resolution[1] - 1) / max(mmax, 1e-9))
    return max(1e-12, 10 ** (-DECAY["silu"] * (resolved - 2)))


def check(
    x: Tensor,
    weight: Tensor | None = None,
    *,
    lmax: int,
    mmax: int,
    resolution: tuple[int, int],
    normalization: str = "component",
    m_major: bool = False,
) -> None:
    check_orders("s2_mlp", lmax, mmax)
    if normalization not in NORMALIZATIONS:
        raise UserError(f"s2_mlp: normalization={normalization!r}; choose from {', '.join(NORMALIZATIONS)}")
    if resolution[0] <= lmax or resolution[1] <= 2 * mmax:
        raise UserError(
            f"s2_mlp: a grid of {resolution[0]} x {resolution[1]} points cannot hold degree {lmax} and order {mmax}; "
            f"give at least {lmax + 1} x {2 * mmax + 1}"
        )
    if x.ndim != 3 or x.shape[1] != m_rows(lmax, mmax):
        raise UserError(
            f"s2_mlp: x {tuple(x.shape)}; give (rows, {m_rows(lmax, mmax)}, channels) for lmax={lmax}, mmax={mmax}"
        )
    if weight is not None and tuple(weight.shape) != (x.shape[2], x.shape[2]):
        raise UserError(f"s2_mlp: weight {tuple(weight.shape)}; give ({x.shape[2]}, {x.shape[2]}) for this x")


def cost(out: Tensor, x: Tensor, weight: Tensor | None = None, *, resolution: tuple[int, int], **spec) -> Cost:
    """At each point two matrix products, and the function (counted as one) once, or twice around the weight."""
    points = resolution[0] * resolution[1]
    flop = 4 * x.shape[1] + 1 + (0 if weight is None else 2 * x.shape[2] + 1)
    return Cost(x.shape[0] * x.shape[2] * points * flop, traffic(out, x, weight))


def example(dtype, device, seed, *, rows=5, channels=3, lmax=3, mmax=2, resolution=(6, 8)):
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(rows, m_rows(lmax, mmax), channels, generator=g, dtype=torch.float64)
    weight = torch.randn(channels, channels, generator=g, dtype=torch.float64)
    spec = {"lmax": lmax, "mmax": mmax, "resolution": resolution, "m_major": True}
    return (x.to(device, dtype), weight.to(device, dtype)), spec


OP = Op(
    reference=s2_mlp,
    backends={
        "native": native_backend(build_native),
        "blocked": Backend(build_blocked, device=("cpu",), dtypes=FLOATS[:2]),
    },
    check=check,
    cost=cost,
    example=example,
)
