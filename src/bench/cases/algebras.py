"""Multivectors, and the kernels of diagonal state spaces."""

from collections.abc import Callable, Iterable, Iterator

import torch
from torch import Tensor

from ...geometry.clifford import Signature, grade_paths, grades, product_table
from ..case import Case, Competitor, Scale, op_case


def geometric_product(scale: Scale, degrees: Iterable[int]) -> Iterator[Case]:
    """Beside a plain sum, which moves the same memory."""
    for signature in ((3, 0, 1), (3, 0, 0)):
        size = {"nodes": scale.pick(6, 5000, 50_000), "channels": scale.pick(4, 64, 128)}
        plain = Competitor("x + y", lambda: lambda x, y: x + y, restore=None, orders=0, remark="as much memory")
        name = f"G{signature}, {size['nodes']} nodes, {size['channels']} channels"
        yield op_case("geometric_product", scale, {"signature": signature, **size}, [plain], size=name)


def vandermonde(scale: Scale, degrees: Iterable[int]) -> Iterator[Case]:
    size = {"heads": scale.pick(2, 64, 256), "roots": scale.pick(4, 32, 32), "length": scale.pick(37, 2048, 2048)}
    label = f"{size['heads']} heads, {size['roots']} roots, {size['length']} steps"
    yield op_case("vandermonde", scale, size, size=label)


def weighted_geometric_product(scale: Scale, degrees: Iterable[int]) -> Iterator[Case]:
    """Beside one dense contraction, which is how the paper writes it."""
    for signature in ((3, 0, 0), (3, 0, 1), (5, 0, 0)):
        size = {"rows": scale.pick(6, 1000, 10_000), "channels": scale.pick(4, 64, 128)}
        if sum(signature) == 5:  # as CSMPN has it
            size = {"rows": scale.pick(2, 1000, 10_000), "channels": scale.pick(2, 28, 28)}
        count = len(grade_paths(signature))
        yield op_case(
            "weighted_geometric_product",
            scale,
            {"signature": signature, **size},
            [Competitor("einsum", lambda signature=signature: dense(signature))],
            size=f"G{signature}, {size['rows']} rows, {size['channels']} channels",
            weights=count * size["channels"],
        )


def grade_squares(scale: Scale, degrees: Iterable[int]) -> Iterator[Case]:
    yield from by_grade("grade_squares", scale)


def grade_scale(scale: Scale, degrees: Iterable[int]) -> Iterator[Case]:
    yield from by_grade("grade_scale", scale)


def by_grade(op: str, scale: Scale) -> Iterator[Case]:
    size = {"rows": scale.pick(6, 2000, 20_000), "channels": scale.pick(4, 28, 28)}
    name = f"G(5, 0, 0), {size['rows']} rows, {size['channels']} channels"
    yield op_case(op, scale, {"signature": (5, 0, 0), **size}, size=name)


def dense(signature: Signature) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    """The table of the product times the weight of each entry's grades, contracted at once; where grades do not couple, the
    table is zero and any weight will do."""
    number = {path: i for i, path in enumerate(grade_paths(signature))}
    grade = grades(signature)
    path = torch.tensor([[[number.get((a, b, c), 0) for c in grade] for b in grade] for a in grade])

    def product(x: Tensor, y: Tensor, weight: Tensor) -> Tensor:
        table = product_table(signature, x.dtype, x.device).unsqueeze(-1) * weight[path.to(x.device)]
        return torch.einsum("ijkc,irc,jrc->krc", table, x, y)

    return product
