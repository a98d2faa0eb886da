"""Into the frames of edges and back by loops in C, and the derivatives of both, which are made of the same three loops."""

from functools import cache

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..geometry.wigner import packed_size
from .edge_rows import m_major, place_in_packed
from .m_layout import from_edge_frame, m_rows, to_edge_frame
from .native import Native, call
from .segment import segment_sum


@cache
def table(lmax: int, mmax: int) -> Int[Tensor, "rows 3"]:
    """For each m-major row, where its row of D begins in packed D, where its degree's components begin, and their number."""
    rows = [(place_in_packed(degree, m, 0), degree**2, 2 * degree + 1) for degree, m in m_major(lmax, mmax)]
    return torch.tensor(rows)


def sizes(lmax: int, mmax: int) -> tuple[int, int, int]:
    return m_rows(lmax, mmax), (lmax + 1) ** 2, packed_size(lmax)


class Rotations:
    """The three of a spec: D x at nodes, the sum of D^T y over edges at nodes, and the products of both, by which D changes."""

    def __init__(self, lmax: int, mmax: int):
        spec = {"lmax": lmax, "mmax": mmax}
        self.gather = Native(gathered, self.run_gather, self.back_gather, self.pull_gather, **spec)
        self.scatter = Native(scattered, self.run_scatter, self.back_scatter, self.pull_scatter, **spec)
        self.products = Native(multiplied, self.run_products, self.back_products, self.pull_products, **spec)

    def run_gather(self, x, node, D, *, lmax, mmax):
        y = x.new_empty(len(D), m_rows(lmax, mmax), x.shape[2])
        call("rotate_gather", x, D, node.long(), table(lmax, mmax), y, len(D), *sizes(lmax, mmax), x.shape[2])
        return y, ()

    def run_scatter(self, y, node, D, size, *, lmax, mmax):
        x = y.new_empty(size, (lmax + 1) ** 2, y.shape[2])
        call("rotate_scatter", y, D, node.long(), table(lmax, mmax), x, len(D), *sizes(lmax, mmax), y.shape[2], size)
        return x, ()

    def run_products(self, y, x, node, *, lmax, mmax):
        D = y.new_empty(len(y), packed_size(lmax))
        call("rotate_products", y, x, node.long(), table(lmax, mmax), D, len(y), *sizes(lmax, mmax), x.shape[2])
        return D, ()

    def back_gather(self, gradient, args, saved, **spec):
        x, node, D = args
        by_x = self.run_scatter(gradient, node, D, len(x), **spec)[0] if x.requires_grad else None
        return [by_x, None, self.run_products(gradient, x, node, **spec)[0] if D.requires_grad else None]

    def pull_gather(self, gradient, args, saved, **spec):
        x, node, D = args
        return [self.scatter(gradient, node, D, len(x)), None, self.products(gradient, x, node)]

    def back_scatter(self, gradient, args, saved, **spec):
        y, node, D, _ = args
        by_y = self.run_gather(gradient, node, D, **spec)[0] if y.requires_grad else None
        return [by_y, None, self.run_products(y, gradient, node, **spec)[0] if D.requires_grad else None]

    def pull_scatter(self, gradient, args, saved, **spec):
        y, node, D, _ = args
        return [self.gather(gradient, node, D), None, self.products(y, gradient, node)]

    def back_products(self, gradient, args, saved, **spec):
        y, x, node = args
        by_y = self.run_gather(x, node, gradient, **spec)[0] if y.requires_grad else None
        return [by_y, self.run_scatter(y, node, gradient, len(x), **spec)[0] if x.requires_grad else None, None]

    def pull_products(self, gradient, args, saved, **spec):
        y, x, node = args
        return [self.gather(x, node, gradient), self.scatter(y, node, gradient, len(x)), None]


def gathered(x: Tensor, node: Tensor, D: Tensor, *, lmax: int, mmax: int) -> Tensor:
    return to_edge_frame(x[node], D, lmax, mmax)


def scattered(y: Tensor, node: Tensor, D: Tensor, size: int, *, lmax: int, mmax: int) -> Tensor:
    return segment_sum(from_edge_frame(y, D, lmax, mmax), node, size)


def multiplied(
    y: Float[Tensor, "edges rows channels"], x: Float[Tensor, "nodes components channels"], node: Tensor, *, lmax, mmax
) -> Float[Tensor, "edges packed"]:
    """What D is multiplied by in y . (D x): zero where an order is left out."""
    D = y.new_zeros(len(y), packed_size(lmax)).requires_grad_()
    with torch.enable_grad():
        product = (y * gathered(x, node, D, lmax=lmax, mmax=mmax)).sum()
        return torch.autograd.grad(product, D, create_graph=True)[0]
