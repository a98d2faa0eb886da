"""Tensor Field Networks. Thomas, Smidt, Kearnes, Yang, Li, Kohlhoff, Riley; 2018, arXiv:1802.08219.

Implements the layers of section 4: filters R(|r|) Y_l(r) and their tensor product with the features (4.1), self-interaction
(4.2) and the nonlinearity eta(|V| + b) V (4.3), with eta the sigmoid, and SiLU for scalars. Features have a degree and no
parity: all couplings of degrees take part, the antisymmetric ones too, and the network tells left from right. With the
Gaunt tensor product (arXiv:2401.10216), which has the couplings of even l1 + l2 + l3 only, it does not.

Where the authors' code keeps the paths to one degree apart until the next self-interaction, they are summed here, each
with radial weights of its own (the product `uvu`). A point's own term of the convolution, where only the filter of degree 0
is not zero, is a self-interaction.
"""

from collections.abc import Callable
from typing import Any, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from ... import kernels
from ...errors import UserError
from ...geometry.rotations import safe_norm
from ...kernels import Kernels
from ...kernels.cg_product import paths
from ...nn.gradient import with_forces
from ...nn.pooled_network import PooledNetwork
from ...nn.radial import GaussianBasis
from ...tasks.spec import Spec
from ...tasks.symmetry import E3, exact
from ..paper import Paper

Product = Literal["cg", "gaunt"]


class TFN(Paper):
    """A tensor field network on atoms, graphs or points.

    Args:
        spec: the benchmark's.
        choice: which backends run its kernels.
        product: how filters and features are coupled: "cg", by all Clebsch-Gordan coefficients, or "gaunt".
        layers: the number of convolutions.
        channels: of every degree.
        lmax: the highest degree of features and filters.
        radial: how many Gaussians of the distance the radial network reads, from 0 to the cutoff.
        hidden: the width of the radial network's hidden layer.
        cutoff: how far neighbours may be, in the unit of the positions. A benchmark with edges of its own is taken at
            its word, and then the cutoff only says where the last Gaussian stands.
        max_neighbors: of each point, the nearest, whole shells.
    """

    title = "Tensor field networks: Rotation- and translation-equivariant neural networks for 3D point clouds"
    arxiv = "1802.08219"
    modalities = frozenset({"atoms", "graphs", "points"})
    outputs = frozenset({"graph:0e", "graph:class"})
    periodic = True
    tiny = {"layers": 2, "channels": 8, "lmax": 1, "hidden": 8}

    def __init__(
        self,
        spec: Spec,
        choice: Kernels,
        product: str,
        layers: int,
        channels: int,
        lmax: int,
        radial: int,
        hidden: int,
        cutoff: float,
        max_neighbors: int,
    ):
        super().__init__(spec)
        if product not in FILTERS:
            raise UserError(f"model.product must be {' or '.join(FILTERS)}, not {product!r}")
        for name, value in {
            "layers": layers,
            "channels": channels,
            "hidden": hidden,
            "max_neighbors": max_neighbors,
        }.items():
            if value < 1:
                raise UserError(f"model.{name} must be 1 or more, not {value}")
        if lmax < 0:
            raise UserError(f"model.lmax must be 0 or more, not {lmax}")
        network = TensorFieldNetwork(
            spec, choice, product, layers, channels, lmax, radial, hidden, cutoff, max_neighbors
        )
        self.network = with_forces(network, spec)


class TensorFieldNetwork(PooledNetwork):
    """Embed, convolve, pool, read out from the scalars, or from all degrees where a label turns in no representation."""

    def __init__(
        self,
        spec: Spec,
        choice: Kernels,
        product: Product,
        layers: int,
        channels: int,
        lmax: int,
        radial: int,
        hidden: int,
        cutoff: float,
        max_neighbors: int,
    ):
        super().__init__(spec, choice, channels, cutoff, max_neighbors)
        self.symmetries = exact("rotation", "translation", "permutation") if product == "cg" else E3
        self.harmonics = kernels.get("spherical_harmonics", choice, lmax=lmax)
        self.basis = GaussianBasis(0.0, cutoff, radial, 1.0)
        tops = [0, *[lmax] * layers]
        self.layers = nn.ModuleList(
            Interaction(choice, product, channels, before, lmax, after, radial, hidden)
            for before, after in zip(tops, tops[1:], strict=False)
        )
        read = channels if self.invariant else channels * (lmax + 1) ** 2
        self.add_head(read, nn.Sequential(nn.Linear(read, read), nn.SiLU()))

    def nodes(self, batch: Any) -> Float[Tensor, "nodes channels"]:
        edges = self.edges(batch)
        radial, harmonics = self.basis(edges.distance), self.harmonics(edges.vector)
        h = self.embedding(self.inputs(batch)).unsqueeze(1)
        for layer in self.layers:
            h = layer(h, harmonics, radial, edges.envelope, edges.index)
        return h[:, 0] if self.invariant else h.flatten(1)


