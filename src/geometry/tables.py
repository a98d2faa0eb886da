"""Constant tensors that are kept once computed, and the precision in which they are multiplied."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import cache, wraps
from itertools import count
from types import SimpleNamespace

import numpy as np
import torch
from torch import Tensor
from torch.utils._python_dispatch import _disable_current_modes

_kept = SimpleNamespace()
_numbers = count()


def constant_table(build: Callable[..., np.ndarray]) -> Callable[..., Tensor]:
    """Turn `build(*args) -> array` into a lazy, cached `table(*args, dtype, device) -> Tensor`.

    The arguments must be hashable. The tensor is shared between callers: never write into it. It is an ordinary tensor
    even where the first call happens in inference mode, under a default device, or while torch.compile or torch.export
    traces.
    """
    array = cache(build)

    @cache
    def make(args: tuple, dtype: torch.dtype, device: torch.device) -> str:
        with torch.inference_mode(False), _disable_current_modes():  # else a fake tensor would be kept for ever
            table = torch.from_numpy(np.ascontiguousarray(array(*args))).to(dtype=dtype, device=device)
        name = f"table{next(_numbers)}"
        setattr(_kept, name, table)
        return name

    # A traced function cannot build a table, so the tracer calls this for real and then sees an attribute being read.
    # (Were the tensor itself the constant result, Dynamo would confuse two tables of one function.)
    @torch.compiler.assume_constant_result
    def keep(args: tuple, dtype: torch.dtype, device: torch.device) -> str:
        return make(args, dtype, device)

    @wraps(build)
    def table(*args, dtype: torch.dtype = torch.float64, device: torch.device | str = "cpu") -> Tensor:
        return getattr(_kept, keep(args, dtype, torch.device(device)))

    return table


def no_autocast(x: Tensor) -> AbstractContextManager:
    """A context in which products stay in the dtype of x: a rotation matrix in bfloat16 is none."""
    kind = x.device.type
    return torch.autocast(kind, enabled=False) if torch.amp.is_autocast_available(kind) else nullcontext()
