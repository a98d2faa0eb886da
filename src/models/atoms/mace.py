"""MACE. Batatia, Kovács, Simm, Ortner, Csányi; NeurIPS 2022, arXiv:2206.07697.

Implements section 4: the two-body features A of an atom's neighbours, their symmetric products of up to `correlation`
factors B, the message as a linear function of these, the update with a linear map of each element's own, and the readout,
linear in the scalars of every layer but the last, of which there is a small MLP. Degree l has the parity of the spherical
harmonics, here, in A and in B. Linear maps of scalars have a bias, and the readout's last one counts once a molecule.

With the Gaunt tensor product (arXiv:2401.10216) B consists of powers of A as a function on the sphere: of the contraction's
chains of couplings it has for each order and degree one sum with fixed coefficients, and so one weight. A is as before.
"""

from collections.abc import Callable
from itertools import accumulate, pairwise
from typing import Any, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from ... import kernels
from ...errors import UserError
from ...kernels import Kernels
from ...kernels.cg_product import paths as couplings
from ...kernels.symmetric_contraction import paths as products
from ...nn.gradient import with_forces
from ...nn.pooled_network import Edges, PooledNetwork
from ...nn.radial import BesselBasis
from ...nn.so3_layers import SO3Linear, component_degrees
from ...tasks.spec import Spec
from ...tasks.symmetry import E3
from ..paper import Paper

Product = Literal["cg", "gaunt"]


class MACE(Paper):
    """MACE on molecules, periodic structures or graphs: one layer sees scalars of an atom and `correlation` of its neighbours.

    Args:
        spec: the benchmark's.
        choice: which backends run its kernels.
        layers: the number of interactions; published 2.
        channels: of every degree; published 256, or 128 with lmax_hidden = 1.
        lmax: the highest degree of the spherical harmonics and of A; published 3.
        lmax_hidden: the highest degree that layers hand on (the paper's L); published 0 to 2.
        correlation: the most factors of a product, the body order less one; published 3.
        radial: how many Bessel functions of the distance; published 8.
        hidden: the width of the radial network's three hidden layers; published 64.
        neighbors: how many there are on average, by which A is divided.
        cutoff: how far neighbours may be, in the unit of the positions; published 5 Å.
        product: of many bodies: "cg", the symmetric contraction with all Clebsch-Gordan couplings, as published, or "gaunt".
    """

    title = "MACE: Higher Order Equivariant Message Passing Neural Networks for Fast and Accurate Force Fields"
    arxiv = "2206.07697"
    modalities = frozenset({"atoms", "graphs"})
    outputs = frozenset({"graph:0e", "graph:class"})
    periodic = True
    tiny = {"channels": 8, "lmax": 2, "lmax_hidden": 1, "correlation": 2, "hidden": 8}

    def __init__(
        self,
        spec: Spec,
        choice: Kernels,
        layers: int,
        channels: int,
        lmax: int,
        lmax_hidden: int,
        correlation: int,
        radial: int,
        hidden: int,
        neighbors: float,
        cutoff: float,
        product: str = "cg",  # checkpoints may be older than it
    ):
        super().__init__(spec)
        if product not in PRODUCTS:
            raise UserError(f"model.product must be {' or '.join(PRODUCTS)}, not {product!r}")
        sizes = {"layers": layers, "channels": channels, "correlation": correlation, "hidden": hidden}
        for name, value in sizes.items():
            if value < 1:
                raise UserError(f"model.{name} must be 1 or more, not {value}")
        for name, value in {"lmax": lmax, "lmax_hidden": lmax_hidden}.items():
            if value < 0:
                raise UserError(f"model.{name} must be 0 or more, not {value}")
        if not neighbors > 0:
            raise UserError(f"model.neighbors must be positive, not {neighbors}")
        network = MACENetwork(
            spec, choice, product, layers, channels, lmax, lmax_hidden, correlation, radial, hidden, neighbors, cutoff
        )
        self.network = with_forces(network, spec)


