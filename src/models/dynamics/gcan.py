"""Geometric Clifford Algebra Networks. Ruhe, Gupta, de Keninck, Welling, Brandstetter; ICML 2023, arXiv:2302.06594.

Group action layers: every pair of an input and an output channel has a motor of projective geometric algebra
G(3, 0, 1) that is learned, and an output is a linear combination of the inputs that are moved by them. Each single action
is an isometry of space, their sum commutes with none, and no equivariance is claimed: the actions are templates that
training refines. Activations gate a multivector by a linear function of its components, and the norm centres channels
and divides them by their mean length.

The paper's own are the layers, and message passing between points by networks of them, on rigid bodies in several
frames. Ours is what N-body asks for: a position is the trivector of a point, a velocity that of a direction, a charge
stands in the scalar component, and a vector is read out beside the present position. Positions are seen from their mean,
so that translations alone do commute. The authors' layer starts from motors of unit norm and lets them grow; here they
are divided by their norm for good.
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ...errors import UserError
from ...geometry.clifford import Signature, blades
from ...kernels.neighbor_list import complete_graph
from ...nn.clifford import GroupAction
from ...nn.frames import centroids
from ...tasks.spec import Spec
from ...tasks.symmetry import exact
from ..paper import Paper

PGA: Signature = (3, 0, 1)
GRADES = (0, 3)
KEPT = [blade for blade in blades(PGA) if len(blade) in GRADES]
VOLUME = KEPT.index((1, 2, 3))
COORDINATES = [KEPT.index(blade) for blade in ((0, 2, 3), (0, 1, 3), (0, 1, 2))]
SIGNS = (-1.0, 1.0, -1.0)
"""A point x is e123 - x1 e023 + x2 e013 - x3 e012, a direction the same without e123."""


class GCAN(Paper):
    """A message-passing network of group action layers, on trajectories.

    Args:
        spec: the benchmark's.
        layers: of messages.
        channels: multivectors of every particle.
    """

    title = "Geometric Clifford Algebra Networks"
    arxiv = "2302.06594"
    modalities = frozenset({"trajectories"})
    outputs = frozenset({"node:1o"})
    tiny = {"layers": 2, "channels": 8}

    def __init__(self, spec: Spec, layers: int, channels: int):
        super().__init__(spec)
        for name, value in {"layers": layers, "channels": channels}.items():
            if value < 1:
                raise UserError(f"model.{name} must be 1 or more, not {value}")
        self.network = GCANNetwork(spec, layers, channels)


class GCANNetwork(nn.Module):
    """Embed, pass messages, read out a vector for each target."""

    symmetries = exact("translation", "permutation")

    def __init__(self, spec: Spec, layers: int, channels: int):
        super().__init__()
        self.vectors, self.numbers = spec.node_vectors, spec.node_numbers
        self.first = GroupAction(PGA, GRADES, 1 + len(self.vectors) + len(self.numbers), channels)
        self.layers = nn.ModuleList(Messages(channels) for _ in range(layers))
        self.targets = spec.targets
        self.last = GroupAction(PGA, GRADES, channels, len(spec.targets))

    def features(self, batch: Any) -> Float[Tensor, "nodes features"]:
        return self.propagate(batch).transpose(0, 1).flatten(1)

    def forward(self, batch: Any) -> dict[str, Tensor]:
        x = self.last(self.propagate(batch))
        signs = x.new_tensor(SIGNS)
        outputs = {}
        for channel, target in enumerate(self.targets):
            vectors = x[COORDINATES, :, channel].T * signs
            outputs[target.name] = batch.pos + vectors if target.translates else vectors
        return outputs

    def propagate(self, batch: Any) -> Float[Tensor, "kept nodes channels"]:
        edge_index = complete_graph(batch.ptr)
        x = self.first(self.embed(batch))
        for layer in self.layers:
            x = layer(x, edge_index)
        return x

    def embed(self, batch: Any) -> Float[Tensor, "kept nodes channels"]:
        means = centroids(batch.pos, batch.batch, batch.num_graphs)
        vectors = [batch.pos - means.index_select(0, batch.batch), *(batch[name] for name in self.vectors)]
        x = batch.pos.new_zeros(len(KEPT), len(batch.pos), len(vectors) + len(self.numbers))
        x[COORDINATES, :, : len(vectors)] = torch.stack(
            [sign * torch.stack(vectors, -1)[:, axis] for axis, sign in enumerate(SIGNS)]
        )
        x[VOLUME, :, 0] = 1
        for channel, name in enumerate(self.numbers, start=len(vectors)):
            x[0, :, channel] = batch[name].flatten()
        return x


class Messages(nn.Module):
    """x_i + phi(x_i, sum over j of psi(x_i, x_j)), both being networks of group action layers."""

    def __init__(self, channels: int):
        super().__init__()
        self.message = perceptron(2 * channels, channels)
        self.update = perceptron(2 * channels, channels)

    def forward(
        self, x: Float[Tensor, "kept nodes channels"], edge_index: Tensor
    ) -> Float[Tensor, "kept nodes channels"]:
        j, i = edge_index
        message = self.message(torch.cat([x.index_select(1, i), x.index_select(1, j)], -1))
        received = torch.zeros_like(x).index_add(1, i, message)
        return x + self.update(torch.cat([x, received], -1))


def perceptron(channels: int, out: int) -> nn.Sequential:
    """Action, norm and gate, and once more an action."""
    return nn.Sequential(
        GroupAction(PGA, GRADES, channels, out),
        MultivectorNorm(out),
        MultivectorSiLU(out),
        GroupAction(PGA, GRADES, out, out),
    )


class MultivectorSiLU(nn.Module):
    """sigmoid(w_c . x_c + b_c) x_c, the gate being linear in the components of the multivector."""

    def __init__(self, channels: int):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(len(KEPT), 1, channels) / len(KEPT) ** 0.5)
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Float[Tensor, "kept rows channels"]) -> Float[Tensor, "kept rows channels"]:
        return torch.sigmoid((self.weight * x).sum(0) + self.bias) * x


class MultivectorNorm(nn.Module):
    """a_c (x_c - m) / mean over channels of |x_c - m| + b_c, m the mean over channels and |.| of the components."""

    def __init__(self, channels: int):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(channels))
        self.shift = nn.Parameter(torch.zeros(len(KEPT), 1, channels))

    def forward(self, x: Float[Tensor, "kept rows channels"]) -> Float[Tensor, "kept rows channels"]:
        centred = x - x.mean(-1, keepdim=True)
        length = (centred.square().sum(0) + 1e-12).sqrt().mean(-1, keepdim=True)
        return self.scale * centred / (length + 1e-6) + self.shift
