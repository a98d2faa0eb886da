"""Segmented polynomials, made once for each number of channels and evaluated by cuEquivariance."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import Module

from ...errors import UserError
from ..module_cache import ModuleCache
from . import KERNELS

METHODS = {"cpu": "naive", "cuda": "uniform_1d"}


class Polynomial:
    """A sum over paths of products of segments; `describe(*sizes)` states it as a cuequivariance.SegmentedPolynomial.

    The sizes are numbers of channels, in which calls may differ. The polynomial has one output.
    """

    def __init__(self, describe: Callable[..., Any]):
        self._module = ModuleCache(lambda device, *sizes: _module(describe(*sizes), torch.device(device)))

    def __call__(
        self,
        sizes: Sequence[int],
        inputs: Sequence[Tensor],
        gather: Mapping[int, Tensor] | None = None,
        scatter: tuple[Tensor, int] | None = None,
    ) -> Tensor:
        """The output's rows, flat, of inputs that have as many rows each, or one for all.

        Args:
            sizes: what `describe` takes.
            inputs: in the order of the operands; axes after the first are flattened.
            gather: {place of an input: which of its rows to take}.
            scatter: to which row of the output each row is added, and the number of those; without it, rows are kept.
        """
        module = self._module(str(inputs[0].device), *sizes)
        flat = [value.flatten(1) for value in inputs]
        taken = {place: rows.long() for place, rows in (gather or {}).items()}
        if scatter is None:
            return module(flat, taken)[0]
        rows, count = scatter
        return module(flat, taken, {0: flat[0].new_empty(count, 1)}, {0: rows.long()})[0]


def _module(polynomial: Any, device: torch.device) -> Module:
    from cuequivariance_torch import SegmentedPolynomial

    method = METHODS[device.type]
    module = SegmentedPolynomial(polynomial if method == "naive" else flattened(polynomial), method)
    if module.method != method:
        raise UserError(f"cueq: cuEquivariance's kernels for CUDA do not load here; they are in {KERNELS}")
    return module.to(device)


def flattened(polynomial: Any) -> Any:
    """The same with a path for each coefficient that is not zero: `uniform_1d` knows no axis but that of channels, u."""
    modes = {mode for _, product in polynomial.operations for mode in product.subscripts.modes()}
    return polynomial.flatten_modes(sorted(modes - {"u"}))
