"""Operations in the frames of edges, beside e3nn's Clebsch-Gordan products over the same edges."""

from collections.abc import Iterable, Iterator
from functools import partial

import torch
from torch import Tensor

from ... import kernels
from ...geometry.wigner import unpack_blocks
from ...kernels import Tolerance, m_layout
from ...kernels.so2 import paths
from ...kernels.wigner import conv_frames
from ..case import Case, Competitor, Scale, op_case, usable
from . import with_cueq, with_e3nn

EDGES = {1: 4000, 2: 4000, 3: 1000, 4: 500, 6: 100, 8: 50}
DEGREE = 25


def sizes(scale: Scale, lmax: int) -> dict[str, int]:
    count = scale.pick(50, next(n for top, n in EDGES.items() if lmax <= top or top == 8), 50_000)
    return {"nodes": count // DEGREE, "degree": DEGREE, "channels": scale.pick(4, 64, 128), "lmax": lmax}


def orders(lmax: int) -> int:
    """Second derivatives up to L = 2: beyond, their compilation takes minutes."""
    return 2 if lmax <= 2 else 1


def edges(size: dict[str, int]) -> int:
    return size["nodes"] * size["degree"]


def label(size: dict[str, int]) -> str:
    return f"L = {size['lmax']}, {edges(size)} edges, {size['channels']} channels"


def so2_depthwise(scale: Scale, degrees: Iterable[int]) -> Iterator[Case]:
    """D given, as in a layer of several that share it; and from edge vectors, D and harmonics included."""
    for lmax in degrees:
        size = sizes(scale, lmax)
        count = {"paths": len(paths(lmax)), "weights": len(paths(lmax)) * size["channels"]}
        rivals = [*with_e3nn.depthwise(lmax, size["channels"]), *with_cueq.depthwise(lmax, size["channels"])]
        shape = {**size, "mmax": lmax}
        yield op_case(
            "so2_depthwise",
            scale,
            shape,
            rivals,
            lmax=lmax,
            wrt=(0, 3),
            size=label(size),
            rows=edges(size),
            orders=orders(lmax),
            title="D given",
            **count,
        )
        yield end_to_end(scale, size, count)
        if lmax > 2:
            shape = {**size, "mmax": 2}
            few = sum(k * k * (2 if m else 1) for m, k in enumerate(m_layout.degrees(lmax, 2)))
            yield op_case(
                "so2_depthwise",
                scale,
                shape,
                lmax=lmax,
                wrt=(0, 3),
                size=label(size),
                rows=edges(size),
                orders=orders(lmax),
                title="D given, m <= 2",
                paths=count["paths"],
                weights=few * size["channels"],
            )


def so2_depthwise_radial(scale: Scale, degrees: Iterable[int]) -> Iterator[Case]:
    for lmax in degrees:
        size = sizes(scale, lmax)
        shape = {**size, "inputs": scale.pick(8, 64, 64), "mmax": lmax}
        name = f"{label(size)}, {shape['inputs']} inputs"
        yield op_case("so2_depthwise_radial", scale, shape, lmax=lmax, size=name, rows=edges(size), orders=orders(lmax))


def end_to_end(scale: Scale, size: dict[str, int], count: dict[str, int]) -> Case:
    lmax, channels = size["lmax"], size["channels"]
    example = kernels.registry.find("so2_depthwise").example
    (x, edge_index, _, weight, nodes), _ = example(torch.float32, scale.device, 0, **size, mmax=lmax)
    r = torch.randn(edge_index.shape[1], 3, generator=torch.Generator().manual_seed(1)).to(scale.device)
    spec = {"lmax": lmax, "mmax": lmax}
    backends = usable("so2_depthwise", scale.device, torch.float32, 2, spec)
    names = ["reference", *(name for name in backends if name != "reference")]
    chosen = {"reference": "reference"}
    ours = [Competitor(name, partial(from_vectors, chosen.get(name, "auto"), name, lmax), ours=True) for name in names]
    rivals = [competitor for wide in (False, True) for competitor in with_e3nn.end_to_end(lmax, channels, wide)]
    return Case(
        op="so2_depthwise",
        title="end to end",
        size=label(size),
        rows=edges(size),
        orders=orders(lmax),
        args=(x, edge_index, r, weight, nodes),
        reference=from_vectors("reference", "reference", lmax),
        competitors=[*ours, *rivals],
        auto=backends[0],
        lmax=lmax,
        tolerance=Tolerance(forward=4e-6),
        **count,
    )


def from_vectors(wigner: str, product: str, lmax: int):
    """Frames, Wigner matrices and the product."""
    matrices = kernels.get("wigner", wigner, lmax=lmax)
    convolve = kernels.get("so2_depthwise", product, lmax=lmax, mmax=lmax)

    def convolution(x: Tensor, edge_index: Tensor, r: Tensor, weight: Tensor, size: int) -> Tensor:
        return convolve(x, edge_index, matrices(conv_frames(r)), weight, size)

    return convolution


def so2_conv(scale: Scale, degrees: Iterable[int]) -> Iterator[Case]:
    """With radial weights of one, since e3nn's product has none for single orders."""
    for lmax in degrees:
        size = sizes(scale, lmax)
        for mmax in sorted({lmax, min(2, lmax)}, reverse=True):
            rivals = with_e3nn.convolution(lmax, size["channels"]) if mmax == lmax else []
            pairs = sum(k * k * (2 if m else 1) for m, k in enumerate(m_layout.degrees(lmax, mmax)))
            case = op_case(
                "so2_conv",
                scale,
                {**size, "mmax": mmax},
                rivals,
                lmax=lmax,
                wrt=(0, 4),
                size=label(size),
                rows=edges(size),
                orders=orders(lmax),
                title="all m" if mmax == lmax else f"m <= {mmax}",
                paths=len(paths(lmax)),
                weights=pairs * size["channels"] ** 2,
            )
            case.args[3].fill_(1)
            yield case


def rotate_gather(scale: Scale, degrees: Iterable[int]) -> Iterator[Case]:
    for lmax in degrees:
        size = {**sizes(scale, lmax), "mmax": lmax}
        rivals = [dense(lmax)]
        yield op_case(
            "rotate_gather",
            scale,
            size,
            rivals,
            lmax=lmax,
            wrt=(0, 2),
            size=label(size),
            rows=edges(size),
            orders=orders(lmax),
        )


def rotate_scatter(scale: Scale, degrees: Iterable[int]) -> Iterator[Case]:
    for lmax in degrees:
        size = {**sizes(scale, lmax), "mmax": lmax}
        yield op_case(
            "rotate_scatter",
            scale,
            size,
            lmax=lmax,
            wrt=(0, 2),
            size=label(size),
            rows=edges(size),
            orders=orders(lmax),
        )


def dense(lmax: int) -> Competitor:
    """The rotation as one dense (K, K) matrix an edge, which is how a plain implementation writes it."""

    def prepare(x, source, D):
        matrix = D.new_zeros(len(D), (lmax + 1) ** 2, (lmax + 1) ** 2)
        for degree, block in enumerate(unpack_blocks(D, lmax)):
            part = slice(degree**2, (degree + 1) ** 2)
            matrix[:, part, part] = block
        return x, source, matrix

    def restore(out):
        return m_layout.reordered(out, m_layout.l_major_places(lmax, lmax))

    return Competitor("dense D", lambda: lambda x, source, D: torch.bmm(D, x[source]), prepare, restore)
