"""What frame averaging and canonicalization share: any network, seen through coordinate frames that move with its input."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch_geometric.data import Batch, Data

from ...errors import UserError
from ...nn.compiled import Fields
from ...nn.frames import apply, centroids
from ...nn.gradient import ForcesFromEnergy
from ...tasks.spec import Field, Spec
from ...tasks.symmetry import Symmetry, exact, turn_of

GROUPS = ("E", "SE", "O", "SO")


class Symmetrized(nn.Module, ABC):
    """<Phi>(X) = mean over frames g of rho(g) Phi(g^-1 X), equivariant as the frames of hX are h times those of X.

    (arXiv:2110.03336, theorem 1.) Every field of the batch and every target turns by the irreps that the spec gives it, so
    that scalars come out invariant, vectors equivariant and positions carried along. The copies of a sample, one a frame,
    are samples of one larger batch. What else the network offers (`head`, `feature_channels`, `graph`) is found here too.

    Args:
        network: any network on samples with positions.
        spec: the benchmark's.
        group: which motions: E (all), SE (without reflections), O and SO (the same without translations), in the dimension
            of the positions.
    """

    def __init__(self, network: nn.Module, spec: Spec, group: str):
        super().__init__()
        if "pos" not in spec.fields:
            raise UserError(
                f"symmetrize needs samples with positions, and {spec.benchmark} has none: use symmetrize=null"
            )
        if group not in GROUPS:
            raise UserError(f"symmetrize.group must be one of {', '.join(GROUPS)}, not {group!r}")
        self.network, self.spec = network, spec
        self.dim = (spec.fields["pos"].shape or (3,))[0]
        self.centred, self.rotations = "E" in group, "S" in group
        self.symmetries = promises(network, self.centred, not self.rotations)

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            if name == "network":
                raise
            return getattr(self.network, name)

    @abstractmethod
    def frames(self, batch: Any) -> Float[Tensor, "frames samples dim dim"]:
        """Orthogonal matrices in float64 that turn with each sample; their columns are the axes."""

    def features(self, batch: Any) -> Float[Tensor, "rows channels"]:
        frames = self.frames(batch)
        features = self.network.features(self.seen_from(batch, frames, self.origin(batch)))
        return features.unflatten(0, (len(frames), -1)).mean(0)

    def forward(self, batch: Any) -> dict[str, Tensor]:
        frames, origin = self.frames(batch), self.origin(batch)
        outputs = self.network(self.seen_from(batch, frames, origin))
        return {
            name: self.carried_back(name, value.unflatten(0, (len(frames), -1)), batch, frames, origin)
            for name, value in outputs.items()
        }

    def origin(self, batch: Any) -> Float[Tensor, "samples dim"]:
        """Where the frames have their origin: the centroid, or nowhere but zero if translations do not belong to the group."""
        centroid = centroids(batch.pos, batch.batch, batch.num_graphs)
        return centroid if self.centred else torch.zeros_like(centroid)

    def seen_from(
        self, batch: Any, frames: Float[Tensor, "frames samples dim dim"], origin: Float[Tensor, "samples dim"]
    ) -> Any:
        """g^-1 X for every frame: a batch of frames x samples."""
        copies, samples, nodes = len(frames), batch.num_graphs, len(batch.pos)
        fields = {"batch": repeated(batch.batch, copies, samples)}
        starts = repeated(batch.ptr[:-1], copies, nodes)
        fields["ptr"] = torch.cat([starts, torch.full_like(starts[:1], copies * nodes)])
        if "edge_index" in batch and "edge_shift" not in batch:  # the network finds periodic edges anew
            fields["edge_index"] = torch.stack([repeated(end, copies, nodes) for end in batch.edge_index])
        for name, field in self.spec.fields.items():
            if name not in batch or name in fields:
                continue
            value = batch[name]
            if turns(field, value):
                index = rows_of(field, batch)
                value = value - origin.to(value.dtype)[index] if field.translates else value
                value = turned(field, frames.mT, value, index).flatten(0, 1)
            else:
                value = value.repeat(copies, *[1] * (value.ndim - 1))
            fields[name] = value
        return Fields(fields, copies * samples) if isinstance(batch, Fields) else collated(fields, copies * samples)

    def carried_back(
        self,
        name: str,
        value: Float[Tensor, "frames rows *components"],
        batch: Any,
        frames: Float[Tensor, "frames samples dim dim"],
        origin: Float[Tensor, "samples dim"],
    ) -> Float[Tensor, "rows *components"]:
        """The mean over frames of rho(g) applied to the network's outputs."""
        target = self.spec.target(name)
        if not turns(target, value):
            return value.mean(0)
        index = rows_of(target, batch)
        value = turned(target, frames, value, index).mean(0)
        return value + origin.to(value.dtype)[index] if target.translates else value


def symmetrized(network: nn.Module, wrap: Callable[[nn.Module], Symmetrized]) -> nn.Module:
    """The network wrapped; forces are then the gradient of the symmetrised energy, not the energy's forces symmetrised."""
    if isinstance(network, ForcesFromEnergy):
        return ForcesFromEnergy(wrap(network.network), network.targets)
    return wrap(network)


def promises(network: nn.Module, translation: bool, reflection: bool) -> tuple[Symmetry, ...]:
    """What the frames give, exactly, and what the network promised beside it."""
    given = ["rotation", *(["reflection"] if reflection else []), *(["translation"] if translation else [])]
    return (*exact(*given), *(own for own in getattr(network, "symmetries", ()) if own.element not in given))


def turns(field: Field, value: Tensor) -> bool:
    """Whether a rotation changes the field; one of no representation ("") stays as it is."""
    return value.is_floating_point() and field.irreps not in ("0e", "")


def turned(
    field: Field,
    frames: Float[Tensor, "frames samples dim dim"],
    value: Float[Tensor, "*shape"],
    index: Int[Tensor, " rows"],
) -> Float[Tensor, "frames rows *components"]:
    """The rows of a field in its representation of the frames; pseudoscalars may have one number a row."""
    matrices = turn_of(field.irreps, frames)
    if matrices.shape[-1] == 1 and value.shape[-1] == len(index):
        return apply(matrices, value[..., None], index)[..., 0]
    return apply(matrices, value, index)


def rows_of(field: Field, batch: Any) -> Int[Tensor, " rows"]:
    """The sample that each row of a field belongs to."""
    if field.level == "node":
        return batch.batch
    if field.level == "edge":
        return batch.batch[batch.edge_index[1]]
    return torch.arange(batch.num_graphs, device=batch.batch.device)


def repeated(index: Int[Tensor, " rows"], copies: int, size: int) -> Int[Tensor, " rows_of_all_copies"]:
    """Indices into `size` things for copies of them, one copy after the other."""
    return (index + size * torch.arange(copies, device=index.device)[:, None]).flatten()


def collated(fields: dict[str, Tensor], samples: int) -> Batch:
    batch = Batch(_base_cls=Data, **fields)
    batch._num_graphs = samples
    return batch
