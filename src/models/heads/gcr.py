"""Grassmann Class Representation. Wang, Li, Zhao, et al.; ICCV 2023, arXiv:2308.01547.

Each class is a k-dimensional subspace, and its logit the length of the feature's projection onto it. The subspaces are points
of a Grassmann manifold, where Riemannian SGD moves them (section 4.2) whatever optimiser trains the rest. Features are scaled
to the length gamma (25 in the authors' code). With k = 1 the logit is gamma |cos|.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import normalize
from torch.optim import Optimizer

from ...errors import UserError
from ...optim.riemannian import GrassmannSGD


class Grassmann(nn.Module):
    """logit_c = gamma |S_c^T x| / |x|, S_c an orthonormal basis of the subspace of class c (eqs. 3 and 4).

    Args:
        channels, classes: of the features and of the benchmark.
        dim: k, of the subspaces.
        gamma: the largest logit.
        lr, momentum: of the Riemannian SGD; the schedule applies to it too.
    """

    def __init__(self, channels: int, classes: int, dim: int, gamma: float, lr: float, momentum: float):
        super().__init__()
        if not 1 <= dim <= channels:
            raise UserError(
                f"head.dim={dim}: subspaces of features with {channels} channels have 1 to {channels} dimensions"
            )
        self.gamma, self.lr, self.momentum = gamma, lr, momentum
        self.subspaces = nn.Parameter(torch.linalg.qr(torch.randn(classes, channels, dim)).Q)

    def own_optimizer(self) -> Optimizer:
        return GrassmannSGD([self.subspaces], self.lr, self.momentum)

    def forward(self, x: Float[Tensor, "samples channels"]) -> Float[Tensor, "samples classes"]:
        coordinates = torch.einsum("bn,cnk->bck", normalize(x, dim=-1), self.subspaces)
        return self.gamma * coordinates.norm(dim=-1)
