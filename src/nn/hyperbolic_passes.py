"""Passes over maps of hyperbolic points, with their derivatives: few operations on all channels, few maps kept or made.

A map holds a point of hyperbolic space of curvature -c at every pixel, by a vector that is a row here. What happens to a row
is a combination of few vectors, with coefficients that are found for each pixel from lengths and inner products.
"""

from collections.abc import Iterator

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable
from torch.nn.functional import pad

from ..geometry.hyperbolic.numerics import root, widened

Rows = Float[Tensor, "pixels channels"]
PerPixel = Float[Tensor, " pixels"]
BLOCK = 1 << 16
"""So many numbers are worked on at a time: intermediate results stay in the cache, and no new memory is asked for."""


def as_rows(maps: Float[Tensor, "samples channels h w"]) -> Rows:
    """Every pixel a row, in float32 or better; a view of maps with channels last."""
    return widened(maps).permute(0, 2, 3, 1).flatten(0, 2)


def as_maps(rows: Rows, like: Float[Tensor, "samples _ h w"]) -> Float[Tensor, "samples channels h w"]:
    """The inverse of `as_rows` for maps of this size and dtype, with channels last."""
    samples, _, h, w = like.shape
    return rows.view(samples, h, w, -1).permute(0, 3, 1, 2).to(like.dtype)


def blocks(rows: Rows) -> Iterator[slice]:
    """Rows in parts of `BLOCK` numbers; all at once for a compiler, which fuses what is done to them anyway."""
    if torch.compiler.is_compiling():
        yield slice(None)
    else:
        step = max(1, BLOCK // rows.shape[1])
        yield from (slice(start, start + step) for start in range(0, len(rows), step))


def dots(x: Rows, y: Rows) -> PerPixel:
    """x . y for every row; on a CPU, a product with ones is twice as quick as a sum over the last axis."""
    out, ones = x.new_empty(len(x)), x.new_ones(x.shape[1])
    for part in blocks(x):
        out[part] = (x[part] * y[part]) @ ones
    return out


def over(values: Float[Tensor, "*points"], limit: float) -> Int[Tensor, ""]:
    """How many values are greater. (By floats, as integers are summed six times slower on a CPU.)"""
    return (values > limit).to(values.dtype).sum().long()


def window_sum(
    x: Float[Tensor, "samples 1 h w"], kernel: int, stride: int, padding: int
) -> Float[Tensor, "samples 1 h_out w_out"]:
    """The sum over every window of a convolution, by axis: eight times quicker on a CPU than torch's pooling of one channel."""
    return along_axes(pad(x, [padding] * 4), kernel, stride)


def window_spread(
    x: Float[Tensor, "samples 1 h_out w_out"], kernel: int, stride: int, padding: int, h: int, w: int
) -> Float[Tensor, "samples 1 h w"]:
    """The transpose of `window_sum`, from maps of h x w."""
    more, first = 2 * padding + kernel - 1, kernel - 1
    spread = x.new_zeros(len(x), 1, h + more, w + more)
    spread[:, :, first : h + more - first : stride, first : w + more - first : stride] = x
    return along_axes(spread, kernel, 1)[:, :, padding : h + padding, padding : w + padding]


def along_axes(
    x: Float[Tensor, "samples 1 _h _w"], kernel: int, stride: int
) -> Float[Tensor, "samples 1 _h_out _w_out"]:
    for axis in (2, 3):
        windows = x.unfold(axis, kernel, stride).unbind(-1)
        x = windows[0]
        for shifted in windows[1:]:
            x = x + shifted
    return x


class Windows(torch.autograd.Function):
    """A map, and the squared length of all that a convolution sees of it at once, in float32 or better.

    The map is given back so that both gradients are summed in one pass.
    """

    @staticmethod
    def forward(
        ctx: FunctionCtx, maps: Float[Tensor, "samples channels h w"], kernel: int, stride: int, padding: int
    ) -> tuple[Float[Tensor, "samples channels h w"], Float[Tensor, "samples 1 h_out w_out"]]:
        ctx.save_for_backward(maps)
        ctx.window = kernel, stride, padding
        rows = as_rows(maps)
        squares = dots(rows, rows).view(len(maps), 1, *maps.shape[2:])
        return maps.view_as(maps), window_sum(squares, *ctx.window)

    @staticmethod
    @once_differentiable
    def backward(
        ctx: FunctionCtx,
        gradient: Float[Tensor, "samples channels h w"],
        by_window: Float[Tensor, "samples 1 h_out w_out"],
    ) -> tuple[Tensor, None, None, None]:
        (maps,) = ctx.saved_tensors
        spread = window_spread(by_window, *ctx.window, *maps.shape[2:]).to(maps.dtype)
        return torch.addcmul(gradient, maps, spread, value=2), None, None, None


class Scaled(torch.autograd.Function):
    """Every row, times a factor that is a function of its squared length; or ReLU of this.

    Args:
        rows: of any kind.
        factor, slope: of the function, and its derivative; given as constants.
        relu: whether negative values become zero.
    """

    @staticmethod
    def forward(ctx: FunctionCtx, rows: Rows, factor: PerPixel, slope: PerPixel, relu: bool) -> Rows:
        out = rows * factor.unsqueeze(1)
        if relu:
            out.relu_()
        ctx.relu = relu
        ctx.save_for_backward(rows, factor, slope, out)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, gradient: Rows) -> tuple[Rows, None, None, None]:
        rows, factor, slope, out = ctx.saved_tensors
        radial = dots(gradient, out).div_(factor).mul_(slope).mul_(2)
        if ctx.relu:
            result = torch.ops.aten.threshold_backward(gradient, out, 0).mul_(factor.unsqueeze(1))
        else:
            result = gradient * factor.unsqueeze(1)
        return result.addcmul_(rows, radial.unsqueeze(1)), None, None, None


