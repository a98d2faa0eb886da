"""AdamP: Slowing Down the Slowdown for Momentum Optimizers on Scale-invariant Weights. Heo, Chun, Oh, Han, Yun, Kim, Uh, Ha;
ICLR 2021, arXiv:2006.08217.

A weight before a normalisation has no scale, so its gradient is orthogonal to it; momentum is not, and makes it grow until its
effective learning rate is gone. AdamP and SGDP take from each update its component along such weights (eqs. 10 to 12), and
weaken their weight decay. Weight decay is decoupled from the gradient.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.optim import Optimizer

EPS = 1e-8
"""Below it, lengths of weights and gradients count as zero."""


class Projected(Optimizer, ABC):
    """What both share: one update for each parameter, its projection, and the decay.

    Args:
        params: parameters or groups of them.
        options: of a group; `delta` and `wd_ratio` among them.
    """

    def __init__(self, params: Iterable[Any], **options: Any):
        for name in ("lr", "weight_decay", "delta", "wd_ratio"):
            if options[name] < 0:
                raise ValueError(f"{name}={options[name]} must not be negative")
        super().__init__(params, options)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            decay = group["lr"] * self.decay(group)
            for p in group["params"]:
                if p.grad is None:
                    continue
                update = self.update(p.grad, self.state[p], group)
                if p.ndim > 1:
                    update, ratio = projected(p, p.grad, update, group["delta"], group["wd_ratio"])
                    p.mul_(1 - decay * ratio)
                else:
                    p.mul_(1 - decay)
                p.add_(update, alpha=-group["lr"])
        return loss

    @abstractmethod
    def update(self, gradient: Tensor, state: dict[str, Any], group: dict[str, Any]) -> Tensor:
        """What is subtracted from the parameter, but for the learning rate."""

    @abstractmethod
    def decay(self, group: dict[str, Any]) -> float:
        """The decay of a weight in a step, but for the learning rate."""


class AdamP(Projected):
    """Adam with the projection (algorithm 3); with delta = 0, AdamW.

    Args:
        params: parameters or groups of them.
        lr, betas, eps: Adam's.
        weight_decay: decoupled, times the learning rate.
        delta: how orthogonal to its gradient a weight must be to count as scale-invariant, eq. (12).
        wd_ratio: the part of the decay that these keep.
        nesterov: look ahead by one momentum.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float,
        betas: tuple[float, float] | list[float],
        eps: float,
        weight_decay: float,
        delta: float,
        wd_ratio: float,
        nesterov: bool,
    ):
        if not all(0 <= beta < 1 for beta in betas):
            raise ValueError(f"betas={list(betas)} must lie between 0 and 1")
        options = {"lr": lr, "betas": tuple(betas), "eps": eps, "weight_decay": weight_decay}
        super().__init__(params, **options, delta=delta, wd_ratio=wd_ratio, nesterov=nesterov)

    def update(self, gradient: Tensor, state: dict[str, Any], group: dict[str, Any]) -> Tensor:
        beta1, beta2 = group["betas"]
        if not state:
            state.update(step=0, exp_avg=torch.zeros_like(gradient), exp_avg_sq=torch.zeros_like(gradient))
        state["step"] += 1
        mean = state["exp_avg"].lerp_(gradient, 1 - beta1)
        square = state["exp_avg_sq"].mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)
        scale = (square / (1 - beta2 ** state["step"])).sqrt_().add_(group["eps"])
        if group["nesterov"]:
            mean = mean.lerp(gradient, 1 - beta1)
        return mean / scale.mul_(1 - beta1 ** state["step"])

    def decay(self, group: dict[str, Any]) -> float:
        return group["weight_decay"]


class SGDP(Projected):
    """SGD with momentum and the projection (algorithm 2).

    Args:
        params: parameters or groups of them.
        lr, momentum, nesterov: SGD's.
        weight_decay: decoupled, times lr / (1 - momentum), which is how far momentum takes a constant gradient.
        delta, wd_ratio: see AdamP.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float,
        momentum: float,
        weight_decay: float,
        delta: float,
        wd_ratio: float,
        nesterov: bool,
    ):
        if not 0 <= momentum < 1:
            raise ValueError(f"momentum={momentum} must lie between 0 and 1")
        options = {"lr": lr, "momentum": momentum, "weight_decay": weight_decay}
        super().__init__(params, **options, delta=delta, wd_ratio=wd_ratio, nesterov=nesterov)

    def update(self, gradient: Tensor, state: dict[str, Any], group: dict[str, Any]) -> Tensor:
        if not state:
            state["momentum"] = torch.zeros_like(gradient)
        momentum = state["momentum"].mul_(group["momentum"]).add_(gradient)
        if group["nesterov"]:
            return gradient + group["momentum"] * momentum
        return momentum.clone()

    def decay(self, group: dict[str, Any]) -> float:
        return group["weight_decay"] / (1 - group["momentum"])


def projected(
    weight: Float[Tensor, "out *rest"],
    gradient: Float[Tensor, "out *rest"],
    update: Float[Tensor, "out *rest"],
    delta: float,
    ratio: float,
) -> tuple[Float[Tensor, "out *rest"], Float[Tensor, ""]]:
    """The update without its component along scale-invariant weights, and the factor of their decay, eqs. (11) and (12).

    A weight w of d numbers counts as scale-invariant where |cos(w, gradient)| < delta / sqrt(d): each row, if all rows do,
    else the whole. Both are computed and one is taken: a branch would make a GPU wait.
    """
    results = []
    for rows in (len(weight), 1):
        w, g, u = (tensor.reshape(rows, -1) for tensor in (weight, gradient, update))
        direction = w / (w.norm(dim=1, keepdim=True) + EPS)
        cosine = (direction * g).sum(1).abs() / g.norm(dim=1).clamp(min=EPS)
        invariant = (cosine < delta / math.sqrt(w.shape[1])).all()
        results.append((invariant, (u - direction * (direction * u).sum(1, keepdim=True)).view_as(update)))
    (by_row, without_rows), (as_whole, without_whole) = results
    rest = torch.where(by_row, without_rows, torch.where(as_whole, without_whole, update))
    return rest, 1 - (1 - ratio) * (by_row | as_whole).to(weight.dtype)
