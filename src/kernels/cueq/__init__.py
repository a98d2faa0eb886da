"""Backends by cuEquivariance, one file an operation: the paths and their coefficients are ours, the evaluation is theirs.

What it evaluates are segmented polynomials: sums over paths of products of segments of the operands with a coefficient.
Flattened, our features (rows, components, channels) are its layout `ir_mul`, so that nothing is transposed. On a CPU its
method `naive` runs, plain PyTorch, and on CUDA its kernels `uniform_1d`, which come in a package of their own. Those were
never run here, so that `auto` takes none of these backends: operations list them after their reference.

Importing this package does not import cuEquivariance; a backend does so when it is first built.
"""

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor

from ..registry import Backend

KERNELS = "cuequivariance-ops-torch-cu12 (or -cu13, as torch's CUDA is)"


@dataclass(frozen=True)
class CuEquivariance(Backend):
    """A backend that runs on CUDA only with cuEquivariance's package of kernels."""

    def unusable(self, device: str, dtype: torch.dtype, order: int, spec: Mapping[str, Any]) -> str | None:
        """Why the backend cannot run such a call, or None."""
        reason = super().unusable(device, dtype, order, spec)
        if reason is None and device == "cuda" and find_spec("cuequivariance_ops_torch") is None:
            reason = f"its kernels for CUDA are not installed: pip install {KERNELS}"
        return reason


def backend(reference: Callable, **restrictions: Any) -> Backend:
    """The backend `cueq` of an operation: `build(**spec)` of this folder's module of its name, imported when needed.

    Where there are no rows or channels there is no polynomial, and the reference gives what there is to give.
    """

    def build(**spec: Any) -> Callable:
        run = importlib.import_module(f"{__name__}.{reference.__name__}").build(**spec)

        def call(*args: Any) -> Tensor:
            empty = any(isinstance(a, Tensor) and a.numel() == 0 for a in args)
            return reference(*args, **spec) if empty else run(*args)

        return call

    return CuEquivariance(build, missing=not_installed, **restrictions)


def not_installed() -> str | None:
    """What this machine lacks, or None."""
    absent = [name for name in ("cuequivariance", "cuequivariance_torch") if find_spec(name) is None]
    return f"{' and '.join(absent)} not installed: pip install 'erlangen[cueq]'" if absent else None


def many_factors(*, correlation: int, **spec: int) -> str | None:
    """`naive` takes products of five operands, a weight among them."""
    return f"it multiplies up to 4 factors, not correlation={correlation}" if correlation > 4 else None
