"""Riemannian SGD (Bonnabel, arXiv:1111.5280) for parameters that are points of hyperbolic space."""

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.optim import Optimizer

from ..geometry.hyperbolic import lorentz

FARTHEST = 10.0
"""No point goes farther from the origin, in units of 1 / sqrt(c)."""


class LorentzSGD(Optimizer):
    """SGD with Nesterov momentum along geodesics of the hyperboloid of curvature -c; the momentum is transported along.

    Computed in float64: the parameters are few, and far from the origin much cancels.

    Args:
        params: points, by their space parts in the last axis.
        lr: how far a step goes for a gradient of one.
        momentum: the part of it that is kept.
        c: minus the curvature.
    """

    def __init__(self, params: Iterable[Any], lr: float, momentum: float, c: float):
        if lr < 0 or not 0 <= momentum < 1 or c <= 0:
            raise ValueError(
                f"lr={lr} must not be negative, momentum={momentum} lie between 0 and 1, c={c} be positive"
            )
        super().__init__(params, {"lr": lr, "momentum": momentum, "c": c})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for space in group["params"]:
                if space.grad is None:
                    continue
                x = lorentz.lift(space.double(), group["c"])
                gradient = lorentz.riemannian_gradient(x, space.grad.double(), group["c"])
                old = self.state[space].get("momentum", torch.zeros_like(x))
                momentum = group["momentum"] * old + gradient
                y = lorentz.expmap(x, -group["lr"] * (gradient + group["momentum"] * momentum), group["c"])
                y = lorentz.lift(near(y[..., 1:], group["c"]), group["c"])
                self.state[space]["momentum"] = lorentz.transport(x, y, momentum, group["c"])
                space.copy_(y[..., 1:])
        return loss


def near(space: Float[Tensor, "*batch n"], c: float) -> Float[Tensor, "*batch n"]:
    """Space parts, those farther than `FARTHEST` from the origin brought back."""
    reach = c**0.5 * space.norm(dim=-1, keepdim=True)
    return space * (math.sinh(FARTHEST) / reach).clamp_max(1.0)
