"""Batch norm of points on the hyperboloid in few passes over memory, forward and backward."""

from collections.abc import Callable
from math import sinh
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable

from ..geometry.hyperbolic.numerics import root
from .hyperbolic_passes import PerPixel, Rows, over

Scalar = Float[Tensor, ""]


class Carrying(NamedTuple):
    """How tangent vectors go from p to q: if W at p goes to s + a p + b q, (a, b) is linear in the point's coordinates.

    Both functions are given the times of p and q in units of 1 / sqrt(c), and c times the product of their space parts.
    """

    matrix: Callable[[Scalar, Scalar, Scalar], Float[Tensor, "2 3"]]
    """(a, b), W the direction of a point times sinh of its distance, by the point's time, c s . p and c s . q."""
    gradient: Callable[[Scalar, Scalar, Scalar, Float[Tensor, "2 3"]], tuple[Scalar, Scalar, Scalar]]
    """By the three arguments, from the gradient by the matrix."""


class Normalised(torch.autograd.Function):
    """exp_q(k PT_{p -> q}(log_p(x))) of every row x, with p its centroid and k = gamma / sqrt(variance + eps).

    x has the space part s, cut at `limit`, and the time t (in units of 1 / sqrt(c)). With cosh d = t_p t - c s . p for its
    distance d from p, and g = sinh(k d) / sinh(d), the result is g (s + a p + b q) + cosh(k d) q: two vectors are combined
    with each row, and what they are multiplied by is found on tensors without channels. The rows are read four
    times on the way there; on the way back three times, and the gradient four times. Each way makes one new map.

    Where a distance is cut at `limit`, the derivative is zero; a point that was cut counts as if it had been given there.

    Args:
        rows: the space parts of points.
        q: the space part of the new mean.
        gamma: the new deviation.
        p, variance: to be used in place of those of the rows, if given.
        carrying: how tangent vectors get from p to q.
        c: minus the curvature.
        limit: the largest distance before and after, in units of 1 / sqrt(c).
        eps: is added to the variance.

    Returns:
        The new rows; p and the variance; how many points and distances were beyond the limit. All but the first are constants.
    """

    @staticmethod
    def forward(
        ctx: FunctionCtx,
        rows: Rows,
        q: Float[Tensor, " channels"],
        gamma: Float[Tensor, "1"],
        p: Float[Tensor, " channels"] | None,
        variance: Scalar | None,
        carrying: Carrying,
        c: float,
        limit: float,
        eps: float,
    ) -> tuple[Rows, Float[Tensor, " channels"], Scalar, Int[Tensor, ""]]:
        ctx.carrying, ctx.c, ctx.limit, ctx.eps = carrying, c, limit, eps
        ctx.training = training = p is None
        out = rows * rows
        squares = c * (out @ out.new_ones(out.shape[1]))
        farthest = sinh(limit) ** 2
        inwards = (farthest / squares.clamp_min(1e-30)).clamp_max_(1).sqrt_()
        beyond = over(squares, farthest)
        squares.clamp_max_(farthest)
        x = rows.new_empty(3, len(rows))
        torch.add(squares, 1, out=x[0]).sqrt_()
        scale = None
        if training:
            space, time = inwards @ rows / len(rows), x[0].mean()
            # time^2 - c |space|^2 is at least 1, whatever rounding says
            scale = (time.square() - c * space.dot(space)).clamp_min(1).sqrt()
            p = space / scale
        ends = torch.stack([p, q])
        gram = c * (ends @ ends.mT)
        times = (1 + gram.diagonal()).sqrt()
        matrix = carrying.matrix(times[0], times[1], gram[0, 1])
        x[1:] = ends @ rows.mT
        x[1:] *= inwards * c

        # the boost that brings p to the origin brings s to s + shift p, which is sinh(d) long: nothing cancels near p
        shift = (x[1] / (1 + times[0])).sub_(x[0])
        length = root(squares.addcmul_(shift, (shift * gram[0, 0]).add_(x[1], alpha=2)))
        distance = (length * length).div_(cosh(length).add_(1)).add_(length).log1p_()
        if training:
            variance = distance.dot(distance) / (c * len(rows))
        k = gamma / (variance + eps).sqrt()
        angle = distance * k
        beyond += over(angle.abs(), limit)
        angle.clamp_(-limit, limit)
        sinh_ = angle.sinh()
        g = sinh_ / length
        weights = matrix @ x
        weights *= g
        weights[1] += cosh(sinh_)
        torch.mul(rows, (g * inwards).unsqueeze(1), out=out)
        out.addmm_(weights.mT, ends)
        ctx.save_for_backward(rows, x, inwards, length, distance, g, ends, times, gram, matrix, k, variance, scale)
        ctx.mark_non_differentiable(p, variance, beyond)
        return out, p, variance, beyond

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, gradient: Rows, *_: Tensor | None) -> tuple[Tensor | None, ...]:
        rows, x, inwards, length, distance, g, ends, times, gram, matrix, k, variance, scale = ctx.saved_tensors
        c, channels = ctx.c, rows.new_ones(rows.shape[1])
        grown = g * inwards
        result = gradient * rows
        along = inwards * (result @ channels)  # the gradient's product with s
        by_ends = ends @ gradient.mT  # and with p and q
        weights = matrix @ x
        towards_g = along.add_(weights[0].mul(by_ends[0])).addcmul_(weights[1], by_ends[1])

        # by k: d(sinh kd) = cosh kd, d(cosh kd) = sinh kd; not where k d is cut
        inside = (distance * k).abs_().le(ctx.limit).to(rows.dtype)
        sinh_ = g * length
        cosh_ = cosh(sinh_)
        end = cosh_.clone()
        cosh_ *= inside
        sinh_ *= by_ends[1]
        sinh_ *= inside
        towards_k = (towards_g * cosh_).div_(length).add_(sinh_).dot(distance)
        # by cosh d, of which sinh d and d are functions
        towards = (cosh_ * k).addcmul_(g, cosh(length), value=-1).div_(length).mul_(towards_g).addcmul_(sinh_, k)
        if ctx.training:
            towards.addcmul_(distance, -towards_k * k / ((variance + ctx.eps) * c * len(rows)))
        by_point = rows.new_empty(3, len(rows))
        torch.mul(by_ends, g, out=by_point[:2])
        torch.div(towards, length, out=by_point[2])

        full = torch.cat([matrix, torch.stack([times[0], -torch.ones_like(k[0]), torch.zeros_like(k[0])]).unsqueeze(0)])
        by_matrix = by_point @ x.mT
        by_x = full.mT @ by_point
        weights *= g
        weights[1] += end
        by_p, by_q, by_pq = ctx.carrying.gradient(times[0], times[1], gram[0, 1], by_matrix[:2])
        by_p = by_p + by_matrix[2, 0]
        by_gram = torch.stack([by_p / times[0], by_pq, by_pq, by_q / times[1]]).view(2, 2)
        scaled = c * inwards
        mixed = rows.new_empty(3, len(rows))
        torch.mul(by_x[1:], scaled, out=mixed[:2])
        by_ends = (weights @ gradient).addmm_(mixed[:2], rows).addmm_(by_gram, ends, alpha=c)
        torch.mul(gradient, grown.unsqueeze(1), out=result)
        time = by_x[0]
        if ctx.training:
            radial = by_ends[0].dot(ends[0])
            time -= radial * times[0] / (scale * len(rows))
            space = (by_ends[0] + c * radial * ends[0]) / (scale * len(rows))
            mixed[2] = inwards
            result.addmm_(mixed.mT, torch.cat([ends, space.unsqueeze(0)]))
        else:
            result.addmm_(mixed[:2].mT, ends)
        result.addcmul_(rows, time.div_(x[0]).mul_(scaled).mul_(inwards).unsqueeze(1))
        return result, by_ends[1], (towards_k / (variance + ctx.eps).sqrt()).view(1), *[None] * 6


def cosh(sinh_: PerPixel) -> PerPixel:
    """cosh of what has this sinh."""
    return (sinh_ * sinh_).add_(1).sqrt_()