class Boosted(torch.autograd.Function):
    """The sum u + v of gyrovectors, given by their space parts: v, moved by the boost that brings the origin to u.

    v + (c u . v / (1 + t) + t') u with the times t of u and t' of v, in units of 1 / sqrt(c).
    """

    @staticmethod
    def forward(ctx: FunctionCtx, u: Rows, v: Rows, c: float) -> Rows:
        time, other = ((dots(x, x) * c).add_(1).sqrt_() for x in (u, v))
        product = dots(u, v).mul_(c).div_(time + 1)
        ctx.c = c
        ctx.save_for_backward(u, v, time, other, product)
        return torch.addcmul(v, u, (product + other).unsqueeze(1))

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, gradient: Rows) -> tuple[Rows, Rows, None]:
        u, v, time, other, product = ctx.saved_tensors
        along = dots(gradient, u).mul_(ctx.c)
        mixed = (along / (time + 1)).unsqueeze(1)
        by_v = torch.addcmul(gradient, u, mixed).addcmul_(v, along.div(other).unsqueeze(1))
        radial = mixed.squeeze(1).mul(product).div_(time)
        by_u = gradient * (product + other).unsqueeze(1)
        return by_u.addcmul_(v, mixed).addcmul_(u, radial.unsqueeze(1), value=-1), by_v, None


class Distances(torch.autograd.Function):
    """The point whose coordinates are sinh(k asinh(x)) / sqrt(c), the fully connected layer of HNN++, for windows.

    x = sinh(r) unit . m - cosh(r) sinh(shift) for the window's tangent vector, given by its products m with vectors whose
    length is cosh(shift), and its length r; k asinh(x) is cut at `limit`, and the derivative goes on there as it is.

    Args:
        products: sqrt(c) times m.
        window: |v|^2 of the windows' tangent vectors v; r = 2 sqrt(c) |v|, cut at `limit`, where the derivative is zero.
        shift: the distances of hyperplanes from the origin, as - sinh(shift).
        k: of every output.
        c: minus the curvature.
        limit: the largest distance, in units of 1 / sqrt(c).

    Returns:
        The points' space parts, and how many windows were too long: a constant.
    """

    @staticmethod
    def forward(
        ctx: FunctionCtx,
        products: Rows,
        window: PerPixel,
        shift: Float[Tensor, " channels"],
        k: Float[Tensor, " channels"],
        c: float,
        limit: float,
    ) -> tuple[Rows, Int[Tensor, ""]]:
        r = root(4 * c * window)
        beyond = over(r, limit)
        sinh = r.clamp_max(limit).sinh_()
        factor, time = 2 * sinh / r, (sinh * sinh).add_(1).sqrt_()
        x, y = torch.empty_like(products), torch.empty_like(products)
        for part in blocks(products):
            torch.mul(products[part], factor[part, None], out=x[part]).addmm_(time[part, None], shift[None])
            torch.mul(asinh_cosh(x[part])[0], k, out=y[part]).clamp_(-limit, limit).sinh_().mul_(c**-0.5)
        ctx.c, ctx.limit = c, limit
        ctx.save_for_backward(x, y, r, factor, time, shift, k)
        ctx.mark_non_differentiable(beyond)
        return y, beyond

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, gradient: Rows, _: Tensor | None) -> tuple[Tensor | None, ...]:
        x, y, r, factor, time, shift, k = ctx.saved_tensors
        result, by_k, by_shift = torch.empty_like(x), torch.zeros_like(k), torch.zeros_like(shift)
        by_time, by_factor, ones = torch.empty_like(r), torch.empty_like(r), torch.ones_like(k)
        for part in blocks(x):
            at = x[part]
            angle, cosh = asinh_cosh(at)
            by_angle = (y[part] * y[part]).add_(1 / ctx.c).sqrt_().mul_(gradient[part])
            by_k += angle.mul_(by_angle).sum(0)
            by_x = by_angle.mul_(k).div_(cosh)
            by_shift += time[part] @ by_x
            by_time[part] = by_x @ shift
            by_factor[part] = (by_x * at) @ ones
            torch.mul(by_x, factor[part, None], out=result[part])
        by_factor.addcmul_(time, by_time, value=-1).div_(factor)

        inside = (r <= ctx.limit).to(r.dtype)
        sinh = factor.mul(r).mul_(0.5)
        by_r = (2 * time).mul_(inside).sub_(factor).div_(r).mul_(by_factor).addcmul_(sinh.mul_(inside), by_time)
        return result, by_r.div_(r).mul_(2 * ctx.c), by_shift, by_k, None, None


def asinh_cosh(x: Rows) -> tuple[Rows, Rows]:
    """asinh(x), by a logarithm, as torch's own is ten times slower on a CPU; and the hyperbolic cosine of it."""
    square = x * x
    cosh = (square + 1).sqrt_()
    return square.div_(cosh + 1).add_(x.abs()).log1p_().copysign_(x), cosh
