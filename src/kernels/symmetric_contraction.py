"""MACE's symmetric contraction: the invariants and equivariants of many-body products (arXiv:2206.07697, eqs. 10-11)."""

from functools import cache
from itertools import combinations_with_replacement
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..errors import UserError
from ..geometry.checks import require_degree
from ..geometry.clebsch_gordan import clebsch_gordan
from ..geometry.tables import constant_table
from .cueq import backend as cueq
from .cueq import many_factors
from .registry import Backend, Cost, Op, plain, traffic
from .segment import check_range

RANK = 1e-10  # singular values below this share of the largest are zero: the next ones are of order one


class Path(NamedTuple):
    """A chain of couplings: degrees[0] with degrees[1] to middle[0], that with degrees[2] to middle[1], ..., to `out`."""

    degrees: tuple[int, ...]
    middle: tuple[int, ...]  # one for each coupling, the last of them is `out`

    @property
    def out(self) -> int:
        """The degree that the whole path couples to."""
        return self.middle[-1] if self.middle else self.degrees[0]


@cache
def paths(lmax: int, lmax_out: int, correlation: int) -> tuple[Path, ...]:
    """The paths in the order of the weights: by output degree, then by order 1..correlation, then as MACE sorts them.

    The input's degree l has the parity (-1)^l, and so has the output's; degrees between may have either.
    """
    return tuple(
        path
        for out in range(lmax_out + 1)
        for order in range(1, correlation + 1)
        for path in _chains(lmax, order)
        if path.out == out and sum(path.degrees) % 2 == out % 2
    )


@cache
def _chains(lmax: int, order: int) -> tuple[Path, ...]:
    if order == 1:
        return tuple(Path((degree,), ()) for degree in range(lmax + 1))
    chains = [
        Path((*left.degrees, degree), (*left.middle, out))
        for left in _chains(lmax, order - 1)
        for degree in range(lmax + 1)
        for out in range(abs(left.out - degree), left.out + degree + 1)
    ]
    return tuple(sorted(chains, key=lambda path: (path.out, sum(path.degrees) % 2 == 0)))  # odd before even


def symmetric_contraction(
    x: Float[Tensor, "nodes ({lmax}+1)**2 channels"],
    weight: Float[Tensor, "species paths channels"],
    species: Int[Tensor, " nodes"],
    *,
    lmax: int,
    lmax_out: int,
    correlation: int,
) -> Float[Tensor, "nodes ({lmax_out}+1)**2 channels"]:
    """B = sum over orders v <= correlation and paths of weight[species, path] U_path (x, ..., x), v factors.

    U_path is the chain of Clebsch-Gordan couplings (`paths` lists them), channel by channel; weights are MACE's, one for
    each path, whether or not the symmetric product makes paths dependent or zero. The computation makes use of it: each
    monomial x_i x_j x_k is formed once, i <= j <= k, and an independent basis of the symmetrised couplings is applied to
    it, onto which the weights have been projected. Degree l has the parity of the harmonics, in x and in the result.
    """
    spec = (lmax, lmax_out, correlation)
    like = {"dtype": x.dtype, "device": x.device}
    reduced = torch.einsum("pr,zpc->zrc", path_projection(*spec, **like), weight)
    monomials, coupled = x, []
    for order in range(1, correlation + 1):
        if order > 1:
            shorter, last = _monomials(lmax, order, dtype=torch.int64, device=x.device)
            monomials = monomials.index_select(1, shorter) * x.index_select(1, last)
        coupled.append(_basis(lmax, lmax_out, order, **like) @ monomials)
    element, component = _places(*spec, dtype=torch.int64, device=x.device)
    terms = torch.cat(coupled, 1) * reduced.index_select(1, element)[species]
    return x.new_zeros(x.shape[0], (lmax_out + 1) ** 2, x.shape[2]).index_add(1, component, terms)


def sorted_products(lmax: int, order: int) -> dict[tuple[int, ...], int]:
    """Monomials of this order as rising tuples of components, and their places."""
    products = combinations_with_replacement(range((lmax + 1) ** 2), order)
    return {product: place for place, product in enumerate(products)}


@constant_table
def _monomials(lmax: int, order: int) -> np.ndarray:
    """Each monomial as a monomial of one order less, times a component."""
    shorter = sorted_products(lmax, order - 1)
    return np.array([(shorter[product[:-1]], product[-1]) for product in sorted_products(lmax, order)]).T


@cache
def symmetric_couplings(lmax: int, out: int, order: int) -> tuple[np.ndarray, np.ndarray]:
    """The couplings of this order to degree `out`, as projection (paths, rank) times basis (rank, components, monomials)."""
    chains = [p for p in paths(lmax, out, order) if p.out == out and len(p.degrees) == order]
    place = sorted_products(lmax, order)
    index = np.empty([(lmax + 1) ** 2] * order, dtype=np.int64)
    for position in np.ndindex(index.shape):
        index[position] = place[tuple(sorted(position))]
    table = np.zeros((len(chains), 2 * out + 1, len(place)))
    for row, path in zip(table, chains, strict=True):
        block = index[tuple(slice(degree**2, (degree + 1) ** 2) for degree in path.degrees)]
        np.add.at(row, (slice(None), block.ravel()), _coupling(path).reshape(-1, 2 * out + 1).T)
    left, size, right = np.linalg.svd(table.reshape(len(chains), (2 * out + 1) * len(place)), full_matrices=False)
    rank = int((size > RANK * size.max(initial=0)).sum())
    return left[:, :rank] * size[:rank], right[:rank].reshape(rank, 2 * out + 1, len(place))


