"""How kernels are compiled and tuned; what all of them need to know about their tensors."""

import inspect
from collections.abc import Callable

import torch
import triton
import triton.language as tl

from . import interpreted


def jit(function: Callable) -> Callable:
    """`triton.jit` of a function as it is written: an import hook that checks types may have wrapped it."""
    return triton.jit(inspect.unwrap(function))


INTERPRETED = tl.constexpr(interpreted())


@jit
def dot(a, b, ACC: tl.constexpr, PRECISION: tl.constexpr):
    """The product of two tiles, summed in ACC. The interpreter would multiply the bits of bfloat16."""
    if INTERPRETED:
        a, b = a.to(ACC), b.to(ACC)
    return tl.dot(a, b, input_precision=PRECISION, out_dtype=ACC)


def tuned(*choices: dict[str, int], key: list[str]) -> Callable:
    """`triton.autotune` over block sizes and `num_warps`, anew for each value of the arguments `key`.

    The interpreter, which has nothing to time, takes the first choice.
    """
    configs = [
        triton.Config({name: size for name, size in choice.items() if name != "num_warps"}, choice["num_warps"])
        for choice in (choices[:1] if interpreted() else choices)
    ]
    return triton.autotune(configs, key)


def accumulator(dtype: torch.dtype) -> tl.dtype:
    """What sums are kept in: float64 for float64, float32 for all others."""
    return tl.float64 if dtype == torch.float64 else tl.float32


def lanes(count: int, most: int = 128, least: int = 1) -> int:
    """The power of two that holds `count`, within bounds."""
    return max(least, min(most, triton.next_power_of_2(max(count, 1))))


def precision() -> str:
    """How float32 matrices are multiplied: torch's own switch, `set_float32_matmul_precision`, holds here, too."""
    return "tf32x3" if torch.get_float32_matmul_precision() == "highest" else "tf32"
