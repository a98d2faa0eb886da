"""Features in the frames of their edges: the m-major layout, the way there and the way back.

Nodes carry features (rows, (L+1)^2, channels), degree after degree. In the frame of an edge, where the edge points along
the polar axis, a convolution mixes degrees but not orders, so there the rows stand order after order: first m = 0 of
the degrees 0..L, then for each m = 1..mmax the rows +m of the degrees m..L and then their rows -m. Rows of |m| > mmax
are left out. The pair (+m, -m) is the real and the imaginary part of one complex number, which a turn by a about the
edge multiplies by exp(i m a).
"""

from itertools import accumulate, pairwise
from operator import index

import torch
from jaxtyping import Float
from torch import Tensor

from ..errors import UserError
from ..geometry.rotations import edge_frames
from ..geometry.wigner import packed_size, unpack_blocks, wigner
from .segment import check_range


def static(lmax: int, mmax: int) -> tuple[int, int]:
    """The same as plain numbers, even where torch.compile traces with symbols for them."""
    return index(lmax), index(mmax)


def degrees(lmax: int, mmax: int) -> list[int]:
    """How many degrees have the order m, for m = 0..mmax: n_m = lmax - m + 1."""
    return [lmax - m + 1 for m in range(mmax + 1)]


def m_rows(lmax: int, mmax: int) -> int:
    """Rows of the m-major layout: n_0 + 2 sum of n_m over m = 1..mmax."""
    n = degrees(lmax, mmax)
    return 2 * sum(n) - n[0]


def m_slices(lmax: int, mmax: int) -> list[slice]:
    """Where each m = 0..mmax stands in the m-major layout, +m before -m."""
    sizes = [n * (2 if m else 1) for m, n in enumerate(degrees(lmax, mmax))]
    return consecutive(sizes)


def consecutive(sizes: list[int]) -> list[slice]:
    """Slices of these sizes, one after the other."""
    return [slice(a, b) for a, b in pairwise(accumulate(sizes, initial=0))]


def to_edge_frame(
    x: Float[Tensor, "edges components channels"], D: Float[Tensor, "edges packed"], lmax: int, mmax: int
) -> Float[Tensor, "edges rows channels"]:
    """D x in the m-major layout, for x that already stands edge by edge."""
    parts = x.split([2 * degree + 1 for degree in range(lmax + 1)], 1)
    turned = [block @ part for block, part in zip(_blocks(D, lmax, mmax), parts, strict=True)]
    return reordered(torch.cat(turned, 1), l_major_places(lmax, mmax))


def from_edge_frame(
    y: Float[Tensor, "edges rows channels"], D: Float[Tensor, "edges packed"], lmax: int, mmax: int
) -> Float[Tensor, "edges components channels"]:
    """D^T y degree after degree, for y in the m-major layout: the transpose of `to_edge_frame`."""
    y = reordered(y, m_major_places(lmax, mmax))
    parts = y.split([2 * min(degree, mmax) + 1 for degree in range(lmax + 1)], 1)
    return torch.cat([block.mT @ part for block, part in zip(_blocks(D, lmax, mmax), parts, strict=True)], 1)


def _blocks(D: Tensor, lmax: int, mmax: int) -> list[Tensor]:
    """D^0, ..., D^lmax without the rows of |m| > mmax."""
    blocks = enumerate(unpack_blocks(D, lmax))
    return [block[:, max(0, degree - mmax) : degree + min(degree, mmax) + 1] for degree, block in blocks]


def orders(lmax: int, mmax: int) -> list[tuple[int, int]]:
    """The (degree, order) of each row that is kept, degree after degree."""
    tops = [min(degree, mmax) for degree in range(lmax + 1)]
    return [(degree, m) for degree, top in enumerate(tops) for m in range(-top, top + 1)]


def l_major_places(lmax: int, mmax: int) -> list[int]:
    """For each row of the m-major layout, its place degree after degree."""
    kept = orders(lmax, mmax)
    return sorted(range(len(kept)), key=lambda i: (abs(kept[i][1]), kept[i][1] < 0, kept[i][0]))


