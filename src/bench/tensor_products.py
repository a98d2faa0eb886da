"""Equivariant products of two sets of features, as The Price of Freedom compares them (arXiv:2506.13523), for any degrees.

Each takes the degrees of its inputs and outputs, so that the paper's three settings, one irrep or several in and out,
each do their own work and no more. `left`, `right` and `out` list the degrees of what goes in and comes out; linear layers
around a product (of `expressivity`) may feed one feature into several of them.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from itertools import product
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ..geometry.clebsch_gordan import clebsch_gordan
from ..geometry.s2grid import exact_resolution, from_grid_matrix, grid_points, grid_weights, to_grid_matrix
from ..geometry.spherical_harmonics import spherical_harmonics

Instruction = Literal["uuu", "uvu", "uvw"]
Degrees = Sequence[int]


def size(degrees: Degrees) -> int:
    """Components of irreps of these degrees."""
    return sum(2 * degree + 1 for degree in degrees)


def between(l1: int, l2: int) -> range:
    """The degrees that l1 and l2 couple to."""
    return range(abs(l1 - l2), l1 + l2 + 1)


def coupled(l1: int, l2: int, degrees: Degrees) -> list[int]:
    """Those among these degrees that l1 and l2 couple to."""
    reach = between(l1, l2)
    return [degree for degree in degrees if degree in reach]


def paths(ins: Degrees, outs: Degrees) -> list[tuple[int, int, int]]:
    """All (l1, l2, l3) that couple, l1 and l2 among `ins` and l3 among `outs`."""
    return [(l1, l2, l3) for l1 in ins for l2 in ins for l3 in coupled(l1, l2, outs)]


class TensorProduct(nn.Module, ABC):
    """z = T(x, y), channel by channel unless it says otherwise, with buffers in float64.

    Attributes:
        left, right, out: the degrees of what goes in and comes out.
    """

    left: Degrees
    right: Degrees
    out: Degrees

    def weight_shape(self, channels: int) -> tuple[int, ...]:
        """Of weights of its own; none by default."""
        return (0,)

    @abstractmethod
    def forward(
        self,
        x: Float[Tensor, "rows left channels"],
        y: Float[Tensor, "rows right channels"],
        weight: Float[Tensor, "..."],
    ) -> Float[Tensor, "rows out channels"]:
        """T(x, y)."""

    @staticmethod
    @abstractmethod
    def flop(ins: Degrees, outs: Degrees) -> int:
        """Operations for a row and a channel, as carried out here."""


class ClebschGordan(TensorProduct):
    """Every path with a weight, and paths to one degree summed, in e3nn's instructions for the channels."""

    equations = {
        "uuu": ("riu,rju->riju", "rku,ku->rku"),
        "uvu": ("riu,rjv->rijuv", "rkuv,kuv->rku"),
        "uvw": ("riu,rjv->rijuv", "rkuv,kuvw->rkw"),
    }

    def __init__(self, ins: Degrees, outs: Degrees, odd: bool = True, instruction: Instruction = "uuu"):
        super().__init__()
        self.left, self.right, self.out = ins, ins, outs
        self.instruction: Instruction = instruction
        self.paths = [path for path in paths(ins, outs) if odd or sum(path) % 2 == 0]
        self.pairs = sorted({path[:2] for path in self.paths})
        for l1, l2 in self.pairs:
            blocks = [clebsch_gordan(*path).flatten(0, 1).T for path in self.paths if path[:2] == (l1, l2)]
            self.register_buffer(f"coupling{l1}_{l2}", torch.cat(blocks))
        first = dict(
            zip(outs, torch.tensor([0, *(2 * degree + 1 for degree in outs)]).cumsum(0).tolist(), strict=False)
        )
        rows = [(place, first[path[2]] + m) for place, path in enumerate(self.paths) for m in range(2 * path[2] + 1)]
        self.register_buffer("places", torch.tensor(rows, dtype=torch.int64).reshape(-1, 2).T.contiguous())

    def weight_shape(self, channels: int) -> tuple[int, ...]:
        return (len(self.paths), *[channels] * len(set(self.instruction)))

    def forward(self, x: Tensor, y: Tensor, weight: Tensor) -> Tensor:
        outer, weigh = self.equations[self.instruction]
        lefts, rights = split(x, self.left), split(y, self.right)
        out = x.new_zeros(len(x), size(self.out), x.shape[2])
        couplings = []
        for l1, l2 in self.pairs:
            pairs = torch.einsum(outer, lefts[l1], rights[l2]).flatten(1, 2)
            coupling = self.get_buffer(f"coupling{l1}_{l2}")
            couplings.append((coupling @ pairs.flatten(2)).unflatten(2, pairs.shape[2:]))
        if not couplings:
            return out
        place, component = self.places
        return out.index_add(1, component, torch.einsum(weigh, torch.cat(couplings, 1), weight.index_select(0, place)))

    @staticmethod
    def flop(ins: Degrees, outs: Degrees, odd: bool = True) -> int:
        total = 0
        for l1, l2 in product(ins, ins):
            reached = size([l3 for l3 in coupled(l1, l2, outs) if odd or (l1 + l2 + l3) % 2 == 0])
            total += (2 * l1 + 1) * (2 * l2 + 1) * (1 + 2 * reached) + 2 * reached if reached else 0
        return total


