"""The Gaunt tensor product: signals on the sphere multiplied point by point (arXiv:2401.10216; 2506.13523 on the grid)."""

import math
from collections.abc import Callable
from functools import cache

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ..errors import UserError
from ..geometry.checks import require_degree
from ..geometry.gaunt import gaunt_tensor
from ..geometry.s2grid import exact_resolution, grid_points, grid_weights
from ..geometry.spherical_harmonics import spherical_harmonics
from ..geometry.tables import constant_table
from .registry import Backend, Cost, Op, plain, traffic
from .triton import backend

LEBEDEV = (*range(3, 32, 2), *range(35, 132, 6))  # the degrees of his tables


def gaunt_product(
    x: Float[Tensor, "rows ({lmax1}+1)**2 channels"],
    y: Float[Tensor, "rows ({lmax2}+1)**2 channels"],
    *,
    lmax1: int,
    lmax2: int,
    lmax3: int,
) -> Float[Tensor, "rows ({lmax3}+1)**2 channels"]:
    """z_c = sum over a, b of G_abc x_a y_b, channel by channel, with the exact Gaunt coefficients G.

    If x and y are the coefficients of two functions in `integral`-normalised harmonics, z has those of their product up
    to degree lmax3. It reaches the couplings with even l1 + l2 + l3 only (no cross product, so nothing that tells left
    from right), each with a fixed weight: weights for single degrees are for the caller to put before and after.

    Backends: `reference` is the dense sum, O(L^6); `grid` multiplies at the points of an exact quadrature, O(L^4) by
    matrix products; `fft` is the algorithm of arXiv:2401.10216, kept to compare with: on a CPU it does not win.
    """
    return torch.einsum("nac,nbc,abk->nkc", x, y, _dense(lmax1, lmax2, lmax3, dtype=x.dtype, device=x.device))


@constant_table
def _dense(lmax1: int, lmax2: int, lmax3: int) -> np.ndarray:
    return gaunt_tensor(lmax1, lmax2, lmax3).numpy()


def on_grid(*, lmax1: int, lmax2: int, lmax3: int) -> Callable[[Tensor, Tensor], Tensor]:
    """Synthesis of both factors at points that integrate degree lmax1 + lmax2 + lmax3, product, and analysis."""
    degrees = (lmax1, lmax2, lmax3)

    def product(x: Tensor, y: Tensor) -> Tensor:
        if not torch.compiler.is_compiling() and torch.is_grad_enabled() and (x.requires_grad or y.requires_grad):
            return _OnGrid.apply(x, y, degrees)
        first, second, _, analysis = _matrices(degrees, x)
        return analysis @ ((first @ x) * (second @ y))

    return product


class _OnGrid(torch.autograd.Function):
    """The coefficients G_abc are symmetric, so that a gradient is the product of the two others, on the same points."""

    @staticmethod
    def forward(ctx, x, y, degrees):
        first, second, _, analysis = _matrices(degrees, x)
        a, b = first @ x, second @ y
        ctx.save_for_backward(x, y, a, b)
        ctx.degrees = degrees
        return analysis @ (a * b)

    @staticmethod
    def backward(ctx, gradient):
        x, y, a, b = ctx.saved_tensors
        lmax1, lmax2, lmax3 = ctx.degrees
        to_x, to_y = ctx.needs_input_grad[:2]
        if torch.is_grad_enabled():
            by_x = _OnGrid.apply(y, gradient, (lmax2, lmax3, lmax1)) if to_x else None
            return by_x, _OnGrid.apply(x, gradient, (lmax1, lmax3, lmax2)) if to_y else None, None
        c = _matrices(ctx.degrees, x)[2] @ gradient
        by_x = analysis_matrix(sum(ctx.degrees), lmax1, dtype=x.dtype, device=x.device) @ (b * c) if to_x else None
        by_y = analysis_matrix(sum(ctx.degrees), lmax2, dtype=x.dtype, device=x.device) @ c.mul_(a) if to_y else None
        return by_x, by_y, None


def _matrices(degrees: tuple[int, int, int], x: Tensor) -> list[Tensor]:
    """The syntheses of all three degrees, and the analysis of the last, in the dtype and on the device of x."""
    like = {"dtype": x.dtype, "device": x.device}
    syntheses = [synthesis_matrix(sum(degrees), lmax, **like) for lmax in degrees]
    return [*syntheses, analysis_matrix(sum(degrees), degrees[2], **like)]


@constant_table
def synthesis_matrix(degree: int, lmax: int) -> np.ndarray:
    """(points, (lmax + 1)^2): harmonics at the points of a quadrature that is exact to this degree."""
    points = torch.from_numpy(_quadrature(degree)[0])
    return spherical_harmonics(points, lmax, normalize=False, normalization="integral").numpy()


@constant_table
def analysis_matrix(degree: int, lmax: int) -> np.ndarray:
    """((lmax + 1)^2, points): coefficients from values at these points."""
    return synthesis_matrix(degree, lmax).numpy().T * _quadrature(degree)[1]


@cache
def _quadrature(degree: int) -> tuple[np.ndarray, np.ndarray]:
    """Points (n, 3) and weights (n,) that integrate polynomials of this degree over the sphere.

    Lebedev's, a fifth to a quarter fewer than Gauss-Legendre's, which go on where his tables end.
    """
    order = next((order for order in LEBEDEV if order >= degree), None)
    if order is None:
        grid = exact_resolution(degree)
        return grid_points(grid).flatten(0, 1).numpy(), grid_weights(grid).flatten().numpy()
    from scipy.integrate import lebedev_rule

    points, weights = lebedev_rule(order)
    return np.ascontiguousarray(points.T), weights


