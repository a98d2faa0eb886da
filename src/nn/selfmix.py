"""Selfmix: features of all degrees multiplied with themselves, as functions on the sphere (arXiv:2401.10216)."""

from math import pi, sqrt

import torch
from jaxtyping import Float
from torch import Tensor, nn

from .. import kernels
from ..kernels import Kernels
from .so3_layers import component_degrees


class Selfmix(nn.Module):
    """z_l = w_l sum over l1, l2 of the Gaunt product of w_l1 x_l1 and w_l2 x_l2, channel by channel.

    The equivariant feature interaction of section 3.3, where the weight of a coupling is the product of one for each of its
    three degrees, w_l1 w_l2 w_l, so that it can be computed as a product of functions. Degrees above lmax are left out. It is
    exactly equivariant, and has no pseudovectors (couplings of odd l1 + l2 + l3).

    Chosen here, since the paper's code for OC20 is not released: each channel has weights of its own, both factors are drawn
    from a normal distribution, so that they differ, and w_l begins with the number that gives the product the mean square,
    over the sphere, of features of unit variance.

    Args:
        choice: which backends run its kernel.
        lmax: the highest degree.
        channels: of each component.
        order: the highest derivative that will be taken.
    """

    def __init__(self, choice: Kernels, lmax: int, channels: int, order: int = 2):
        super().__init__()
        self.lmax = lmax
        self.product = kernels.get("gaunt_product", choice, order=order, lmax1=lmax, lmax2=lmax, lmax3=lmax)
        self.factors = nn.Parameter(torch.randn(2, lmax + 1, channels))
        self.out = nn.Parameter(torch.full((lmax + 1, channels), sqrt(4 * pi) / (lmax + 1)))

    def forward(self, x: Float[Tensor, "nodes components channels"]) -> Float[Tensor, "nodes components channels"]:
        degree = component_degrees(self.lmax, dtype=torch.int64, device=x.device)
        left, right = self.factors.index_select(1, degree)
        return self.product(x * left, x * right) * self.out.index_select(0, degree)
