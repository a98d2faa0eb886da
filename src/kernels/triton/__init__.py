"""Backends in Triton, one file a kernel: for CUDA devices, or for any under Triton's interpreter (TRITON_INTERPRET=1).

Importing this package imports neither Triton nor a kernel; a backend does so when it is first built. No kernel was timed
on a GPU yet, so `auto` does not take them: operations list them after their reference.
"""

import importlib
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from ..registry import Backend, Support


def interpreted() -> bool:
    """Whether Triton's kernels run, or would run, in its interpreter. That is settled when Triton is first imported."""
    language = sys.modules.get("triton.language")
    if language is not None and hasattr(language, "sum"):
        return type(language.sum).__name__ == "InterpretedFunction"
    return os.environ.get("TRITON_INTERPRET") == "1"


@dataclass(frozen=True)
class Triton(Backend):
    """A backend that also runs on CPUs, slowly, where Triton's interpreter is on."""

    requires: tuple[str, ...] = ("triton",)

    def support(self) -> Support:
        """Where the backend runs, and what this machine lacks for it."""
        device, _, _, reason = found = super().support()
        if not interpreted():
            device = ("cuda",)
            if reason is None and not torch.cuda.is_available():
                reason = f"there is no CUDA device, and {INTERPRETER} is off"
        return found._replace(device=device, reason=reason)

    def unusable(self, device: str, dtype: torch.dtype, order: int, spec: Mapping[str, Any]) -> str | None:
        """Why the backend cannot run such a call, or None."""
        reason = super().unusable(device, dtype, order, spec)
        if reason is None and device not in self.support().device:
            reason = f"it runs on cuda, not on {device}, since {INTERPRETER} is off"
        return reason


INTERPRETER = "Triton's interpreter (TRITON_INTERPRET=1, set before Triton is imported)"


def backend(kernel: str, **options: Any) -> Backend:
    """The backend `triton` of an operation: `build(**spec)` of this folder's module `kernel`, imported when needed."""

    def build(**spec: Any) -> Callable:
        return importlib.import_module(f"{__name__}.{kernel}").build(**spec)

    return Triton(build, **options)
