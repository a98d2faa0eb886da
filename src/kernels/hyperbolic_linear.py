"""The fully connected layer of HNN++ for the windows of a convolution (arXiv:2006.08210, section 3.2), after its products.

Output j has the signed distance k_j asinh(x_j) from the j-th coordinate hyperplane; for a window at the distance r from the
origin, in units of 1 / sqrt(c), in the direction u, x_j is sinh(r) u . m_j - cosh(r) sinh(d_j).
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from ..errors import UserError
from ..geometry.hyperbolic.numerics import root
from .hyperbolic_rows import Count, PerPixel, Rows, check_curvature, check_rows, over, random_tensors
from .native import call, native
from .registry import Cost, Op, Tolerance, traffic


def hyperbolic_linear(
    products: Rows,
    window: PerPixel,
    shift: Float[Tensor, " channels"],
    k: Float[Tensor, " channels"],
    *,
    c: float,
    limit: float,
) -> tuple[Rows, Count]:
    """sinh(k asinh(x)) / sqrt(c), the space parts of points, and how many windows were too long.

    Args:
        products: sqrt(c) times those of the window's tangent vector v with vectors of the length cosh(shift).
        window: |v|^2; r = 2 sqrt(c) |v| is cut at `limit`, where the derivative is zero.
        shift: the distances of hyperplanes from the origin, as - sinh(shift).
        k: of every output; k asinh(x) is cut at `limit`, and the derivative goes on there as it is.
        c: minus the curvature.
        limit: the largest distance, in units of 1 / sqrt(c).
    """
    r = root(4 * c * window)
    sinh = r.clamp_max(limit).sinh()
    time = (sinh.square() + 1).sqrt()
    x = products * (2 * sinh / r).unsqueeze(1) + time.unsqueeze(1) * shift
    angle = x.asinh() * k
    cut = angle + (angle.clamp(-limit, limit) - angle).detach()
    return cut.sinh() / math.sqrt(c), over(r, limit)


def forward(products, window, shift, k, *, c, limit):
    out, per = torch.empty_like(products), products.new_empty(3, len(products))
    beyond = torch.empty((), dtype=torch.long)
    call("hyperbolic_linear", products, window, shift, k, out, per, beyond, *products.shape, c, limit)
    return (out, beyond), (out, per)


def backward(gradient, args, saved, *, c, limit):
    (products, _, shift, k), (out, per) = args, saved
    found = [torch.empty_like(tensor) for tensor in args]
    call("hyperbolic_linear_backward", gradient, products, shift, k, out, per, *found, *products.shape, c, limit)
    return found


def check(products: Tensor, window: Tensor, shift: Tensor, k: Tensor, *, c: float, limit: float) -> None:
    check_rows("hyperbolic_linear", products=products)
    check_curvature("hyperbolic_linear", c)
    if window.shape != products.shape[:1] or shift.shape != products.shape[1:] or k.shape != products.shape[1:]:
        raise UserError(
            f"hyperbolic_linear: products {tuple(products.shape)}, window {tuple(window.shape)}, shift {tuple(shift.shape)}, "
            f"k {tuple(k.shape)}; give (pixels, channels), (pixels,), (channels,), (channels,)"
        )


def cost(out, products, window, shift, k, *, c, limit) -> Cost:
    return Cost(16 * products.numel(), traffic(out, products, window, shift, k))


def example(dtype, device, seed, *, pixels=40, channels=5):
    sizes = (pixels, channels), (pixels,), (channels,), (channels,)
    products, window, shift, k = random_tensors(seed, dtype, device, *sizes)
    return (products, window.square() + 0.1, shift, k / 4), {"c": 0.5, "limit": 9.0}


OP = Op(
    reference=hyperbolic_linear,
    backends={"native": native(hyperbolic_linear, forward, backward)},
    check=check,
    cost=cost,
    example=example,
    tolerance=Tolerance(forward=5e-6, gradient=2e-5),
)
