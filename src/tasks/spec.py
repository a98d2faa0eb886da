"""What a benchmark's batches hold and what it asks for: the only thing that papers and benchmarks share.

A `Spec` is known before anything is downloaded. It tells a paper what to build, a wrapper or `certify` how every field of a
batch turns under a rotation, and a report what was measured. It is plain data, so that a checkpoint can hold it.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Level = Literal["node", "edge", "graph"]


@dataclass(frozen=True)
class Field:
    """One field of a batch and how it transforms.

    Args:
        level: what carries it; a graph-level field has one row per sample.
        irreps: the representation of O(3) in which its last axis turns (e3nn's notation), e.g. "1o" for a position or a
            velocity. A plain number is "0e"; "" says that it belongs to no representation (a label that names
            an orientation), and that nothing is to be expected of it.
        translates: whether it moves along with a translation (positions do, velocities do not).
        shape: the shape of one row where it is more than the irreps tell, e.g. (3, 32, 32) for an image.
        categories: the values that an integer field takes, e.g. the atomic numbers that occur; () for a real field.
        unit: its physical unit, "" where it has none.
    """

    level: Level = "node"
    irreps: str = "0e"
    translates: bool = False
    shape: tuple[int, ...] = ()
    categories: tuple[int, ...] = ()
    unit: str = ""


@dataclass(frozen=True)
class Target(Field):
    """A quantity to be predicted; the batch holds it under `name`.

    Args:
        classes: the number of classes to choose from, 0 for a real quantity.
        atomref: (atomic number, value) of the free atoms, in `unit`. The benchmark subtracts it in float64 before a batch
            is made; predictions for users have it added back.
        gradient_of: the target whose negative gradient with respect to `pos` this is (forces of an energy).
    """

    name: str = ""
    level: Level = "graph"
    classes: int = 0
    atomref: tuple[tuple[int, float], ...] = ()
    gradient_of: str = ""

    @property
    def is_scalar(self) -> bool:
        return self.irreps == "0e" and not self.classes


@dataclass(frozen=True)
class Spec:
    """What one benchmark offers and asks.

    Args:
        benchmark: its name, the one of its file in conf/data.
        modality: what a sample is: atoms, points, images, views, trajectories, graphs, sequences.
        split: the name of the split, which also says what was left out of it ("cormorant, 5000 of 100000 for training").
        source: whether the data are the benchmark's own or the miniature made on the spot.
        subset: whether anything was left out, so that the numbers are not the benchmark's.
        fields: the fields of a batch that a network may read.
        targets: what is to be predicted.
    """

    benchmark: str
    modality: str
    split: str
    source: Literal["official", "miniature"]
    targets: tuple[Target, ...]
    fields: Mapping[str, Field] = field(default_factory=dict)
    subset: bool = False

    def target(self, name: str) -> Target:
        return next(target for target in self.targets if target.name == name)

    @property
    def node_numbers(self) -> list[str]:
        """Fields of nodes that no motion changes, without categories: charges, masses."""
        return [name for name, f in self._of_nodes() if f.irreps == "0e" and not f.categories]

    @property
    def node_vectors(self) -> list[str]:
        """Fields of nodes that turn as vectors do, without the position: velocities."""
        return [name for name, f in self._of_nodes() if f.irreps == "1o"]

    def _of_nodes(self) -> list[tuple[str, Field]]:
        return [(name, f) for name, f in self.fields.items() if f.level == "node" and name != "pos"]

    def to_dict(self) -> dict[str, Any]:
        """Plain containers, for a checkpoint or a JSON file."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "Spec":
        targets = tuple(Target(**frozen(target)) for target in data["targets"])
        fields = {name: Field(**frozen(value)) for name, value in data["fields"].items()}
        return cls(**{**data, "targets": targets, "fields": fields})


def frozen(value: Any) -> Any:
    """Lists to tuples, at any depth of a list."""
    if isinstance(value, Mapping):
        return {key: frozen(item) for key, item in value.items()}
    return tuple(frozen(item) for item in value) if isinstance(value, list | tuple) else value
