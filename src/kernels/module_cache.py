"""Modules that a backend makes at its first call for a size, device or dtype, also where that call is being traced."""

from collections.abc import Callable, Hashable
from operator import index

import torch
from torch.nn import Module, ModuleDict
from torch.utils._python_dispatch import _disable_current_modes


class ModuleCache:
    """`cache(*key)` is make(*key), made once. Sizes among the key are taken as plain numbers.

    A compiler sees a constant name and a module, not how it is made.
    """

    def __init__(self, make: Callable[..., Module]):
        self._made = ModuleDict()
        # Here, not as a decorator: Dynamo is slow to import.
        self._name = torch.compiler.assume_constant_result(_named(make, self._made))

    def __call__(self, *key: Hashable) -> Module:
        return self._made[self._name(*(index(part) if isinstance(part, int | torch.SymInt) else part for part in key))]


def _named(make: Callable[..., Module], made: ModuleDict) -> Callable[..., str]:
    def name_of(*key):
        name = repr(key).replace(".", "_")  # a ModuleDict's names have no dots
        if name not in made:
            with torch.inference_mode(False), _disable_current_modes():  # their constants must serve in any mode
                made[name] = make(*key)
        return name

    return name_of
