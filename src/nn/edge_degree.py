"""The edge-degree embedding: what a node knows of the directions of its edges before the first message."""

from jaxtyping import Float, Int
from torch import Tensor, nn

from .. import kernels
from ..kernels import Kernels
from .edge_frames import Edges
from .edge_radial import EdgeRadial
from .so2_layers import truncation_gain


class EdgeDegreeEmbedding(nn.Module):
    """Sum over edges of D^T (weights of the edge in the rows m = 0, zero elsewhere), over the average degree.

    In the frame of an edge its own spherical harmonics have m = 0 only, so this is the sum of radial functions times
    Y(r) (of Equiformer, arXiv:2206.11990; the constants are those of EquiformerV2's code, arXiv:2306.12059).

    Args:
        choice: which backends run its kernels.
        radial: makes (lmax+1) * channels weights for each edge.
        lmax, mmax: the highest degree, the highest order; mmax only decides on the gain of truncated degrees.
        average_degree: what the sum is divided by.
        order: the highest derivative with respect to the positions.
    """

    def __init__(self, choice: Kernels, radial: EdgeRadial, lmax: int, mmax: int, average_degree: float, order: int):
        super().__init__()
        self.radial = radial
        self.lmax, self.mmax, self.average_degree = lmax, mmax, average_degree
        self.rotate_scatter = kernels.get("rotate_scatter", choice, order=order, lmax=lmax, mmax=0)

    def forward(
        self, basis: Float[Tensor, "edges basis"], z: Int[Tensor, " nodes"], edges: Edges
    ) -> Float[Tensor, "nodes components channels"]:
        weights = self.radial(basis, z, edges.index).unflatten(1, (self.lmax + 1, -1))
        gain = truncation_gain(self.lmax, self.mmax, dtype=basis.dtype, device=basis.device)
        return self.rotate_scatter(weights, edges.index[1], edges.D, len(z)) * (gain / self.average_degree)
