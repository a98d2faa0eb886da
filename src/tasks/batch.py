"""A batch of images, views or sequences: named tensors with one row a sample. (Atoms and points come as a PyG Batch.)"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor


class TensorBatch:
    """Named tensors of equal length, read as `batch.image` or `batch["image"]`.

    >>> batch = TensorBatch(image=torch.zeros(8, 3, 32, 32), label=torch.zeros(8, dtype=torch.long), id=torch.arange(8))
    >>> len(batch), batch.image.shape
    """

    def __init__(self, **tensors: Tensor):
        lengths = {name: len(tensor) for name, tensor in tensors.items()}
        if len(set(lengths.values())) != 1:
            raise ValueError(f"the tensors of a batch must be equally long: {lengths}")
        self.__dict__.update(tensors)

    def __len__(self) -> int:
        return len(next(iter(self.__dict__.values())))

    def __iter__(self) -> Iterator[str]:
        return iter(self.__dict__)

    def __contains__(self, name: str) -> bool:
        return name in self.__dict__

    def __getitem__(self, name: str) -> Tensor:
        return self.__dict__[name]

    def __setitem__(self, name: str, value: Tensor) -> None:
        self.__dict__[name] = value

    def clone(self) -> "TensorBatch":
        """A copy whose fields can be replaced without changing this batch (the tensors are shared)."""
        return TensorBatch(**self.__dict__)

    def to(self, *args: Any, **kwargs: Any) -> "TensorBatch":
        """On another device; a dtype changes floating tensors only, as for a module."""
        dtype = next((a for a in [*args, *kwargs.values()] if isinstance(a, torch.dtype)), None)
        return TensorBatch(
            **{
                name: tensor.to(*args, **kwargs) if dtype is None or tensor.is_floating_point() else tensor
                for name, tensor in self.__dict__.items()
            }
        )

    def pin_memory(self) -> "TensorBatch":
        return TensorBatch(**{name: tensor.pin_memory() for name, tensor in self.__dict__.items()})