class MACENetwork(PooledNetwork):
    """Embed, interact, read out each layer.

    The last layer has scalars only, unless a label turns in no representation, which is read from all of its degrees.
    """

    symmetries = E3

    def __init__(
        self,
        spec: Spec,
        choice: Kernels,
        product: Product,
        layers: int,
        channels: int,
        lmax: int,
        lmax_hidden: int,
        correlation: int,
        radial: int,
        hidden: int,
        neighbors: float,
        cutoff: float,
    ):
        super().__init__(spec, choice, channels, cutoff)
        self.harmonics = kernels.get("spherical_harmonics", choice, lmax=lmax)
        self.basis = BesselBasis(cutoff, radial)
        widths = [radial, hidden, hidden, hidden]
        tops = [0, *[lmax_hidden] * (layers - 1), 0 if self.invariant else lmax_hidden]
        self.layers = nn.ModuleList(
            Interaction(choice, product, channels, self.species, (before, lmax, after), correlation, widths, neighbors)
            for before, after in pairwise(tops)
        )
        self.add_head(channels * layers, Readout(channels, layers - 1, (tops[-1] + 1) ** 2))

    def nodes(self, batch: Any) -> Float[Tensor, "nodes channels"]:
        edges, species = self.edges(batch), self.inputs(batch)
        harmonics, radial = self.harmonics(edges.vector), self.basis(edges.distance)
        h = self.embedding(species).unsqueeze(1)
        found = []
        for layer in self.layers:
            h = layer(h, species, harmonics, radial, edges)
            found.append(h[:, 0])
        return torch.cat([*found[:-1], h.flatten(1)], 1)


class Readout(nn.Module):
    """The scalars of all layers but the last as they are, and a layer with SiLU of all that the last one has."""

    def __init__(self, channels: int, earlier: int, components: int):
        super().__init__()
        self.sizes = [channels * earlier, channels * components]
        self.last = nn.Sequential(nn.Linear(channels * components, channels), nn.SiLU())

    def forward(self, h: Float[Tensor, "rows inputs"]) -> Float[Tensor, "rows channels"]:
        earlier, last = h.split(self.sizes, 1)
        return torch.cat([earlier, self.last(last)], 1)


class Interaction(nn.Module):
    """From features to A, to B, to the message and the new features.

    Args:
        choice: which backends run its kernels.
        product: of many bodies.
        channels: of every degree.
        species: how many elements there are.
        degrees: the highest of the features, of the harmonics and A, and of the new features.
        correlation: the most factors of a product.
        widths: of the radial network, inputs first.
        neighbors: how many there are on average.
    """

    def __init__(
        self,
        choice: Kernels,
        product: Product,
        channels: int,
        species: int,
        degrees: tuple[int, int, int],
        correlation: int,
        widths: list[int],
        neighbors: float,
    ):
        super().__init__()
        before, lmax, after = degrees
        self.neighbors = neighbors
        self.segment_sum = kernels.get("segment_sum", choice)
        self.couple = kernels.get("cg_product", choice, lmax1=before, lmax2=lmax, lmax3=lmax, odd=False)
        self.multiply = PRODUCTS[product](choice, lmax, after, correlation)
        self.shape = (len(couplings(before, lmax, lmax, odd=False)), channels)
        hidden = [part for pair in pairwise(widths) for part in (nn.Linear(*pair), nn.SiLU())]
        self.radial = nn.Sequential(*hidden, nn.Linear(widths[-1], self.shape[0] * channels, bias=False))
        self.sent, self.received = SO3Linear(before, channels, channels), SO3Linear(lmax, channels, channels)
        count = self.multiply.weights
        self.products = nn.Parameter(torch.randn(species, count, channels) / count**0.5)
        self.message = SO3Linear(after, channels, channels)
        self.kept = min(before, after)
        self.own = nn.Parameter(torch.randn(species, self.kept + 1, channels, channels) / channels**0.5)
        for module in self.modules():
            if isinstance(module, (nn.Linear, SO3Linear)):
                preserve_variance(
                    module.weight, after_silu=isinstance(module, nn.Linear) and module is not self.radial[0]
                )

    def forward(
        self,
        h: Float[Tensor, "nodes components_in channels"],
        species: Float[Tensor, "nodes species"],
        harmonics: Float[Tensor, "edges filters"],
        radial: Float[Tensor, "edges radial"],
        edges: Edges,
    ) -> Float[Tensor, "nodes components channels"]:
        source, destination = edges.index
        weight = self.radial(radial).unflatten(1, self.shape) * edges.envelope[:, None, None]
        sent = self.couple(self.sent(h).index_select(0, source), harmonics.unsqueeze(2), weight)
        a = self.received(self.segment_sum(sent, destination, len(h)) / self.neighbors)
        element = species.argmax(1)
        message = self.message(self.multiply(a, self.products, element))
        own = self.self_connection(h, element)
        return torch.cat([message[:, : own.shape[1]] + own, message[:, own.shape[1] :]], 1)

    def self_connection(
        self, h: Float[Tensor, "nodes components channels"], element: Int[Tensor, " nodes"]
    ) -> Float[Tensor, "nodes kept channels"]:
        """A matrix for each element and degree, for the degrees that both the old and the new features have."""
        matrices = self.own.index_select(0, element).unbind(1)
        parts = [h[:, degree**2 : (degree + 1) ** 2] @ matrix for degree, matrix in enumerate(matrices)]
        return torch.cat(parts, 1)


