"""Pickled PyTorch tensors and PyG objects read as plain arrays and dictionaries: neither torch nor PyG is asked for anything.

A tensor's numbers are taken out of its bytes only when it is looked at, so that what a file holds beside the fields that
are needed (its graphs, mostly) costs next to nothing.
"""

import io
import pickle
from collections import OrderedDict
from typing import Any

import numpy as np

from .safe_pickle import ARRAYS, Allowed, Refused

MAGIC = 0x1950A86A20F9469CFC6C
PROTOCOL = 1001
STORAGES = {
    "DoubleStorage": "<f8",
    "FloatStorage": "<f4",
    "HalfStorage": "<f2",
    "LongStorage": "<i8",
    "IntStorage": "<i4",
    "ShortStorage": "<i2",
    "CharStorage": "<i1",
    "ByteStorage": "<u1",
    "BoolStorage": "?",
}


class Sealed(type):
    """A class whose attributes a pickle cannot replace."""

    def __setattr__(cls, name: str, value: Any) -> None:
        raise Refused(f"a change of {cls.__name__}")


class Record(metaclass=Sealed):
    """Stands in for an object of any class that is allowed: it keeps the state that it is given, and does nothing."""

    state: Any = None

    def __init__(self, *arguments: Any):
        pass

    def __setstate__(self, state: Any) -> None:
        self.__dict__["state"] = state


class PickledTensor(metaclass=Sealed):
    """A tensor in the form in which it was written."""

    def __init__(self, content: bytes, offset: int, shape: tuple[int, ...], strides: tuple[int, ...]):
        self.content, self.offset, self.shape, self.strides = content, offset, shape, strides

    def numpy(self) -> np.ndarray:
        """Its numbers. Raises ValueError where the bytes are no storage, or fewer than shape and strides ask for."""
        storage = read_storage(self.content)
        size = storage.dtype.itemsize
        strides = tuple(size * stride for stride in self.strides)
        return np.ndarray(self.shape, storage.dtype, storage, size * self.offset, strides)


def tensor(storage: bytes, offset: int, shape: tuple[int, ...], strides: tuple[int, ...], *_: Any) -> PickledTensor:
    """torch._utils._rebuild_tensor_v2"""
    return PickledTensor(storage, offset, tuple(shape), tuple(strides))


def storage_bytes(content: bytes) -> bytes:
    """torch.storage._load_from_bytes"""
    return content


def scalar(dtype: np.dtype, content: bytes) -> Any:
    """numpy's pickled scalars"""
    return np.frombuffer(content, dtype)[0]


PYG: Allowed = {
    ("torch_geometric.data.data", "Data"): Record,
    ("torch_geometric.data.data", "DataEdgeAttr"): Record,
    ("torch_geometric.data.data", "DataTensorAttr"): Record,
    ("torch_geometric.data.storage", "GlobalStorage"): Record,
    ("torch._utils", "_rebuild_tensor_v2"): tensor,
    ("torch.storage", "_load_from_bytes"): storage_bytes,
    ("collections", "OrderedDict"): OrderedDict,
    ("numpy.core.multiarray", "scalar"): scalar,
    ("numpy._core.multiarray", "scalar"): scalar,
    **ARRAYS,
}
"""What a pickle of a PyG object, version 1 or 2, names."""


def fields(record: Any) -> dict[str, Any]:
    """The fields of a pickled PyG object: a flat dictionary in version 1, a dictionary in a storage in version 2."""
    state = getattr(record, "state", None)
    if isinstance(state, dict) and isinstance(state.get("_store"), Record):
        state = state["_store"].state
        state = state.get("_mapping") if isinstance(state, dict) else None
    if not isinstance(state, dict):
        raise ValueError("no object of PyTorch Geometric")
    return state


class StorageHeader(pickle.Unpickler):
    """Reads what stands before the numbers in torch's older format, in which a storage is pickled."""

    def find_class(self, module: str, name: str) -> Any:
        if module != "torch" or name not in STORAGES:
            raise Refused(f"{module}.{name}")
        return STORAGES[name]

    def persistent_load(self, pid: Any) -> Any:
        return pid


def read_storage(content: bytes) -> np.ndarray:
    """The numbers of a pickled storage, as a view of its bytes (elements,).

    Four pickles (a magic number, a version, sizes of types, the storage's type and length) and a fifth with its name come
    before them. Raises ValueError where they do not.
    """
    stream = io.BytesIO(content)
    magic, version, _, described, _ = (StorageHeader(stream).load() for _ in range(5))
    if (magic, version) != (MAGIC, PROTOCOL):
        raise ValueError("bytes that are no storage of PyTorch")
    kind, dtype, *_ = described
    if kind != "storage" or dtype not in STORAGES.values():
        raise ValueError("a storage of unknown type")
    start = stream.tell()
    count = int.from_bytes(content[start : start + 8], "little", signed=True)
    return np.frombuffer(content, dtype, count, start + 8) if count else np.empty(0, dtype)
