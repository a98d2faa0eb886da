"""MACE's symmetric contraction by cuEquivariance: a path for each element of the reference's bases."""

from collections.abc import Callable, Iterator
from functools import partial
from operator import index
from string import ascii_lowercase
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..symmetric_contraction import RANK, basis_elements, path_projection, sorted_products, symmetric_couplings
from .polynomial import Polynomial


def build(*, lmax: int, lmax_out: int, correlation: int) -> Callable:
    contraction = Polynomial(partial(describe, lmax, lmax_out, correlation))

    def run(x: Tensor, weight: Tensor, species: Tensor) -> Tensor:
        channels = x.shape[2]
        spec = index(lmax), index(lmax_out), index(correlation)  # plain numbers even where a compiler has symbols
        reduced = torch.einsum("pr,zpc->zrc", path_projection(*spec, dtype=x.dtype, device=x.device), weight)
        return contraction((channels,), (reduced, x), gather={0: species}).unflatten(1, (-1, channels))

    return run


def describe(lmax: int, lmax_out: int, correlation: int, channels: int) -> Any:
    """weight[u] x[au] x[bu] ... U[ab...k] -> [ku] for each element U of the bases, with as many factors as its order."""
    import cuequivariance as cue

    elements = basis_elements(lmax, lmax_out, correlation)
    weights = cue.SegmentedOperand([(channels,)] * len(elements))
    x = cue.SegmentedOperand([((lmax + 1) ** 2, channels)])
    sums = cue.SegmentedOperand([(2 * degree + 1, channels) for degree in range(lmax_out + 1)])
    products = []
    for order in range(1, correlation + 1):
        factors = ascii_lowercase[:order]
        subscripts = ",".join(["u", *(f"{factor}u" for factor in factors), "ku"])
        product = cue.SegmentedTensorProduct.from_subscripts(f"{subscripts}+{factors}k")
        for place, operand in enumerate([weights, *[x] * order, sums]):
            product.set_operand(place, operand)
        couplings = _couplings(lmax, lmax_out, order)
        for place, (degree, coupling) in zip(_places(elements, order), couplings, strict=True):
            product.add_path(place, *[0] * order, degree, c=coupling)
        products.append(((0, *[1] * order, 2), product))
    return cue.SegmentedPolynomial([weights, x], [sums], products)


def _places(elements: list[tuple[int, int]], order: int) -> list[int]:
    """The weights of this order's elements."""
    return [place for place, (own, _) in enumerate(elements) if own == order]


def _couplings(lmax: int, lmax_out: int, order: int) -> Iterator[tuple[int, np.ndarray]]:
    """(degree out, U) of each element; a product of components stands once in U, where its factors rise."""
    components = np.array(list(sorted_products(lmax, order))).T
    for degree in range(lmax_out + 1):
        for element in symmetric_couplings(lmax, degree, order)[1]:
            coupling = np.zeros(((lmax + 1) ** 2,) * order + (2 * degree + 1,))
            coupling[tuple(components)] = np.where(np.abs(element) > RANK, element, 0).T
            yield degree, coupling
