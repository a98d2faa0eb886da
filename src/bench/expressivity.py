"""erlangen bench expressivity: what each tensor product can compute, and what it costs (arXiv:2506.13523).

The paper's two measures, of the maps B(x, y) = W3 T(W1 x, W2 y) that a product T reaches between equivariant linear layers:

- Expressivity, the dimension of the set of these maps: the rank of their derivative by all weights, at random weights. It
  stands beside the dimension of all equivariant bilinear maps, which is found from the characters of SO(3).
- Interactability, the paths (l1, l2) -> l3 on which such a map is not zero, those of odd l1 + l2 + l3 (antisymmetric for
  l1 = l2, as the cross product is) apart from the even ones.

The products are Clebsch-Gordan's with every path or the even ones (`CG`, `CG even`), Gaunt's, the cross product of vector
signals on the sphere (`vector`), and matrices on the irrep of degree L (`matrix`) or of all degrees (`blocks`).
Every map is evaluated in float64 on a basis of the inputs, and written in the basis of Clebsch-Gordan couplings; what is
left over says how far the product is from equivariant. Settings: one degree in and out (SISO), one in and all out (SIMO),
all in and out (MIMO); inputs have degrees up to L, outputs up to 2 L.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from math import log2, pi
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from rich.box import SIMPLE_HEAD
from rich.table import Table
from torch import Tensor

from ..errors import UserError
from ..evidence.plots import INK, colors, drawing
from ..geometry.clebsch_gordan import clebsch_gordan
from ..geometry.irreps import Irreps
from ..geometry.rotations import axis_angle_to_matrix
from ..geometry.wigner import representation
from ..runs.console import console
from ..runs.folder import environment, write_json
from .tensor_products import (
    BlockMatrices,
    ClebschGordan,
    Degrees,
    Gaunt,
    IrreducibleMatrices,
    TensorProduct,
    VectorSignals,
    paths,
    size,
)
from .timing import Times, repeated

SETTINGS: dict[str, Callable[[int], tuple[Degrees, Degrees]]] = {
    "SISO": lambda lmax: ([lmax], [lmax]),
    "SIMO": lambda lmax: ([lmax], list(range(2 * lmax + 1))),
    "MIMO": lambda lmax: (list(range(lmax + 1)), list(range(2 * lmax + 1))),
}
Make = Callable[[Degrees, Degrees], TensorProduct]
PRODUCTS: dict[str, Make] = {
    "CG": ClebschGordan,
    "CG even": partial(ClebschGordan, odd=False),
    "Gaunt": Gaunt,
    "vector": VectorSignals,
    "matrix": IrreducibleMatrices,
    "blocks": BlockMatrices,
}
INSTRUCTIONS: dict[str, Make] = {
    f"CG {name}": partial(ClebschGordan, instruction=name) for name in ("uvw", "uvu", "uuu")
}
ROWS, CHANNELS = 500, 16
"""Of the inputs that products are timed on, in float32."""
THIN = {"markersize": 3, "linewidth": 1.6}
THRESHOLD, SMALLEST = 1e-9, 1e-3
"""Singular values and coefficients below this part of the largest, and of this size, are zero; weights are of size one."""


@dataclass(frozen=True)
class Expressivity:
    """What a product reaches.

    dimension     of all equivariant bilinear maps.
    weights       of the product and the linear layers around it.
    freedom       the dimension of the set of maps that it reaches.
    gap           the smallest singular value counted and the largest one not, as parts of the largest of all.
    reached       the paths on which it is not zero.
    missing       all others.
    residual      the part of the map that is not equivariant.
    """

    dimension: int
    weights: int
    freedom: int
    gap: tuple[float, float]
    reached: list[tuple[int, int, int]]
    missing: list[tuple[int, int, int]]
    residual: float


def bench_expressivity(lmax: Sequence[int], repetitions: int, output: Path) -> None:
    """Prints a table for each setting and one for several channels; writes expressivity.json and expressivity.png."""
    if min(lmax) < 1 or repetitions < 2:
        raise UserError("bench expressivity: --lmax takes whole numbers from 1 on, --repetitions from 2 on")
    torch.set_num_threads(1)
    rows: list[dict[str, Any]] = []
    for setting in SETTINGS:
        for degree in lmax:
            ins, outs = SETTINGS[setting](degree)
            times = timed(ins, outs, repetitions)
            for name, make in PRODUCTS.items():
                found = asdict(expressivity(make, ins, outs, channels=1))
                row = {"setting": setting, "lmax": degree, "product": name, **found}
                row["flop"], row["order"] = flop_of(make)(ins, outs), order(make, setting)
                row["us"] = 1e6 * times[name].median / (ROWS * CHANNELS)
                rows.append({**row, "times": times[name].to_dict()})
        console.print(table(setting, [row for row in rows if row["setting"] == setting]))
    small = [degree for degree in lmax if degree <= 2]
    mixed = [
        {"lmax": degree, "product": name, **asdict(expressivity(make, *SETTINGS["MIMO"](degree), channels=2))}
        for degree in small
        for name, make in {**INSTRUCTIONS, **PRODUCTS}.items()
        if name not in ("CG", "CG even")
    ]
    if mixed:
        console.print(table("MIMO, two channels", mixed))
    output.mkdir(parents=True, exist_ok=True)
    write_json(output / "expressivity.json", {"rows": rows, "two channels": mixed, **environment()})
    plot(rows, output / "expressivity.png")
    console.print(f"{output / 'expressivity.json'}, {output / 'expressivity.png'}")


def expressivity(make: Make, ins: Degrees, outs: Degrees, channels: int, seed: int = 0) -> Expressivity:
    """Both measures for one product, every input and output degree with this many channels."""
    layers = Sandwich(make(ins, outs), ins, outs, channels)
    generator = torch.Generator().manual_seed(seed)
    weights = [torch.randn(shape, generator=generator, dtype=torch.float64) for shape in layers.shapes]
    value, residual = layers.coordinates(weights)
    columns = []
    for place, weight in enumerate(weights):
        for unit in torch.eye(weight.numel(), dtype=torch.float64):
            # each group of weights enters linearly: its unit vectors in its place give the derivative
            changed = [*weights[:place], unit.view(weight.shape), *weights[place + 1 :]]
            columns.append(layers.coordinates(changed)[0].flatten())
    singular = torch.linalg.svdvals(torch.stack(columns, 1))
    relative = singular / singular.max().clamp(min=SMALLEST)
    freedom = int((relative > THRESHOLD).sum())
    sizes = value.flatten(1).norm(dim=1)
    there = sizes > THRESHOLD * sizes.max().clamp(min=SMALLEST)
    return Expressivity(
        dimension=equivariant_dimension(ins, outs) * channels**3,
        weights=sum(weight.numel() for weight in weights),
        freedom=freedom,
        gap=(
            float(relative[freedom - 1]) if freedom else 0.0,
            float(relative[freedom:].max()) if freedom < len(relative) else 0.0,
        ),
        reached=[path for path, present in zip(layers.paths, there, strict=True) if present],
        missing=[path for path, present in zip(layers.paths, there, strict=True) if not present],
        residual=residual,
    )


class Sandwich:
    """A product between equivariant linear layers, W3 T(W1 x, W2 y), as a function of all weights.

    The weights are W1, W2, W3, for each degree of the product's own inputs and outputs a matrix of the channels, and those
    that the product has itself.
    """

    def __init__(self, product: TensorProduct, ins: Degrees, outs: Degrees, channels: int):
        self.product, self.ins, self.outs, self.channels = product, ins, outs, channels
        self.paths = paths(ins, outs)
        square = (channels, channels)
        copies = (product.left, product.right, product.out)
        self.shapes = [*((len(degrees), *square) for degrees in copies), product.weight_shape(channels)]

    def coordinates(self, weights: Sequence[Tensor]) -> tuple[Float[Tensor, "paths left right out"], float]:
        """The map as multiples of the Clebsch-Gordan couplings, for every choice of channels, and the part that is none."""
        bilinear = self.evaluate(*weights)
        at = {side: offsets(degrees) for side, degrees in (("in", self.ins), ("out", self.outs))}
        result, square = [], 0.0
        for l1, l2, l3 in self.paths:
            coupling = clebsch_gordan(l1, l2, l3)
            block = bilinear[at["in"][l1], :, at["in"][l2], :][..., at["out"][l3], :]
            result.append(torch.einsum("aubvcw,abc->uvw", block, coupling) / (2 * l3 + 1))
            square += float((2 * l3 + 1) * result[-1].square().sum())
        total = float(bilinear.square().sum())
        return torch.stack(result), abs(total - square) / max(total, SMALLEST)

    @torch.no_grad()
    def evaluate(self, first: Tensor, second: Tensor, last: Tensor, own: Tensor) -> Float[Tensor, "k1 c1 k2 c2 k3 c3"]:
        """The map on every pair of basis vectors."""
        width, channels = size(self.ins), self.channels
        basis = torch.eye(width * channels, dtype=torch.float64).unflatten(1, (width, channels))
        x = spread(basis, self.ins, self.product.left, first)
        y = spread(basis, self.ins, self.product.right, second)
        pairs = torch.cartesian_prod(torch.arange(len(x)), torch.arange(len(y)))
        z = self.product(x[pairs[:, 0]], y[pairs[:, 1]], own)
        gathered = z.new_zeros(len(z), size(self.outs), channels)
        places, start = offsets(self.outs), 0
        for degree, matrix in zip(self.product.out, last, strict=True):
            gathered[:, places[degree]] += z[:, start : start + 2 * degree + 1] @ matrix
            start += 2 * degree + 1
        return gathered.view(width, channels, width, channels, size(self.outs), channels)


def spread(
    x: Float[Tensor, "rows components channels"],
    degrees: Degrees,
    copies: Degrees,
    weight: Float[Tensor, "copies channels channels"],
) -> Float[Tensor, "rows spread channels"]:
    """A linear layer that gives each of the copies the feature of its degree, its channels mixed."""
    places = offsets(degrees)
    return torch.cat([x[:, places[degree]] @ matrix for degree, matrix in zip(copies, weight, strict=True)], 1)


def offsets(degrees: Degrees) -> dict[int, slice]:
    """Where each of these degrees stands."""
    return dict(zip(degrees, Irreps((1, degree, 1) for degree in degrees).slices(), strict=True))


def equivariant_dimension(ins: Degrees, outs: Degrees) -> int:
    """The dimension of all equivariant bilinear maps: the mean of chi(ins)^2 chi(outs) over the group.

    A character depends on the angle alone, whose density is (1 - cos) / pi from 0 to pi; twice the highest degree in the
    integrand, and some, are points enough for it to be exact.
    """
    count = 2 * (2 * max(ins) + max(outs)) + 4
    angles = torch.arange(count, dtype=torch.float64) * (2 * pi / count)
    rotations = axis_angle_to_matrix(angles[:, None] * torch.tensor([0.0, 1.0, 0.0], dtype=torch.float64))
    left, right = (
        representation(Irreps((1, degree, 1) for degree in degrees), rotations).diagonal(dim1=-2, dim2=-1).sum(-1)
        for degrees in (ins, outs)
    )
    return round(float((left.square() * right * (1 - angles.cos())).mean()))


def flop_of(make: Make) -> Callable[[Degrees, Degrees], int]:
    return partial(make.func.flop, **make.keywords) if isinstance(make, partial) else make.flop


def order(make: Make, setting: str) -> int:
    """The power of L that the operations grow with, from L = 32 to 64."""
    counts = [flop_of(make)(*SETTINGS[setting](lmax)) for lmax in (32, 64)]
    return round(log2(counts[1] / counts[0]))


def timed(ins: Degrees, outs: Degrees, repetitions: int) -> dict[str, Times]:
    """Every product itself, without linear layers, on its own inputs."""
    generator = torch.Generator().manual_seed(0)
    calls = {}
    for name, make in PRODUCTS.items():
        product = make(ins, outs).float()
        x, y = (torch.randn(ROWS, size(side), CHANNELS, generator=generator) for side in (product.left, product.right))
        calls[name] = torch.no_grad()(
            partial(product, x, y, torch.randn(product.weight_shape(CHANNELS), generator=generator))
        )
    return repeated(calls, repetitions)


def table(title: str, rows: Sequence[dict[str, Any]]) -> Table:
    """A row for each degree and product; times where there are any."""
    has_times = "us" in rows[0]
    worst = max(row["residual"] for row in rows)
    caption = f"equivariant to {worst:.0e}; freedom: dimension of the maps reached, of all equivariant ones"
    if has_times:
        caption += f"; us a row and channel, {ROWS} rows, {CHANNELS} channels, float32, 1 thread"
    result = Table(
        title=f"tensor products, {title}",
        title_justify="left",
        caption=caption,
        caption_justify="left",
        box=SIMPLE_HEAD,
    )
    for name in ["L", "product", "freedom", "even", "odd", *(["flop", "grows", "us", "ns each"] * has_times)]:
        result.add_column(name, justify="left" if name == "product" else "right")
    for row in rows:
        cells = [str(row["lmax"]), row["product"], f"{row['freedom']}/{row['dimension']}"]
        cells += [of_parity(row, 0), of_parity(row, 1)]
        if has_times:
            each = f"{1e3 * row['us'] / row['freedom']:.1f}" if row["freedom"] else "-"
            noisy = "~" if row["times"]["noisy"] else ""
            cells += [f"{row['flop']:,}", f"L^{row['order']}", f"{noisy}{row['us']:.3f}", each]
        result.add_row(*cells, end_section=row is rows[-1] or row["product"] == list(PRODUCTS)[-1])
    return result


def of_parity(row: dict[str, Any], parity: int) -> str:
    """Paths reached of those whose degrees have an even or odd sum."""
    reached, missing = (sum(sum(path) % 2 == parity for path in row[key]) for key in ("reached", "missing"))
    return f"{reached}/{reached + missing}" if reached + missing else "-"


def plot(rows: Sequence[dict[str, Any]], where: Path) -> None:
    """Above, dimensions reached against L; below, time for each of them. A column a setting.

    Curves that coincide are drawn one over the other, so lines get thinner and markers smaller.
    """
    from matplotlib.ticker import LogLocator, NullFormatter

    with drawing(where, 9.6, 5.4, 2, len(SETTINGS)) as axes:
        for column, setting in enumerate(SETTINGS):
            mine = [row for row in rows if row["setting"] == setting]
            reach, price = axes[:, column]
            for place, (color, name) in enumerate(zip(colors(len(PRODUCTS)), PRODUCTS, strict=True)):
                curve = [row for row in mine if row["product"] == name and row["freedom"]]
                degrees = [row["lmax"] for row in curve]
                width = 5 - 0.8 * place
                dots = {"color": color, "marker": "o", "markersize": width + 2, "linewidth": width, "label": name}
                reach.plot(degrees, [row["freedom"] for row in curve], **dots)
                price.plot(degrees, [1e3 * row["us"] / row["freedom"] for row in curve], **dots | THIN)
            whole = {row["lmax"]: row["dimension"] for row in mine}
            reach.plot(list(whole), list(whole.values()), color=INK, linestyle="--", linewidth=1, label="all maps")
            reach.set_title(setting)
            for axis in (reach, price):
                axis.set_yscale("log")
                axis.set_xticks(list(whole))
                axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
                axis.yaxis.set_major_formatter("{x:g}")
                axis.yaxis.set_minor_formatter(NullFormatter())
            reach.set_ylim(0.9, 1.15 * max(whole.values()))
            price.set_xlabel("L")
        axes[0, 0].set_ylabel("dimension of the maps reached")
        axes[1, 0].set_ylabel("ns a row, channel and dimension")
        handles, labels = axes[0, -1].get_legend_handles_labels()
        axes[0, 0].figure.legend(handles, labels, loc="outside lower center", ncols=4)