class Interaction(nn.Module):
    """Point convolution, self-interaction and nonlinearity (4.1-4.3)."""

    def __init__(
        self,
        choice: Kernels,
        product: Product,
        channels: int,
        lmax1: int,
        lmax2: int,
        lmax3: int,
        radial: int,
        hidden: int,
    ):
        super().__init__()
        self.segment_sum = kernels.get("segment_sum", choice)
        self.couple = FILTERS[product](choice, lmax1, lmax2, lmax3)
        self.radial = nn.Sequential(
            nn.Linear(radial, hidden), nn.SiLU(), nn.Linear(hidden, self.couple.weights * channels)
        )
        self.shape = (self.couple.weights, channels)
        self.own = SelfInteraction(channels, min(lmax1, lmax3))
        self.others = SelfInteraction(channels, lmax3)
        self.nonlinearity = Nonlinearity(channels, lmax3)

    def forward(
        self,
        h: Float[Tensor, "nodes components_in channels"],
        harmonics: Float[Tensor, "edges filters"],
        radial: Float[Tensor, "edges radial"],
        envelope: Float[Tensor, " edges"],
        edge_index: Int[Tensor, "2 edges"],
    ) -> Float[Tensor, "nodes components channels"]:
        source, destination = edge_index
        weight = self.radial(radial).unflatten(1, self.shape) * envelope[:, None, None]
        message = self.couple(h.index_select(0, source), harmonics.unsqueeze(2), weight)
        received = self.others(self.segment_sum(message, destination, len(h)))
        own = self.own(h[:, : received.shape[1]])
        padding = own.new_zeros(len(own), received.shape[1] - own.shape[1], own.shape[2])
        return self.nonlinearity(received + torch.cat([own, padding], 1))


class ClebschGordanFilter(nn.Module):
    """Features times filter by every path (l1, l2, l3), each with a radial weight: section 4.1."""

    def __init__(self, choice: Kernels, lmax1: int, lmax2: int, lmax3: int):
        super().__init__()
        self.weights = len(paths(lmax1, lmax2, lmax3, odd=True))
        self.product = kernels.get("cg_product", choice, lmax1=lmax1, lmax2=lmax2, lmax3=lmax3, odd=True)

    def forward(
        self,
        x: Float[Tensor, "edges components channels"],
        harmonics: Float[Tensor, "edges filters 1"],
        weight: Float[Tensor, "edges weights channels"],
    ) -> Float[Tensor, "edges components_out channels"]:
        return self.product(x, harmonics, weight)


class GauntFilter(nn.Module):
    """Features times filter as signals on the sphere: w_l1 w_l2 w_l3 in the place of a weight for each path."""

    def __init__(self, choice: Kernels, lmax1: int, lmax2: int, lmax3: int):
        super().__init__()
        self.sizes = [lmax + 1 for lmax in (lmax1, lmax2, lmax3)]
        self.weights = sum(self.sizes)
        self.product = kernels.get("gaunt_product", choice, lmax1=lmax1, lmax2=lmax2, lmax3=lmax3)
        for place, lmax in enumerate((lmax1, lmax2, lmax3)):
            self.register_buffer(f"degrees{place}", degrees(lmax), persistent=False)

    def forward(
        self,
        x: Float[Tensor, "edges components channels"],
        harmonics: Float[Tensor, "edges filters 1"],
        weight: Float[Tensor, "edges weights channels"],
    ) -> Float[Tensor, "edges components_out channels"]:
        left, middle, right = weight.split(self.sizes, dim=1)
        x = x * left.index_select(1, self.degrees0)
        y = harmonics * middle.index_select(1, self.degrees1)
        return self.product(x, y) * right.index_select(1, self.degrees2)


FILTERS: dict[str, Callable[..., nn.Module]] = {"cg": ClebschGordanFilter, "gaunt": GauntFilter}


class SelfInteraction(nn.Module):
    """Mixes the channels of every point, with a matrix for each degree and a bias for scalars: section 4.2."""

    def __init__(self, channels: int, lmax: int):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(lmax + 1, channels, channels) / channels**0.5)
        self.bias = nn.Parameter(torch.zeros(channels))
        self.register_buffer("degrees", degrees(lmax), persistent=False)

    def forward(self, h: Float[Tensor, "nodes components channels"]) -> Float[Tensor, "nodes components channels"]:
        mixed = torch.einsum("nkc,kcd->nkd", h, self.weight.index_select(0, self.degrees))
        return torch.cat([mixed[:, :1] + self.bias, mixed[:, 1:]], 1)


class Nonlinearity(nn.Module):
    """SiLU of scalars, and sigmoid(|V| + b) V of every other V: section 4.3."""

    def __init__(self, channels: int, lmax: int):
        super().__init__()
        self.lmax = lmax
        self.bias = nn.Parameter(torch.zeros(lmax, channels))

    def forward(self, h: Float[Tensor, "nodes components channels"]) -> Float[Tensor, "nodes components channels"]:
        parts = [nn.functional.silu(h[:, :1])]
        for degree, bias in enumerate(self.bias, start=1):
            vectors = h[:, degree**2 : (degree + 1) ** 2]
            parts.append(vectors * torch.sigmoid(safe_norm(vectors.transpose(1, 2)) + bias).unsqueeze(1))
        return torch.cat(parts, 1)


def degrees(lmax: int) -> Int[Tensor, " components"]:
    """The degree of every component of 0..lmax."""
    return torch.arange(lmax + 1).repeat_interleave(2 * torch.arange(lmax + 1) + 1, output_size=(lmax + 1) ** 2)