def m_major_places(lmax: int, mmax: int) -> list[int]:
    """The inverse of `l_major_places`."""
    places = l_major_places(lmax, mmax)
    return [places.index(row) for row in range(len(places))]


def reordered(x: Float[Tensor, "edges rows channels"], places: list[int]) -> Float[Tensor, "edges rows channels"]:
    """x[:, places]. Unlike that, the gradient of unbind and stack is a stack, not a sum into zeros."""
    rows = x.unbind(1)
    return torch.stack([rows[place] for place in places], 1)


def rotation_flop(lmax: int, mmax: int) -> int:
    """Multiplications and additions to turn one channel of one edge into its frame, or back."""
    return sum(2 * (2 * min(degree, mmax) + 1) * (2 * degree + 1) for degree in range(lmax + 1))


def check_orders(op: str, lmax: int, mmax: int) -> None:
    """UserError unless 0 <= mmax <= lmax."""
    if not 0 <= mmax <= lmax:
        raise UserError(f"{op}: lmax={lmax}, mmax={mmax}; need 0 <= mmax <= lmax")


def check_features(op: str, name: str, x: Tensor, rows: int) -> None:
    """UserError unless x is (anything, rows, channels)."""
    if x.ndim != 3 or x.shape[1] != rows:
        raise UserError(f"{op}: {name} is {tuple(x.shape)}; give (rows, {rows}, channels)")


def check_index(op: str, name: str, nodes: Tensor, edges: int, size: int) -> None:
    """UserError unless `nodes` gives each of the edges one of `size` nodes."""
    if tuple(nodes.shape) != (edges,) or nodes.dtype not in (torch.int64, torch.int32):
        raise UserError(f"{op}: {name} is {nodes.dtype} {tuple(nodes.shape)}; give ({edges},) integers, one an edge")
    check_range(op, name, nodes, size)


def check_wigner(op: str, D: Tensor, lmax: int) -> None:
    """UserError unless D holds the packed blocks of degrees 0..lmax."""
    if D.ndim != 2 or D.shape[1] != packed_size(lmax):
        raise UserError(
            f"{op}: D is {tuple(D.shape)}; give packed Wigner matrices (edges, {packed_size(lmax)}) for lmax={lmax}"
        )


def check_convolution(op: str, x: Tensor, edge_index: Tensor, D: Tensor, size: int, *, lmax: int, mmax: int) -> None:
    """UserError unless x, edge_index, D and size are those of a convolution over the edges of a graph."""
    check_orders(op, lmax, mmax)
    check_features(op, "x", x, (lmax + 1) ** 2)
    check_wigner(op, D, lmax)
    if edge_index.ndim != 2 or edge_index.shape[0] != 2:
        raise UserError(f"{op}: edge_index is {tuple(edge_index.shape)}; give (2, edges), sources then destinations")
    check_size(op, size)
    check_index(op, "edge_index[0]", edge_index[0], D.shape[0], x.shape[0])
    check_index(op, "edge_index[1]", edge_index[1], D.shape[0], size)


def check_size(op: str, size: int) -> None:
    """UserError for a negative number of destinations."""
    if size < 0:
        raise UserError(f"{op}: size={size}; give the number of destinations")


def example_edges(dtype, device, seed: int, *, nodes: int, degree: int, lmax: int) -> tuple[Tensor, Tensor]:
    """Random edges sorted by destination, and the packed Wigner matrices of random directions."""
    g = torch.Generator().manual_seed(seed)
    edge_index = torch.randint(nodes, (2, nodes * degree), generator=g)
    edge_index = edge_index[:, edge_index[1].argsort()]
    D = wigner(edge_frames(torch.randn(nodes * degree, 3, generator=g, dtype=torch.float64)), lmax)
    return edge_index.to(device), D.to(device, dtype)
