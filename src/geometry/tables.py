"""Constant tensors that are computed once and then kept, per argument, dtype and device."""

from collections.abc import Callable
from functools import cache, wraps

import numpy as np
import torch
from torch import Tensor
from torch.utils._python_dispatch import _disable_current_modes


def constant_table(build: Callable[..., np.ndarray]) -> Callable[..., Tensor]:
    """Turn `build(*args) -> array` into a lazy, cached `table(*args, dtype, device) -> Tensor`.

    The arguments must be hashable. The tensor is shared between callers: never write into it. It is an ordinary tensor even
    where the first call happens in inference mode, under a default device, or while torch.compile or torch.export traces
    (where it is a constant of the graph).
    """
    array = cache(build)

    @cache
    def make(args: tuple, dtype: torch.dtype, device: torch.device) -> Tensor:
        with torch.inference_mode(False), _disable_current_modes():  # else a fake tensor would be kept for ever
            return torch.from_numpy(np.ascontiguousarray(array(*args))).to(dtype=dtype, device=device)

    @torch.compiler.assume_constant_result
    def constant(args: tuple, dtype: torch.dtype, device: torch.device) -> Tensor:
        return make(args, dtype, device)

    @wraps(build)
    def table(*args, dtype: torch.dtype = torch.float64, device: torch.device | str = "cpu") -> Tensor:
        return constant(args, dtype, torch.device(device))

    return table
