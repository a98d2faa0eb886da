"""Unpickling what others wrote without running anything that they ask for.

A pickle is a program: it names functions, which the unpickler imports and calls. Here it may only name what is on a list
that the reader of a format gives; each entry is the object itself or a stand-in for it.
"""

import io
import pickle
from collections.abc import Mapping
from typing import Any, NoReturn

import numpy as np

from ...errors import UserError

Allowed = Mapping[tuple[str, str], Any]
"""(module, name) as a pickle writes them -> what the pickle gets for it."""


def load(content: bytes, allowed: Allowed, source: str) -> Any:
    """The object in a pickle of any protocol, its byte strings (and the strings of Python 2) as bytes.

    Args:
        content: the pickle.
        allowed: all that the pickle may name.
        source: what to call the file in an error.

    Raises:
        UserError: the pickle names something else (which is then not imported either), or is damaged.
    """
    try:
        return RestrictedUnpickler(content, allowed).load()
    except Refused as refused:
        raise UserError(
            f"{source} asks for {refused}, which data of this kind never need: nothing was run; remove the file and get "
            "it again from where it is published"
        ) from None
    except Exception as error:  # a damaged pickle may raise anything
        raise UserError(f"{source} is no intact pickle ({type(error).__name__}: {error})") from None


class Refused(pickle.UnpicklingError):
    """The name that a pickle asked for in vain."""


class RestrictedUnpickler(pickle.Unpickler):
    """Finds only what is allowed, and imports nothing."""

    def __init__(self, content: bytes, allowed: Allowed):
        super().__init__(io.BytesIO(content), encoding="bytes")
        self.allowed = allowed

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self.allowed:
            raise Refused(f"{module}.{name}")
        return self.allowed[module, name]

    def persistent_load(self, pid: Any) -> NoReturn:
        raise Refused("an object outside the file")


def numeric_dtype(code: str | bytes, *flags: Any) -> np.dtype:
    """numpy.dtype without the dtypes that hold pointers."""
    dtype = np.dtype(code.decode() if isinstance(code, bytes) else code, *flags)
    if dtype.kind not in "biuf":
        raise Refused(f"an array of {dtype}")
    return dtype


def latin1_bytes(text: str, codec: str) -> bytes:
    """_codecs.encode as Python 3 uses it to write bytes in protocol 2."""
    if codec != "latin1":
        raise Refused(f"the codec {codec}")
    return text.encode("latin1")


_reconstruct = np.empty(0).__reduce__()[0]  # its module was renamed in numpy 2
ARRAYS: Allowed = {
    ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy._core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): numeric_dtype,
    ("_codecs", "encode"): latin1_bytes,
}
"""What a pickle of numeric arrays and plain containers needs, up to protocol 4."""