class Gaunt(TensorProduct):
    """Signals on the sphere, multiplied point by point on an exact grid (arXiv:2401.10216)."""

    def __init__(self, ins: Degrees, outs: Degrees):
        super().__init__()
        self.left, self.right, self.out = ins, ins, outs
        resolution = exact_resolution(2 * max(ins) + max(outs))
        synthesis = to_grid_matrix(resolution, max(ins), normalization="integral").flatten(0, 1)
        analysis = from_grid_matrix(resolution, max(outs), normalization="integral").flatten(1)
        self.register_buffer("synthesis", synthesis[:, components(ins)])
        self.register_buffer("analysis", analysis[components(outs)])

    def forward(self, x: Tensor, y: Tensor, weight: Tensor) -> Tensor:
        return self.analysis @ ((self.synthesis @ x) * (self.synthesis @ y))

    @staticmethod
    def flop(ins: Degrees, outs: Degrees) -> int:
        beta, alpha = exact_resolution(2 * max(ins) + max(outs))
        return beta * alpha * (2 * (2 * size(ins) + size(outs)) + 1)


class VectorSignals(TensorProduct):
    """Vector fields on the sphere and their cross product at every point.

    A feature of degree l can go into the vector harmonics that Y_j makes with a vector for j = l - 1, l and l + 1.
    """

    def __init__(self, ins: Degrees, outs: Degrees):
        super().__init__()
        self.left = self.right = [l1 for l1 in ins for _ in between(l1, 1)]
        self.out = [l3 for l3 in outs for _ in between(l3, 1)]
        resolution = self.resolution(ins, outs)
        points, weights = grid_points(resolution).flatten(0, 1), grid_weights(resolution).flatten()
        self.register_buffer("synthesis", vector_harmonics(points, ins).flatten(0, 1))
        self.register_buffer(
            "analysis", (vector_harmonics(points, outs) * weights[:, None]).flatten(0, 1).T.contiguous()
        )

    @staticmethod
    def resolution(ins: Degrees, outs: Degrees) -> tuple[int, int]:
        return exact_resolution(2 * (max(ins) + 1) + max(outs) + 1)

    def forward(self, x: Tensor, y: Tensor, weight: Tensor) -> Tensor:
        a, b = ((self.synthesis @ features).unflatten(1, (3, -1)).unbind(1) for features in (x, y))
        # written out: torch.linalg.cross is three times slower along an axis that is not the last
        crossed = [a[i - 2] * b[i - 1] - a[i - 1] * b[i - 2] for i in range(3)]
        return self.analysis @ torch.cat(crossed, 1)

    @classmethod
    def flop(cls, ins: Degrees, outs: Degrees) -> int:
        beta, alpha = cls.resolution(ins, outs)
        widths = [size([degree for degree in degrees for _ in between(degree, 1)]) for degrees in (ins, ins, outs)]
        return beta * alpha * (6 * sum(widths) + 9)


def vector_harmonics(points: Float[Tensor, "points 3"], degrees: Degrees) -> Float[Tensor, "3 points components"]:
    """Y_j coupled with a vector to each of the degrees, all j in turn; orthonormal over the sphere."""
    values = spherical_harmonics(points, max(degrees) + 1, normalize=False, normalization="integral")
    tables = [
        torch.einsum("pa,abm->bpm", values[:, j**2 : (j + 1) ** 2], clebsch_gordan(j, 1, degree))
        for degree in degrees
        for j in between(degree, 1)
    ]
    return torch.cat(tables, 2)


