"""What the tests of edge-frame operations share: Clebsch-Gordan products by e3nn, written out path by path."""

from contextlib import contextmanager
from math import isqrt

import torch
from e3nn import o3
from torch import Tensor

from erlangen.geometry.rotations import random_rotations
from erlangen.geometry.wigner import rotate, wigner, wigner_blocks
from erlangen.kernels.so2 import paths
from erlangen.kernels.wigner import conv_frames


@contextmanager
def default_float64():
    """e3nn makes its tables in the default dtype."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def graph(generator, lmax, channels, *, nodes=5, edges=20, dtype=torch.float64):
    """Node features, unsorted edges, and the edges' vectors."""
    x = torch.randn(nodes, (lmax + 1) ** 2, channels, generator=generator, dtype=torch.float64)
    edge_index = torch.randint(nodes, (2, edges), generator=generator)
    vectors = torch.randn(edges, 3, generator=generator, dtype=torch.float64)
    return x.to(dtype), edge_index, vectors.to(dtype)


def frames(vectors: Tensor, lmax: int) -> Tensor:
    """Packed Wigner matrices of the frames of edges."""
    return wigner(conv_frames(vectors), lmax)


def mul_ir(x):
    """Features in e3nn's layout: degree after degree, and there the channels are the slower index."""
    degrees = range(isqrt(x.shape[1]))
    return torch.cat([x[:, degree**2 : (degree + 1) ** 2].mT.flatten(1) for degree in degrees], 1)


def from_mul_ir(flat, lmax, channels):
    """Features from e3nn's layout."""
    parts = flat.split([(2 * degree + 1) * channels for degree in range(lmax + 1)], 1)
    return torch.cat([part.unflatten(1, (channels, -1)).mT for part in parts], 1)


def clebsch_gordan_sum(x, edge_index, vectors, mix, lmax):
    """Sum over edges and over all paths (l1, l2, l3) of mix(path, w3j(x_l1, Y_l2)), harmonics and couplings e3nn's."""
    source, destination = edge_index
    Y = o3.spherical_harmonics(list(range(2 * lmax + 1)), vectors, True, "component").to(x.dtype)
    out = None
    for number, (l1, l2, l3) in enumerate(paths(lmax)):
        coupling = o3.wigner_3j(l1, l2, l3, dtype=x.dtype)
        xl, yl = x[source, l1**2 : (l1 + 1) ** 2], Y[:, l2**2 : (l2 + 1) ** 2]
        message = mix(number, torch.einsum("abc,eau,eb->ecu", coupling, xl, yl))
        if out is None:
            out = x.new_zeros(x.shape[0], x.shape[1], message.shape[2])
        out[:, l3**2 : (l3 + 1) ** 2].index_add_(0, destination, message)
    return out


def equivariance_error(convolution, x, vectors, lmax, generator):
    """max |f(R x) - R f(x)| / max |f(x)| over one rotation of features and edges together."""
    R = random_rotations(generator=generator)
    blocks = [block.to(x.dtype) for block in wigner_blocks(R, lmax)]
    turned = (vectors.double() @ R.mT).to(x.dtype)
    plain = convolution(x, vectors)
    return ((convolution(rotate(x, blocks), turned) - rotate(plain, blocks)).abs().max() / plain.abs().max()).item()


def relative(found, true):
    """max |error| / max |true|."""
    return ((found - true).abs().max() / true.abs().max()).item()
