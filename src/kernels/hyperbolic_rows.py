"""What operations on rows of hyperbolic points share: the shapes of their arguments, checked."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..errors import UserError

Rows = Float[Tensor, "pixels channels"]
PerPixel = Float[Tensor, " pixels"]
Count = Int[Tensor, ""]


def check_rows(op: str, **rows: Tensor) -> None:
    """Raises UserError unless all are (pixels, channels), and alike."""
    shapes = [tuple(tensor.shape) for tensor in rows.values()]
    if any(len(shape) != 2 or shape != shapes[0] for shape in shapes):
        given = " and ".join(f"{name} {shape}" for name, shape in zip(rows, shapes, strict=True))
        raise UserError(f"{op}: {given}; give (pixels, channels)")


def check_curvature(op: str, c: float) -> None:
    if c <= 0:
        raise UserError(f"{op}: c={c}; the curvature is -c, and c must be positive")


def over(values: Float[Tensor, "*points"], limit: float) -> Count:
    """How many values are greater. (By floats, as integers are summed six times slower on a CPU.)"""
    return (values.detach() > limit).to(values.dtype).sum().long()


def random_tensors(seed: int, dtype: torch.dtype, device: str, *sizes: tuple[int, ...]) -> list[Tensor]:
    """Tensors of normal numbers, for examples."""
    g = torch.Generator().manual_seed(seed)
    return [torch.randn(size, generator=g, dtype=torch.float64).to(device, dtype) for size in sizes]