class Matrices(TensorProduct):
    """Features as matrices on the irreps of some degrees, multiplied as matrices (the matrix tensor product).

    A feature of degree l can go into every block that maps degree b to degree a and couples to l. `whole` takes matrices
    on the direct sum of the degrees 0..d, otherwise they act on degree d alone, d being the highest of `ins`: the least
    that has room for 2 d.
    """

    def __init__(self, ins: Degrees, outs: Degrees, whole: bool):
        super().__init__()
        self.blocks = self.block_degrees(ins, whole)
        tables = {"in": self.copies(ins), "out": self.copies(outs)}
        self.left = self.right = [degree for copies in tables["in"].values() for degree in copies]
        self.out = [degree for copies in tables["out"].values() for degree in copies]
        self.copied = tables
        for side, blocks in tables.items():
            for (a, b), degrees in blocks.items():
                columns = [clebsch_gordan(a, b, degree).flatten(0, 1) for degree in degrees]
                empty = torch.zeros((2 * a + 1) * (2 * b + 1), 0, dtype=torch.float64)
                self.register_buffer(f"{side}{a}_{b}", torch.cat([empty, *columns], 1))

    @staticmethod
    def block_degrees(ins: Degrees, whole: bool) -> list[int]:
        return list(range(0 if whole else max(ins), max(ins) + 1))

    def copies(self, degrees: Degrees) -> dict[tuple[int, int], list[int]]:
        """The degrees among these that each block has room for."""
        return {(a, b): coupled(a, b, degrees) for a, b in product(self.blocks, self.blocks)}

    def forward(self, x: Tensor, y: Tensor, weight: Tensor) -> Tensor:
        z = self.to_matrix(x) @ self.to_matrix(y)
        sizes = [2 * degree + 1 for degree in self.blocks]
        pieces = []
        for a, rows in zip(self.blocks, z.split(sizes, 2), strict=True):
            for b, block in zip(self.blocks, rows.split(sizes, 3), strict=True):
                pieces.append(self.get_buffer(f"out{a}_{b}").T @ block.flatten(2).mT)
        return torch.cat(pieces, 1)

    def to_matrix(self, x: Float[Tensor, "rows components channels"]) -> Float[Tensor, "rows channels n n"]:
        parts = iter(x.split([size(degrees) for degrees in self.copied["in"].values()], 1))
        bands = []
        for a in self.blocks:
            band = [(self.get_buffer(f"in{a}_{b}") @ next(parts)).mT.unflatten(2, (2 * a + 1, -1)) for b in self.blocks]
            bands.append(torch.cat(band, 3))
        return torch.cat(bands, 2)

    @classmethod
    def count(cls, ins: Degrees, outs: Degrees, whole: bool) -> int:
        blocks = cls.block_degrees(ins, whole)
        total = 2 * size(blocks) ** 3
        for a, b in product(blocks, blocks):
            widths = [size(coupled(a, b, degrees)) for degrees in (ins, ins, outs)]
            total += 2 * (2 * a + 1) * (2 * b + 1) * sum(widths)
        return total


class IrreducibleMatrices(Matrices):
    """Matrices on the irrep of one degree."""

    def __init__(self, ins: Degrees, outs: Degrees):
        super().__init__(ins, outs, whole=False)

    @classmethod
    def flop(cls, ins: Degrees, outs: Degrees) -> int:
        return cls.count(ins, outs, whole=False)


class BlockMatrices(Matrices):
    """Matrices on the direct sum of all degrees, with a weight for every block."""

    def __init__(self, ins: Degrees, outs: Degrees):
        super().__init__(ins, outs, whole=True)

    @classmethod
    def flop(cls, ins: Degrees, outs: Degrees) -> int:
        return cls.count(ins, outs, whole=True)


def split(x: Float[Tensor, "rows components channels"], degrees: Degrees) -> dict[int, Tensor]:
    """The features of each degree."""
    return dict(zip(degrees, x.split([2 * degree + 1 for degree in degrees], 1), strict=True))


def components(degrees: Degrees) -> list[int]:
    """Where these degrees stand in a stack of 0..lmax."""
    return [place for degree in degrees for place in range(degree**2, (degree + 1) ** 2)]
