"""Multivectors, and the kernels of diagonal state spaces."""

from collections.abc import Iterable, Iterator

from ..case import Case, Competitor, Scale, op_case


def geometric_product(scale: Scale, degrees: Iterable[int]) -> Iterator[Case]:
    """Beside a plain sum, which moves the same memory."""
    for signature in ((3, 0, 1), (3, 0, 0)):
        size = {"nodes": scale.pick(6, 1000, 10_000), "channels": scale.pick(4, 64, 128)}
        plain = Competitor("x + y", lambda: lambda x, y: x + y, restore=None, orders=0, remark="as much memory")
        name = f"G{signature}, {size['nodes']} nodes, {size['channels']} channels"
        yield op_case("geometric_product", scale, {"signature": signature, **size}, [plain], size=name)


def vandermonde(scale: Scale, degrees: Iterable[int]) -> Iterator[Case]:
    size = {"heads": scale.pick(2, 64, 256), "roots": scale.pick(4, 32, 32), "length": scale.pick(37, 2048, 2048)}
    label = f"{size['heads']} heads, {size['roots']} roots, {size['length']} steps"
    yield op_case("vandermonde", scale, size, size=label)
