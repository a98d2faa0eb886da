"""What networks of features of SO(3) on atoms share: which targets have heads, how many elements, what is promised."""

from ..errors import UserError
from ..tasks.spec import Spec, Target
from ..tasks.symmetry import Symmetry, exact


def heads_of(spec: Spec, direct_forces: bool) -> list[Target]:
    """The targets that have a head of their own: all, or all but gradients of others."""
    return [target for target in spec.targets if direct_forces or not target.gradient_of]


def require_elements(spec: Spec, elements: int) -> None:
    """UserError where a benchmark has atomic numbers above `elements`, the last that has a place in a network's tables."""
    highest = max(spec.fields["z"].categories)
    if highest > elements:
        raise UserError(f"model.elements={elements}: {spec.benchmark} has the atomic number {highest}; give more")


def so3_promises(bound: float | None) -> tuple[Symmetry, ...]:
    """Rotations up to `bound`, exactly if it is None; translations and permutations exactly.

    Reflections are measured only: convolutions whose weights have imaginary parts tell mirror images apart.
    """
    rotation = Symmetry("rotation") if bound is None else Symmetry("rotation", "approximate", bound)
    return (rotation, *exact("translation", "permutation"), Symmetry("reflection", "learned"))