class SymmetricContraction(nn.Module):
    """B by Clebsch-Gordan couplings, eqs. (10) and (11), with a weight for each chain of them."""

    def __init__(self, choice: Kernels, lmax: int, lmax_out: int, correlation: int):
        super().__init__()
        spec = {"lmax": lmax, "lmax_out": lmax_out, "correlation": correlation}
        self.weights = len(products(lmax, lmax_out, correlation))
        self.contract = kernels.get("symmetric_contraction", choice, **spec)

    def forward(
        self,
        a: Float[Tensor, "nodes components channels"],
        weight: Float[Tensor, "species weights channels"],
        element: Int[Tensor, " nodes"],
    ) -> Float[Tensor, "nodes components_out channels"]:
        return self.contract(a, weight, element)


class GauntPowers(nn.Module):
    """B_l = sum over orders v of w_vl (A^v)_l, A^v the v-th power of A as a function on the sphere (arXiv:2401.10216, 3.3).

    As in the authors' code for MACE, a weight for each order and degree (of an element, a channel), and none within a power.
    A power keeps the degrees from which those up to lmax_out can still be reached, so that all is exact. Halving the
    factors, as the paper does, would save no product here: every power is needed, and each takes one more.
    """

    def __init__(self, choice: Kernels, lmax: int, lmax_out: int, correlation: int):
        super().__init__()
        orders = range(1, correlation + 1)
        tops = [min(order * lmax, lmax_out + (correlation - order) * lmax) for order in orders]
        self.powers = [
            kernels.get("gaunt_product", choice, lmax1=before, lmax2=lmax, lmax3=after)
            for before, after in pairwise([lmax, *tops[1:]])
        ]
        self.lmax_out, self.reached = lmax_out, [min(order * lmax, lmax_out) for order in orders]
        self.weights = sum(top + 1 for top in self.reached)

    def forward(
        self,
        a: Float[Tensor, "nodes components channels"],
        weight: Float[Tensor, "species weights channels"],
        element: Int[Tensor, " nodes"],
    ) -> Float[Tensor, "nodes components_out channels"]:
        powers = accumulate(self.powers, lambda power, multiply: multiply(power, a), initial=a)
        weights = weight.index_select(0, element).split([top + 1 for top in self.reached], 1)
        b = a.new_zeros(len(a), (self.lmax_out + 1) ** 2, a.shape[2])
        for power, own, top in zip(powers, weights, self.reached, strict=True):
            degree = component_degrees(top, dtype=torch.int64, device=a.device)
            term = power[:, : len(degree)] * own.index_select(1, degree)
            b = b + nn.functional.pad(term, (0, 0, 0, b.shape[1] - len(degree)))
        return b


PRODUCTS: dict[str, Callable[..., nn.Module]] = {"cg": SymmetricContraction, "gaunt": GauntPowers}


@torch.no_grad()
def preserve_variance(weight: Tensor, after_silu: bool) -> None:
    """Draws weights that keep the mean square of what they are applied to, also where SiLU of a normal variable has 0.355.

    Products of several factors would vanish, layer by layer, with the smaller weights that a linear layer starts with.
    """
    inputs = (
        weight.shape[-2] if weight.ndim == 3 else weight.shape[-1]
    )  # (degrees, inputs, outputs), or (outputs, inputs)
    weight.normal_(std=(inputs * (0.355 if after_silu else 1.0)) ** -0.5)
