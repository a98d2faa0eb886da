"""What a benchmark may ask of a paper, by what it can do and not by what it is (DataModule.requires)."""

from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor


@runtime_checkable
class Represents(Protocol):
    """A paper with frozen features to be probed: {"all", "invariant", "equivariant"} -> (samples, [views,] channels)."""

    def represent(self, batch: Any) -> dict[str, Tensor]: ...


@runtime_checkable
class Acts(Protocol):
    """A paper with a group action on its latent space."""

    def act(self, z: Tensor, g: Tensor) -> Tensor: ...


@runtime_checkable
class Samples(Protocol):
    """A paper that generates."""

    def sample(self, count: int, generator: torch.Generator) -> Any: ...
