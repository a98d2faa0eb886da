"""Riemannian SGD for parameters that are subspaces (arXiv:2308.01547, algorithm 1)."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.optim import Optimizer


class GrassmannSGD(Optimizer):
    """SGD with momentum along the geodesics of Grassmann manifolds.

    Each step projects the gradient and the old momentum to the tangent space at S, adds them up, goes along the geodesic
    in the opposite direction, and takes away rounding errors by a QR decomposition.

    Args:
        params: orthonormal bases in their last two axes, (..., n, k) with k <= n.
        lr: how far a step goes for a gradient of one.
        momentum: lambda.
    """

    def __init__(self, params: Iterable[Any], lr: float, momentum: float):
        if lr < 0 or not 0 <= momentum < 1:
            raise ValueError(f"lr={lr} must not be negative, and momentum={momentum} lie between 0 and 1")
        super().__init__(params, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for s in group["params"]:
                if s.grad is None:
                    continue
                m = tangent(s, s.grad)
                if "momentum" in self.state[s]:
                    m += group["momentum"] * tangent(s, self.state[s]["momentum"])
                self.state[s]["momentum"] = m
                s.copy_(orthonormal(geodesic(s, -group["lr"] * m)))
        return loss


def tangent(s: Float[Tensor, "*batch n k"], d: Float[Tensor, "*batch n k"]) -> Float[Tensor, "*batch n k"]:
    """(I - S S^T) D: what of D moves the subspace, not the basis in it."""
    return d - s @ (s.mT @ d)


def geodesic(s: Float[Tensor, "*batch n k"], velocity: Float[Tensor, "*batch n k"]) -> Float[Tensor, "*batch n k"]:
    """Where the geodesic from S with a tangent vector as velocity is after unit time (Edelman et al., eq. 2.65)."""
    u, angles, vt = torch.linalg.svd(velocity, full_matrices=False)
    return (s @ vt.mT * angles.cos().unsqueeze(-2) + u * angles.sin().unsqueeze(-2)) @ vt


def orthonormal(s: Float[Tensor, "*batch n k"]) -> Float[Tensor, "*batch n k"]:
    """The orthonormal basis next to one that nearly is: QR, with the signs that leave every column where it is."""
    q, r = torch.linalg.qr(s)
    return q * r.diagonal(dim1=-2, dim2=-1).sign().unsqueeze(-2)
