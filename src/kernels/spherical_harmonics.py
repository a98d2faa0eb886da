"""Real spherical harmonics of edges."""

from collections.abc import Callable
from importlib.util import find_spec
from math import pi, sqrt
from operator import index

import torch
from jaxtyping import Float
from torch import Tensor

from ..errors import UserError
from ..geometry import spherical_harmonics as geometry
from ..geometry.rotations import unit_vectors
from . import harmonics_native
from .compiled import compiled
from .native import native_backend
from .registry import Backend, Cost, Op, plain, traffic
from .triton import backend


def spherical_harmonics(
    r: Float[Tensor, "edges 3"], *, lmax: int, normalize: bool = True, normalization: str = "component"
) -> Float[Tensor, "edges components"]:
    """All Y_lm(r), l = 0..lmax, in the order, normalisations and treatment of zero vectors of `erlangen.geometry`."""
    return geometry.spherical_harmonics(r, index(lmax), normalize=normalize, normalization=normalization)


def check(r: Tensor, *, lmax: int, normalize: bool = True, normalization: str = "component") -> None:
    if r.ndim != 2 or r.shape[1] != 3:
        raise UserError(f"spherical_harmonics: r is {tuple(r.shape)}; give (edges, 3)")
    if lmax < 0:
        raise UserError(f"spherical_harmonics: lmax={lmax}; need lmax >= 0")
    geometry.normalization_scales(lmax, normalization)


def cost(out: Tensor, r: Tensor, *, lmax: int, **normalization) -> Cost:
    """Per edge: 6 for each power of z + ix, 4 for each Legendre function, 1 for each component."""
    flop = 6 * lmax + 2 * (lmax + 1) * (lmax + 2) + out.shape[1]
    return Cost(r.shape[0] * flop, traffic(out, r))


def example(dtype, device, seed, *, edges=30, lmax=3):
    g = torch.Generator().manual_seed(seed)
    return (torch.randn(edges, 3, generator=g, dtype=torch.float64).to(device, dtype),), {"lmax": lmax}


def build_sphericart(lmax: int, normalize: bool = True, normalization: str = "component") -> Callable:
    """sphericart's solid harmonics, which are orthonormal and have z for their polar axis."""
    from sphericart.torch import SolidHarmonics

    polynomials = SolidHarmonics(lmax)
    scales = geometry.normalization_scales(lmax, normalization)
    rows = [s * sqrt(4 * pi) for degree, s in enumerate(scales) for _ in range(2 * degree + 1)]
    scale = torch.tensor(rows, dtype=torch.float64)

    def harmonics(r: Tensor) -> Tensor:
        r = unit_vectors(r) if normalize else r
        return polynomials(r[:, [2, 0, 1]]) * scale.to(r)

    return harmonics


def without_sphericart() -> str | None:
    """What is missing on this machine, or None."""
    found = find_spec("sphericart") is not None and find_spec("sphericart.torch") is not None
    return None if found else "sphericart is not installed; pip install sphericart-torch"


OP = Op(
    reference=spherical_harmonics,
    backends={
        "native": native_backend(harmonics_native.build),
        "compiled": compiled(spherical_harmonics),
        "reference": Backend(plain(spherical_harmonics), device=None),
        "sphericart": Backend(build_sphericart, dtypes=(torch.float64, torch.float32), missing=without_sphericart),
        "triton": backend("spherical_harmonics"),
    },
    check=check,
    cost=cost,
    example=example,
)
