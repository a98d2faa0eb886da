"""What nodes' features of SO(3) are read out by: invariants and vectors."""

from math import pi

import numpy as np
from jaxtyping import Float
from torch import Tensor, nn

from ..geometry.spherical_harmonics import spherical_harmonics
from ..geometry.tables import constant_table, no_autocast


class SphereIntegral(nn.Module):
    """The mean over points r of the sphere of f(x(r)), or of f(x(r)) r, f a network of each point (arXiv:2302.03655).

    Most of it cancels, so that it ignores autocast.

    Args:
        lmax, channels: of the nodes' features.
        outputs: how many.
        degree: 0 for invariants, 1 for vectors; what comes out is (nodes, 2 degree + 1, outputs).
        samples: how many points.
    """

    def __init__(self, lmax: int, channels: int, outputs: int, degree: int, samples: int):
        super().__init__()
        self.lmax, self.samples, self.degree = lmax, samples, degree
        self.network = point_network(channels, outputs)

    def forward(self, x: Float[Tensor, "nodes components channels"]) -> Float[Tensor, "nodes orders outputs"]:
        like = {"dtype": self.network[0].weight.dtype, "device": x.device}
        with no_autocast(x):
            values = self.network(sphere_harmonics(self.samples, self.lmax, **like) @ x.to(like["dtype"]))
            if self.degree == 0:
                return values.mean(1, keepdim=True)
            return sphere_points(self.samples, **like).T @ values / self.samples


class GatedReadout(nn.Module):
    """f(x_0), or the sum over channels of x_1 f(x_0): exactly equivariant. Arguments as those of `SphereIntegral`."""

    def __init__(self, channels: int, outputs: int, degree: int):
        super().__init__()
        self.degree, self.outputs = degree, outputs
        self.network = point_network(channels, outputs * (channels if degree else 1))

    def forward(self, x: Float[Tensor, "nodes components channels"]) -> Float[Tensor, "nodes orders outputs"]:
        weights = self.network(x[:, :1])
        if self.degree == 0:
            return weights
        return x[:, 1:4] @ weights.unflatten(2, (-1, self.outputs)).squeeze(1)


def point_network(channels: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(channels, channels),
        nn.SiLU(),
        nn.Linear(channels, channels),
        nn.SiLU(),
        nn.Linear(channels, outputs, bias=False),
    )


@constant_table
def sphere_points(count: int) -> np.ndarray:
    """A golden spiral (count, 3), each point scaled by the inverse density around it, 1 on average."""
    index = np.arange(count)
    azimuth = 2 * pi * index / ((1 + 5**0.5) / 2)
    z = 1 - 2 * (index + 0.5) / count
    radius = np.sqrt(1 - z**2)
    points = np.stack([np.cos(azimuth) * radius, np.sin(azimuth) * radius, z], 1)
    distance2 = ((points[:, None] - points) ** 2).sum(-1)
    sparseness = 1 / np.exp(-distance2 / 0.15).sum(1)
    return points * (sparseness / sparseness.mean())[:, None]


@constant_table
def sphere_harmonics(count: int, lmax: int) -> np.ndarray:
    """Orthonormal harmonics at the points (count, (lmax+1)^2), as polynomials: they grow with a point's length."""
    return spherical_harmonics(sphere_points(count), lmax, normalize=False, normalization="integral").numpy()
