"""Operations with a readable reference and faster backends, one file each; config chooses which backend runs.

    kernels.get("so2_conv", choice, lmax=4)      # a callable; resolved at its first call
    kernels.available("so2_conv")                # {backend: Support(device, dtypes, orders, reason)}

registry.py says what an operation is, choice.py how config chooses, kernel.py how a call finds its backend, compiled.py
makes a compiled backend from a reference.
"""

from .choice import Kernels, register_schema
from .kernel import Kernel, available, get
from .registry import Backend, Cost, Op, Support, Tolerance, ops, traffic

__all__ = [
    "Backend",
    "Cost",
    "Kernel",
    "Kernels",
    "Op",
    "Support",
    "Tolerance",
    "available",
    "get",
    "ops",
    "register_schema",
    "traffic",
]
