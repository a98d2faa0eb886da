"""e3nn's products, as competitors: its layout, its weights and its normalisation taken to ours and back."""

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from importlib.util import find_spec
from math import isqrt

import torch
from torch import Tensor

from ...geometry.clebsch_gordan import wigner_3j
from ...geometry.gaunt import gaunt
from ...kernels import cg_product, so2
from ..case import Competitor, torch_compiled

INSTALLED = find_spec("e3nn") is not None
COMPILED = {"D given": 2, "end to end": 6}
"""The degree up to which e3nn's convolutions are compiled, too: that takes five minutes at L = 4 and seven at L = 6."""
PLAIN = {"irrep_normalization": "none", "path_normalization": "none", "internal_weights": False}


def eager_and_compiled(competitor: Competitor) -> list[Competitor]:
    """Both, or nothing where e3nn is not installed."""
    return [replace(competitor, name=f"{competitor.name}, eager"), *torch_compiled(competitor)] if INSTALLED else []


def to_e3nn(x: Tensor) -> Tensor:
    """(rows, components, channels) in e3nn's layout: degree after degree, and there channels are the slower index."""
    return torch.cat([x[:, degree**2 : (degree + 1) ** 2].mT.flatten(1) for degree in range(isqrt(x.shape[1]))], 1)


def from_e3nn(flat: Tensor, lmax: int, channels: int) -> Tensor:
    """The way back."""
    parts = flat.split([(2 * degree + 1) * channels for degree in range(lmax + 1)], 1)
    return torch.cat([part.unflatten(1, (channels, -1)).mT for part in parts], 1)


def irreps(lmax: int, channels: int):
    """`channels` of each degree 0..lmax, all even: these products have paths of odd l1 + l2 + l3."""
    from e3nn import o3

    return o3.Irreps([(channels, (degree, 1)) for degree in range(lmax + 1)])


def harmonics(r: Tensor, lmax: int) -> Tensor:
    from e3nn import o3

    return o3.spherical_harmonics(list(range(lmax + 1)), r, True, "component")


def directions(D: Tensor) -> Tensor:
    """The edges' directions from their packed Wigner matrices: the polar row of D^1."""
    return D[:, 4:7]


@cache
def uvu(lmax: int, top: int, channels: int, concatenated: bool):
    """The depthwise product with filters of degree up to `top`: paths to one l3 concatenated, or summed."""
    from e3nn import o3

    paths = [p for p in so2.paths(lmax) if p[1] <= top]
    out = o3.Irreps([(channels, (l3, 1)) for _, _, l3 in paths]) if concatenated else irreps(lmax, channels)
    instructions = [(l1, l2, i if concatenated else l3, "uvu", True) for i, (l1, l2, l3) in enumerate(paths)]
    return o3.TensorProduct(irreps(lmax, channels), irreps(top, 1), out, instructions, shared_weights=False, **PLAIN)


@cache
def fully_connected(lmax: int, top: int, channels: int):
    from e3nn import o3

    node = irreps(lmax, channels)
    return o3.FullyConnectedTensorProduct(node, irreps(top, 1), node, shared_weights=True, **PLAIN)


@cache
def uuu(lmax: int, channels: int):
    """The channelwise product over paths of even l1 + l2 + l3."""
    from e3nn import o3

    x = irreps(lmax, channels)
    paths = [(*path, "uuu", True) for path in cg_product.paths(lmax, lmax, lmax, False)]
    return o3.TensorProduct(x, x, x, paths, shared_weights=True, **PLAIN)


def message_passing(product: Callable) -> Callable:
    """Gather, e3nn's product with the edges' harmonics Y, scatter."""

    def convolution(x, edge_index, Y, weight, size):
        message = product(x[edge_index[0]], Y, weight)
        return message.new_zeros(size, message.shape[1]).index_add(0, edge_index[1], message)

    return convolution


def depthwise_weights(weight: Tensor, lmax: int) -> Tensor:
    """e3nn's weights of paths from ours of pairs (edges, pairs, channels)."""
    back = torch.linalg.inv(so2.path_matrix(lmax, lmax)).to(weight.device, weight.dtype)
    return torch.einsum("pq,eqc->epc", back, weight)


def mixing_weights(weight: Tensor, lmax: int) -> Tensor:
    """e3nn's flat weights of a fully connected product from ours of pairs (pairs, channels, channels)."""
    back = torch.linalg.inv(so2.path_matrix(lmax, lmax)).to(weight.device, weight.dtype)
    place = {path: number for number, path in enumerate(so2.paths(lmax))}
    product = fully_connected(lmax, 2 * lmax, weight.shape[1])
    order = [place[i.i_in1, i.i_in2, i.i_out] for i in product.instructions]
    return torch.einsum("pq,quv->puv", back, weight)[order].flatten()


def depthwise(lmax: int, channels: int) -> list[Competitor]:
    """The same function with l2 <= 2L, and as published models run it, l2 <= L with the paths kept apart."""

    def prepare(top):
        def native(x, edge_index, D, weight, size):
            by_path = depthwise_weights(weight, lmax)
            kept = [i for i, path in enumerate(so2.paths(lmax)) if path[1] <= top]
            return to_e3nn(x), edge_index, harmonics(directions(D), top), by_path[:, kept].flatten(1), size

        return native

    return _convolutions("uvu", uvu, lmax, channels, prepare)