def _coupling(path: Path) -> np.ndarray:
    """U of a path, (2 l_1 + 1, ..., 2 l_v + 1, 2 out + 1)."""
    total = np.eye(2 * path.degrees[0] + 1)
    left = path.degrees[0]
    for degree, out in zip(path.degrees[1:], path.middle, strict=True):
        total = np.tensordot(total, clebsch_gordan(left, degree, out).numpy(), 1)
        left = out
    return total


@constant_table
def _basis(lmax: int, lmax_out: int, order: int) -> np.ndarray:
    """(rows, monomials): for each output degree, each basis element and each component a row."""
    return np.concatenate(
        [
            basis.reshape(basis.shape[0] * basis.shape[1], basis.shape[2])
            for _, basis in (symmetric_couplings(lmax, out, order) for out in range(lmax_out + 1))
        ]
    )


def basis_elements(lmax: int, lmax_out: int, correlation: int) -> list[tuple[int, int]]:
    """(order, output degree) of each basis element, in the order of the rows."""
    return [
        (order, out)
        for order in range(1, correlation + 1)
        for out in range(lmax_out + 1)
        for _ in range(symmetric_couplings(lmax, out, order)[0].shape[1])
    ]


@constant_table
def path_projection(lmax: int, lmax_out: int, correlation: int) -> np.ndarray:
    """(paths, basis elements): what a weight of a path is for the basis."""
    elements = basis_elements(lmax, lmax_out, correlation)
    kinds = [(len(path.degrees), path.out) for path in paths(lmax, lmax_out, correlation)]
    table = np.zeros((len(kinds), len(elements)))
    for kind in set(elements):
        rows = [i for i, k in enumerate(kinds) if k == kind]
        columns = [i for i, k in enumerate(elements) if k == kind]
        table[np.ix_(rows, columns)] = symmetric_couplings(lmax, kind[1], kind[0])[0]
    return table


@constant_table
def _places(lmax: int, lmax_out: int, correlation: int) -> np.ndarray:
    """For each row of the bases, its basis element and the component it adds to."""
    rows = [
        (element, component)
        for element, (_, out) in enumerate(basis_elements(lmax, lmax_out, correlation))
        for component in range(out**2, (out + 1) ** 2)
    ]
    return np.array(rows).T


def check(x: Tensor, weight: Tensor, species: Tensor, *, lmax: int, lmax_out: int, correlation: int) -> None:
    for degree in (lmax, lmax_out):
        require_degree("symmetric_contraction", degree)
    if correlation < 1:
        raise UserError(f"symmetric_contraction: correlation={correlation}; give the number of factors, at least 1")
    components, count = (lmax + 1) ** 2, len(paths(lmax, lmax_out, correlation))
    if (
        x.ndim != 3
        or x.shape[1] != components
        or weight.ndim != 3
        or tuple(weight.shape[1:]) != (count, x.shape[2])
        or tuple(species.shape) != (x.shape[0],)
    ):
        raise UserError(
            f"symmetric_contraction: x {tuple(x.shape)}, weight {tuple(weight.shape)}, species {tuple(species.shape)}; "
            f"give x (nodes, {components}, channels), weight (species, {count} paths, channels) and species (nodes,)"
        )
    check_range("symmetric_contraction", "species", species, weight.shape[0])


def cost(
    out: Tensor, x: Tensor, weight: Tensor, species: Tensor, *, lmax: int, lmax_out: int, correlation: int
) -> Cost:
    """A multiplication for each monomial, and two operations for each non-zero entry of the bases and each of their rows."""
    bases = [_basis(lmax, lmax_out, order) for order in range(1, correlation + 1)]
    products = sum(basis.shape[1] for basis in bases[1:])
    terms = sum(int((basis.abs() > RANK).sum()) + basis.shape[0] for basis in bases)
    return Cost(x.shape[0] * x.shape[2] * (products + 2 * terms), traffic(out, x, weight, species))


def example(dtype, device, seed, *, nodes=5, channels=3, kinds=2, lmax=2, lmax_out=1, correlation=3):
    g = torch.Generator().manual_seed(seed)
    count = len(paths(lmax, lmax_out, correlation))
    x = torch.randn(nodes, (lmax + 1) ** 2, channels, generator=g, dtype=torch.float64)
    weight = torch.randn(kinds, count, channels, generator=g, dtype=torch.float64)
    species = torch.arange(nodes) % kinds
    spec = {"lmax": lmax, "lmax_out": lmax_out, "correlation": correlation}
    return (x.to(device, dtype), weight.to(device, dtype), species.to(device)), spec


OP = Op(
    reference=symmetric_contraction,
    backends={
        "reference": Backend(plain(symmetric_contraction), device=None),
        "cueq": cueq(symmetric_contraction, refuses=many_factors),
    },
    check=check,
    cost=cost,
    example=example,
)
