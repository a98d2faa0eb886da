"""`so2_depthwise` by OpenEquivariance (arXiv:2501.13986), as a Clebsch-Gordan product with the edges' harmonics.

Its kernels run on CUDA only and were never run here. What is tested is all that surrounds them: the problem that is stated
to it, which means what e3nn's TensorProduct of the same arguments means, evaluated by that. `auto` does not take it.

Every coefficient is written out in its kernels: half a megabyte of source at lmax = 2, thirteen at lmax = 4, which take
accordingly long to compile.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import Module
from torch.nn.functional import pad

from ..geometry.spherical_harmonics import spherical_harmonics
from ..geometry.tables import constant_table
from . import so2
from .module_cache import ModuleCache
from .registry import Backend


def backend(reference: Callable) -> Backend:
    """The backend `oeq` of `so2_depthwise`, for CUDA."""

    def build(*, lmax: int, mmax: int) -> Callable:
        kernels = ModuleCache(_made)

        def run(x: Tensor, edge_index: Tensor, D: Tensor, weight: Tensor, size: int) -> Tensor:
            if x.numel() == 0 or D.numel() == 0 or size == 0:
                return reference(x, edge_index, D, weight, size, lmax=lmax, mmax=mmax)
            kernel = kernels(lmax, x.shape[2], x.dtype, str(x.device))
            return convolution(kernel, x, edge_index, D, weight, size, lmax, mmax)

        return run

    return Backend(build, ("cuda",), (torch.float64, torch.float32), requires=("openequivariance",))


def convolution(
    kernel: Callable, x: Tensor, edge_index: Tensor, D: Tensor, weight: Tensor, size: int, lmax: int, mmax: int
) -> Tensor:
    """The operation by a kernel of `problem`: kernel(x, Y, weights, destinations, sources) -> rows, as many as x has.

    Of D it reads the directions alone. The gradient by D is therefore another than the reference's, but the same along
    rotations, and so are those by the vectors that D was made of.
    """
    rows, _, channels = x.shape
    source, destination = edge_index.long()
    directions = D[:, 4:7] if lmax else D.new_zeros(D.shape[0], 3)  # the polar row of D^1
    harmonics = spherical_harmonics(directions, 2 * lmax, normalize=False)
    by_path = torch.einsum("pq,eqc->epc", _weights_of_paths(lmax, mmax, dtype=x.dtype, device=x.device), weight)
    directed = (directions != 0).any(1)[:, None, None]  # an edge without direction has only the path from 0 to 0
    by_path = torch.cat([by_path[:, :1], by_path[:, 1:] * directed], 1)
    padded = pad(x.flatten(1), (0, 0, 0, max(0, size - rows)))
    sums = kernel(padded, harmonics, by_path.flatten(1), destination, source)
    return sums[:size].unflatten(1, (-1, channels))


def problem(lmax: int, channels: int) -> dict[str, Any]:
    """e3nn's arguments of the product: x with harmonics of degree up to 2 lmax, weights of paths, paths to one l3 summed.

    All irreps are even, since paths of odd l1 + l2 + l3 take part.
    """
    node = [(channels, (degree, 1)) for degree in range(lmax + 1)]
    return {
        "irreps_in1": node,
        "irreps_in2": [(1, (degree, 1)) for degree in range(2 * lmax + 1)],
        "irreps_out": node,
        "instructions": [(*path, "uvu", True) for path in so2.paths(lmax)],
        "irrep_normalization": "none",
        "path_normalization": "none",
        "shared_weights": False,
        "internal_weights": False,
    }


@constant_table
def _weights_of_paths(lmax: int, mmax: int) -> np.ndarray:
    """(paths, pairs): the inverse of so2.path_matrix; orders above mmax have weight zero."""
    return torch.linalg.inv(so2.path_matrix(lmax, lmax))[:, : so2.pairs(lmax, mmax)].numpy()


def _made(lmax: int, channels: int, dtype: torch.dtype, device: str) -> Module:
    """OpenEquivariance's fused convolution, in its layout `ir_mul`, which is ours."""
    import openequivariance as oeq

    number = oeq.torch_to_oeq_dtype(dtype)
    stated = oeq.TPProblem(**problem(lmax, channels), irrep_dtype=number, weight_dtype=number, layout="ir_mul")
    with torch.cuda.device(device):
        return oeq.TensorProductConv(stated, deterministic=False)