def convolution(lmax: int, channels: int) -> list[Competitor]:
    """The fully connected product, l2 <= 2L as the same function, and l2 <= L as published models run it."""

    def prepare(top):
        def native(x, edge_index, D, radial, weight, size):
            flat = mixing_weights(weight, lmax)
            flat = flat if top == 2 * lmax else flat[: fully_connected(lmax, top, channels).weight_numel]
            return to_e3nn(x), edge_index, harmonics(directions(D), top), flat, size

        return native

    def product(lmax, top, channels, concatenated):
        return fully_connected(lmax, top, channels)

    return _convolutions("FC", product, lmax, channels, prepare)


def _convolutions(kind: str, product: Callable, lmax: int, channels: int, prepare: Callable) -> list[Competitor]:
    fewer = sum(path[1] <= lmax for path in so2.paths(lmax))
    per_path = channels if kind == "uvu" else channels**2
    same = Competitor(
        f"e3nn {kind}, l2 <= 2L",
        lambda: message_passing(product(lmax, 2 * lmax, channels, False)),
        prepare(2 * lmax),
        lambda out: from_e3nn(out, lmax, channels),
    )
    published = Competitor(
        f"e3nn {kind}, l2 <= L",
        lambda: message_passing(product(lmax, lmax, channels, True)),
        prepare(lmax),
        None,
        paths=fewer,
        weights=fewer * per_path,
        remark="fewer paths",
    )
    return [*eager_and_compiled(published)[: 1 + (lmax <= COMPILED["D given"])], *eager_and_compiled(same)[:1]]


def end_to_end(lmax: int, channels: int, with_2l: bool) -> list[Competitor]:
    """From edge vectors to messages, both ways: harmonics, gather, product, scatter."""
    top = 2 * lmax if with_2l else lmax
    kept = [i for i, path in enumerate(so2.paths(lmax)) if path[1] <= top]

    def build():
        convolve = message_passing(uvu(lmax, top, channels, not with_2l))
        return lambda x, edge_index, r, weight, size: convolve(x, edge_index, harmonics(r, top), weight, size)

    def prepare(x, edge_index, r, weight, size):
        return to_e3nn(x), edge_index, r, depthwise_weights(weight, lmax)[:, kept].flatten(1), size

    if with_2l:
        return eager_and_compiled(
            Competitor("e3nn uvu, l2 <= 2L", build, prepare, lambda out: from_e3nn(out, lmax, channels))
        )[:1]
    published = Competitor(
        "e3nn uvu, l2 <= L",
        build,
        prepare,
        None,
        paths=len(kept),
        weights=len(kept) * channels,
        remark="fewer paths",
    )
    return eager_and_compiled(published)[: 1 + (lmax <= COMPILED["end to end"])]


def channelwise(lmax: int, channels: int) -> list[Competitor]:
    """`uuu` over the even paths, given those weights that make it the Gaunt product."""
    paths = cg_product.paths(lmax, lmax, lmax, False)
    ratio = torch.tensor([(gaunt(*path) * wigner_3j(*path)).sum() for path in paths])

    def prepare(x, y):
        weight = ratio.to(x.device, x.dtype).repeat_interleave(channels)
        return to_e3nn(x), to_e3nn(y), weight

    return eager_and_compiled(
        Competitor(
            "e3nn uuu",
            lambda: uuu(lmax, channels),
            prepare,
            lambda out: from_e3nn(out, lmax, channels),
            paths=len(paths),
            weights=len(paths) * channels,
        )
    )


def clebsch_gordan(spec: dict, channels: int) -> list[Competitor]:
    """e3nn's own normalisation, which `cg_product` shares."""
    degrees, odd = (spec["lmax1"], spec["lmax2"], spec["lmax3"]), spec["odd"]

    def build():
        from e3nn import o3

        parts = [irreps(lmax, channels) for lmax in degrees]
        paths = [(*path, "uuu", True) for path in cg_product.paths(*degrees, odd)]
        return o3.TensorProduct(*parts, paths, internal_weights=False, shared_weights=False)

    return eager_and_compiled(
        Competitor(
            "e3nn uuu",
            build,
            lambda x, y, weight: (to_e3nn(x), to_e3nn(y), weight.flatten(1)),
            lambda out: from_e3nn(out, degrees[2], channels),
        )
    )


def spherical(lmax: int) -> list[Competitor]:
    return eager_and_compiled(Competitor("e3nn", lambda: lambda r: harmonics(r, lmax)))


def wigner(lmax: int) -> list[Competitor]:
    """From rotations through angles; compiled, from the angles on. Only on rotations is it the same function of R, so
    that gradients do not compare."""
    if not INSTALLED:
        return []

    def from_angles(*angles):
        from e3nn import o3

        return torch.cat([o3.wigner_D(degree, *angles).flatten(1) for degree in range(lmax + 1)], 1)

    def angles(R):
        from e3nn import o3

        return o3.matrix_to_angles(R)

    compiled = Competitor("e3nn", lambda: from_angles, angles, gated=0, remark="angles given")
    return [
        Competitor("e3nn, eager", lambda: lambda R: from_angles(*angles(R)), gated=0),
        *torch_compiled(compiled),
    ]
