"""Symmetries that a paper promises, and how a group element acts on a batch through its spec."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..errors import UserError
from ..geometry.rotations import random_rotations
from ..geometry.wigner import representation
from .spec import Field, Spec

Element = Literal["rotation", "reflection", "translation", "permutation", "scaling"]


@dataclass(frozen=True)
class Symmetry:
    """One promise: how the outputs behave when a group element acts on the inputs.

    Args:
        element: the kind of group element.
        kind: "exact" up to rounding; "approximate" within `bound` (grids, truncated orders, sampled orientations);
            "learned" is measured and never required.
        bound: the largest relative error that an approximate symmetry may show, in units of the outputs' spread.
        ties: the part of samples in which rounding to float32 may decide what the network chooses or puts first, as between
            points at nearly the same distance or angle; of these nothing is required but in float64.
    """

    element: Element
    kind: Literal["exact", "approximate", "learned"] = "exact"
    bound: float | None = None
    ties: float = 0.0


def exact(*elements: Element) -> tuple[Symmetry, ...]:
    """The promise that the outputs are exactly equivariant under all of `elements`."""
    return tuple(Symmetry(element) for element in elements)


E3 = exact("rotation", "reflection", "translation", "permutation")


@dataclass(frozen=True)
class Motion:
    """x -> scale orthogonal @ x + translation, after reordering the nodes by `order` (new node k is old node order[k]).

    Only positions are scaled, the fields that a translation moves; a velocity or a unit normal is none.
    """

    orthogonal: Float[Tensor, "dim dim"]
    translation: Float[Tensor, " dim"]
    order: Int[Tensor, " nodes"] | None = None
    scale: float = 1.0

    def act(self, value: Tensor, field: Field) -> Tensor:
        """The moved field. Integer fields and scalars only follow the reordering."""
        if self.order is not None and field.level == "node":
            value = value[self.order]
        if not value.is_floating_point() or field.irreps == "0e":
            return value
        turn = turn_of(field.irreps, self.orthogonal.to(value))
        value = value @ turn.mT if value.ndim > 1 else value * turn[0, 0]  # a pseudoscalar, one number a row
        return self.scale * value + self.translation.to(value) if field.translates else value


def turn_of(irreps: str, orthogonal: Float[Tensor, "*batch dim dim"]) -> Float[Tensor, "*batch size size"]:
    """The matrix by which an orthogonal one acts on a field of these irreps.

    In three dimensions every irrep of O(3); in n dimensions numbers ("0e") and vectors ("1o" of n components).
    """
    if orthogonal.shape[-1] == 3:
        return representation(irreps, orthogonal)
    if irreps not in ("0e", "1o"):
        raise UserError(
            f"a field of irreps {irreps!r} in {orthogonal.shape[-1]} dimensions: only 0e and 1o are known there"
        )
    return orthogonal if irreps == "1o" else torch.ones_like(orthogonal[..., :1, :1])


def act(batch: Any, motion: Motion, spec: Spec) -> Any:
    """The batch with every field of `spec`, targets included, moved by `motion`; fields that the spec lacks stay."""
    moved = batch.clone()
    for name, field in fields_and_targets(spec).items():
        if name in moved:
            moved[name] = motion.act(moved[name], field)
    if motion.order is not None:
        # a permutation keeps each sample's nodes together, so `batch` and `ptr` stay as they are
        moved.batch = moved.batch[motion.order]
        if "edge_index" in moved:
            moved.edge_index = motion.order.argsort()[moved.edge_index]
    return moved


def cast(batch: Any, spec: Spec, dtype: torch.dtype) -> Any:
    """The batch with its real fields in another precision."""
    result = batch.clone()
    for name in fields_and_targets(spec):
        if name in result and result[name].is_floating_point():
            result[name] = result[name].to(dtype)
    return result


def fields_and_targets(spec: Spec) -> Mapping[str, Field]:
    return {**spec.fields, **{target.name: target for target in spec.targets}}


def random_motion(element: Element, batch: Any, generator: torch.Generator) -> Motion:
    """A random element of the kind named; a reflection is an improper rotation, a translation is of the order of 10 units, a
    scaling by between 1/4 and 4.

    It moves the space that the batch's positions lie in, of three dimensions or another number.
    """
    dim = batch.pos.shape[-1] if "pos" in batch else 3
    identity, zero = torch.eye(dim, dtype=torch.float64), torch.zeros(dim, dtype=torch.float64)
    turn: dict[str, Callable[[], Motion]] = {
        "rotation": lambda: Motion(random_rotation(dim, generator), zero),
        "reflection": lambda: Motion(random_rotation(dim, generator) @ mirror(dim), zero),
        "translation": lambda: Motion(identity, 10 * torch.randn(dim, generator=generator, dtype=torch.float64)),
        "permutation": lambda: Motion(identity, zero, shuffle_within(batch.ptr, generator)),
        "scaling": lambda: Motion(identity, zero, scale=4 ** (2 * float(torch.rand((), generator=generator)) - 1)),
    }
    return turn[element]()


def random_rotation(dim: int, generator: torch.Generator) -> Float[Tensor, "dim dim"]:
    """A uniform (Haar) sample of SO(n), float64."""
    if dim == 3:
        return random_rotations(generator=generator)
    # Q of a Gaussian matrix is uniform once R's diagonal is positive (Mezzadri, arXiv:math-ph/0609050)
    q, r = torch.linalg.qr(torch.randn(dim, dim, generator=generator, dtype=torch.float64))
    q = q * r.diagonal().sign()
    return q if torch.linalg.det(q) > 0 else q @ mirror(dim)


def mirror(dim: int) -> Float[Tensor, "dim dim"]:
    """The reflection of the first axis; in odd dimensions the point reflection would do as well."""
    signs = torch.ones(dim, dtype=torch.float64)
    signs[0] = -1
    return signs.diag()


def shuffle_within(ptr: Int[Tensor, " samples_plus_1"], generator: torch.Generator) -> Int[Tensor, " nodes"]:
    """A random order of the nodes that keeps every sample's nodes in its own range."""
    pieces = [
        start + torch.randperm(int(stop - start), generator=generator)
        for start, stop in zip(ptr, ptr[1:], strict=False)
    ]
    return torch.cat(pieces)


@torch.no_grad()
def symmetry_error(
    predict: Callable[[Any], Mapping[str, Tensor]],
    batch: Any,
    spec: Spec,
    element: Element,
    generator: torch.Generator,
    left_out: int = 0,
) -> dict[str, float]:
    """max |f(g x) - g f(x)| / spread(f(x)) for each target, with one random g of the kind named, over all but the worst rows.

    The spread is the outputs' largest deviation from their mean over the batch, so that a constant network shows as
    infinite error rather than as perfect symmetry. A target of irreps "" is left out.
    """
    motion = random_motion(element, batch, generator)
    before, after = predict(batch), predict(act(batch, motion, spec))
    errors = {}
    for name, value in before.items():
        if not spec.target(name).irreps:
            continue  # it belongs to no representation: nothing is promised of it
        expected = motion.act(value, spec.target(name))
        spread = (value - value.mean(0)).abs().max()
        rows = (after[name] - expected).abs().reshape(len(value), -1).amax(1).sort().values
        worst = rows[-1] if rows[-1].isnan() else rows[-1 - left_out]  # what is no number is sorted last
        errors[name] = float(worst / spread) if spread > 0 else float("inf")
    return errors