def by_fft(x: Tensor, y: Tensor, *, lmax1: int, lmax2: int, lmax3: int) -> Tensor:
    """Both factors as 2D Fourier series of the angles, multiplied by FFT, and projected (arXiv:2401.10216, section 3.2).

    A harmonic of degree l is a trigonometric polynomial of degree l in the colatitude, too, once that runs round a
    whole circle; so the product has orders up to lmax1 + lmax2 in both angles, and that many samples suffice.
    """
    if x.numel() == 0:  # which FFT libraries refuse
        return gaunt_product(x, y, lmax1=lmax1, lmax2=lmax2, lmax3=lmax3)
    top = lmax1 + lmax2
    size = (2 * top + 1, 2 * top + 1)
    kind = torch.complex128 if x.dtype == torch.float64 else torch.complex64
    factors = []
    for features, lmax in ((x, lmax1), (y, lmax2)):
        series = _real_times_complex(features, _series(lmax, top, dtype=kind, device=x.device))
        factors.append(torch.fft.ifft2(series.unflatten(-1, size), norm="forward"))
    product = torch.fft.fft2(factors[0] * factors[1], norm="forward").flatten(2)
    return (product @ _projection(lmax3, top, dtype=kind, device=x.device)).real.transpose(1, 2)


def _real_times_complex(features: Tensor, series: Tensor) -> Tensor:
    """(rows, components, channels) times (components, frequencies): (rows, channels, frequencies)."""
    features = features.transpose(1, 2)
    return torch.complex(features @ series.real, features @ series.imag)


def _frequencies(top: int) -> np.ndarray:
    """-top ... top in the order of the FFT."""
    return np.fft.fftfreq(2 * top + 1, 1 / (2 * top + 1))


@constant_table
def _series(lmax: int, top: int) -> np.ndarray:
    """Fourier coefficients of each harmonic over (colatitude, azimuth), both of period 2 pi: (components, u v)."""
    angle = torch.arange(2 * top + 1, dtype=torch.float64) * (2 * math.pi / (2 * top + 1))
    theta, phi = torch.meshgrid(angle, angle, indexing="ij")
    points = torch.stack([theta.sin() * phi.sin(), theta.cos(), theta.sin() * phi.cos()], -1)
    values = spherical_harmonics(points, lmax, normalize=False, normalization="integral")
    return torch.fft.fft2(values, dim=(0, 1), norm="forward").flatten(0, 1).T.numpy()


@constant_table
def _projection(lmax: int, top: int) -> np.ndarray:
    """The integral of Y_lm exp(i (u theta + v phi)) over the sphere, (u v, components), for |u|, |v| <= top.

    With Y_lm as a Fourier series itself, only the integrals of exp(i k theta) sin(theta) from 0 to pi are left:
    (1 + exp(i pi k)) / (1 - k^2), and i pi k / 2 for k = 1 and -1.
    """
    wide = max(top, lmax)
    own, other = _frequencies(wide), _frequencies(top)
    series = _series(lmax, wide, dtype=torch.complex128).numpy().reshape(-1, len(own), len(own))
    k = own[None, :] + other[:, None]
    odd = np.abs(k) == 1
    integral = np.where(odd, 0.5j * np.pi * k, np.where(k % 2 == 0, 2, 0) / np.where(odd, 1, 1 - k**2))
    azimuth = 2 * np.pi * (own[None, :] + other[:, None] == 0)
    return np.einsum("ust,as,bt->abu", series, integral, azimuth, optimize=True).reshape(len(other) ** 2, -1)


def check(x: Tensor, y: Tensor, *, lmax1: int, lmax2: int, lmax3: int) -> None:
    for lmax in (lmax1, lmax2, lmax3):
        require_degree("gaunt_product", lmax)
    shapes = [(*x.shape[:1], (lmax + 1) ** 2, *x.shape[2:]) for lmax in (lmax1, lmax2)]
    if x.ndim != 3 or [tuple(x.shape), tuple(y.shape)] != shapes:
        raise UserError(
            f"gaunt_product: x {tuple(x.shape)} and y {tuple(y.shape)} for lmax1={lmax1}, lmax2={lmax2}; "
            f"give (rows, {(lmax1 + 1) ** 2}, channels) and (rows, {(lmax2 + 1) ** 2}, channels)"
        )


def cost(out: Tensor, x: Tensor, y: Tensor, *, lmax1: int, lmax2: int, lmax3: int) -> Cost:
    """The three matrix products of the grid, and a multiplication at each point."""
    points = len(_quadrature(lmax1 + lmax2 + lmax3)[1])
    components = x.shape[1] + y.shape[1] + out.shape[1]
    return Cost(x.shape[0] * x.shape[2] * points * (2 * components + 1), traffic(out, x, y))


def example(dtype, device, seed, *, rows=5, channels=3, lmax1=3, lmax2=2, lmax3=4):
    g = torch.Generator().manual_seed(seed)
    x, y = (torch.randn(rows, (n + 1) ** 2, channels, generator=g, dtype=torch.float64) for n in (lmax1, lmax2))
    return (x.to(device, dtype), y.to(device, dtype)), {"lmax1": lmax1, "lmax2": lmax2, "lmax3": lmax3}


OP = Op(
    reference=gaunt_product,
    backends={
        "grid": Backend(on_grid, device=None),
        "reference": Backend(plain(gaunt_product), device=None),
        "fft": Backend(plain(by_fft), dtypes=(torch.float64, torch.float32)),
        "triton": backend("gaunt_product"),
    },
    check=check,
    cost=cost,
    example=example,
)
