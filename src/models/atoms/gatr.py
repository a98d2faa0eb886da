"""Geometric Algebra Transformer. Brehmer, de Haan, Behrends, Cohen; NeurIPS 2023, arXiv:2305.18415.

Particles are tokens of multivectors of projective geometric algebra G(3, 0, 1) and of scalars: a position is the trivector of
a point, a velocity the bivector of a translation. Linear maps, the geometric bilinear of products and joins, layer norm and
gated GELU (sections 3.1 and 3.2) are those of `erlangen.nn.clifford`; attention compares the invariant components of
queries and keys, and, through features whose inner product is one, the squared distance of their points (section 3.3).

The network commutes with Pin(3, 0, 1). Positions and velocities embed so that rotations and translations of the data are
that group's action; a reflection takes a point to minus the embedding of its image, so that the mirror images of data are not
treated alike and no such promise is made. Published outputs divide a trivector by its homogeneous coordinate; here the
displacement is its difference from that coordinate times the position, equal where that is 1 and defined everywhere.
"""

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import gelu
from torch.nn.functional import layer_norm as scalar_norm

from ...geometry.clifford import Signature, blades
from ...kernels import Kernels
from ...kernels.segment import segment_sum
from ...nn.clifford import Bilinear, CliffordLinear, gated_gelu, layer_norm
from ...nn.frames import centroids
from ...nn.gradient import with_forces
from ...tasks.spec import Spec
from ...tasks.symmetry import exact
from ..paper import Paper

PGA: Signature = (3, 0, 1)
BLADES = blades(PGA)
INVARIANT = [BLADES.index(blade) for blade in BLADES if 0 not in blade and len(blade) < 3]
"""Blades of the inner product; that of e123, which points have, is left to the distances."""
TRANSLATION = [BLADES.index((0, axis)) for axis in (1, 2, 3)]
VOLUME = BLADES.index((1, 2, 3))
COORDINATES = [BLADES.index(blade) for blade in ((0, 2, 3), (0, 1, 3), (0, 1, 2))]
LENGTHS = [len(INVARIANT), 1, len(COORDINATES)]
SIGNS = (-1.0, 1.0, -1.0)
"""A point x is e123 - x1 e023 + x2 e013 - x3 e012: the meet of the planes x_i = const."""


class GATr(Paper):
    """GATr on atoms or on trajectories.

    Args:
        spec: the benchmark's.
        choice: which backends run its kernels.
        blocks: transformer blocks.
        channels: multivectors of every token.
        scalars: scalar channels of every token.
        heads: of attention; twice the channels are divided among them.
    """

    title = "Geometric Algebra Transformer"
    arxiv = "2305.18415"
    modalities = frozenset({"atoms", "trajectories"})
    outputs = frozenset({"graph:0e", "node:1o"})
    tiny = {"blocks": 2, "channels": 4, "scalars": 8, "heads": 2}

    def __init__(self, spec: Spec, choice: Kernels, blocks: int, channels: int, scalars: int, heads: int):
        super().__init__(spec)
        self.network = with_forces(GATrNetwork(spec, choice, blocks, channels, scalars, heads), spec)


class GATrNetwork(nn.Module):
    """Embed, transform, read out."""

    symmetries = exact("rotation", "translation", "permutation")

    def __init__(self, spec: Spec, choice: Kernels, blocks: int, channels: int, scalars: int, heads: int):
        super().__init__()
        self.inputs = Embedding(spec)
        own = [target for target in spec.targets if not target.gradient_of]
        self.vectors = [target for target in own if target.level == "node"]
        self.sums = [target.name for target in own if target.level == "graph"]
        self.first = EquiLinear(self.inputs.channels, channels, self.inputs.scalars, scalars)
        self.blocks = nn.ModuleList(Block(choice, channels, scalars, heads) for _ in range(blocks))
        self.last = EquiLinear(channels, max(len(self.vectors), 1), scalars, max(len(self.sums), 1))
        self.last.freeze_unread(multivectors=not self.vectors, scalars=not self.sums)

    def features(self, batch: Any) -> Float[Tensor, "nodes scalars"]:
        return self.propagate(batch)[1]

    def forward(self, batch: Any) -> dict[str, Tensor]:
        x, s = self.last(*self.propagate(batch))
        sums = segment_sum(s, batch.batch, batch.num_graphs)
        outputs = dict(zip(self.sums, sums.unbind(-1), strict=False))
        centred = self.inputs.centred(batch)
        for channel, target in enumerate(self.vectors):
            point = torch.stack(
                [sign * x[blade, :, channel] for blade, sign in zip(COORDINATES, SIGNS, strict=True)], -1
            )
            displacement = point - x[VOLUME, :, channel, None] * centred
            outputs[target.name] = batch.pos + displacement if target.translates else displacement
        return outputs

    def propagate(self, batch: Any) -> tuple[Float[Tensor, "16 nodes channels"], Float[Tensor, "nodes scalars"]]:
        """Multivectors, as seen from the sample's centroid (where rounding is least), and scalars of the last block."""
        x, s = self.inputs(batch)
        means = centroids(x.mean(-1).T, batch.batch, batch.num_graphs)
        reference = means.index_select(0, batch.batch).T[..., None]
        tokens = Tokens(batch.ptr, batch.batch)
        x, s = self.first(x, s)
        for block in self.blocks:
            x, s = block(x, s, reference, tokens)
        return x, s


class Embedding(nn.Module):
    """A multivector for the position and for every other vector of a node, and scalars for its numbers and categories."""

    def __init__(self, spec: Spec):
        super().__init__()
        self.vectors, self.numbers = spec.node_vectors, spec.node_numbers
        categories = {name: field.categories for name, field in spec.fields.items() if field.level == "node"}
        self.categories = [name for name, values in categories.items() if values]
        for name in self.categories:
            self.register_buffer(f"{name}_values", torch.tensor(categories[name]), persistent=False)
        self.channels = 1 + len(self.vectors)
        self.scalars = 1 + len(self.numbers) + sum(map(len, categories.values()))

    def centred(self, batch: Any) -> Float[Tensor, "nodes 3"]:
        return batch.pos - centroids(batch.pos, batch.batch, batch.num_graphs).index_select(0, batch.batch)

    def forward(self, batch: Any) -> tuple[Float[Tensor, "16 nodes channels"], Float[Tensor, "nodes scalars"]]:
        one = torch.ones_like(batch.pos[:, :1])
        x = [point(self.centred(batch)), *(translation(batch[name]) for name in self.vectors)]
        s = [one, *(batch[name].view(len(one), -1) for name in self.numbers)]
        s += [(batch[name][:, None] == self.get_buffer(f"{name}_values")).to(one.dtype) for name in self.categories]
        return torch.stack(x, -1), torch.cat(s, -1)


def point(position: Float[Tensor, "nodes 3"]) -> Float[Tensor, "16 nodes"]:
    """The trivector of a point, with homogeneous coordinate 1."""
    x = position.new_zeros(len(BLADES), len(position))
    x[VOLUME] = 1
    x[COORDINATES] = position.T * position.new_tensor(SIGNS)[:, None]
    return x


def translation(vector: Float[Tensor, "nodes 3"]) -> Float[Tensor, "16 nodes"]:
    """The versor 1 - e0 v / 2, which translates by v."""
    x = vector.new_zeros(len(BLADES), len(vector))
    x[0] = 1
    x[TRANSLATION] = -vector.T / 2
    return x


class EquiLinear(nn.Module):
    """Linear maps between multivectors and scalars; the scalar components of multivectors exchange with scalars.

    Args:
        channels, out: multivectors before and after.
        scalars, scalars_out: scalars before and after; after 0 there are none.
        gain: factor of the initial weights.
    """

    def __init__(self, channels: int, out: int, scalars: int, scalars_out: int, gain: float = 1.0):
        super().__init__()
        self.multivectors = CliffordLinear(PGA, channels, out, gain=gain)
        self.from_scalars = nn.Linear(scalars, out, bias=False)
        self.to_scalars = nn.Linear(channels + scalars, scalars_out) if scalars_out else None
        with torch.no_grad():
            self.from_scalars.weight.mul_(gain)
            if self.to_scalars is not None:
                self.to_scalars.weight.mul_(gain)

    def freeze_unread(self, multivectors: bool, scalars: bool) -> None:
        """Leaves untrained what only leads to outputs that nothing reads, and so gets no gradient."""
        for part in [self.multivectors, self.from_scalars] * multivectors + [self.to_scalars] * scalars:
            part.requires_grad_(False)

    def forward(
        self, x: Float[Tensor, "16 nodes channels"], s: Float[Tensor, "nodes scalars"]
    ) -> tuple[Float[Tensor, "16 nodes out"], Float[Tensor, "nodes scalars_out"] | None]:
        y = self.multivectors(x, self.from_scalars(s))
        return y, None if self.to_scalars is None else self.to_scalars(torch.cat([x[0], s], -1))


class Block(nn.Module):
    """Attention and a perceptron, each after a norm and added to its input."""

    def __init__(self, choice: Kernels, channels: int, scalars: int, heads: int):
        super().__init__()
        self.attention = GeometricAttention(channels, scalars, heads)
        self.perceptron = GeometricMLP(choice, channels, scalars)

    def forward(
        self,
        x: Float[Tensor, "16 nodes channels"],
        s: Float[Tensor, "nodes scalars"],
        reference: Float[Tensor, "16 nodes 1"],
        tokens: "Tokens",
    ) -> tuple[Float[Tensor, "16 nodes channels"], Float[Tensor, "nodes scalars"]]:
        dx, ds = self.attention(layer_norm(x, PGA), scalar_norm(s, s.shape[-1:]), tokens)
        x, s = x + dx, s + ds
        dx, ds = self.perceptron(layer_norm(x, PGA), scalar_norm(s, s.shape[-1:]), reference)
        return x + dx, s + ds


class GeometricAttention(nn.Module):
    """softmax over tokens of (<q, k> + w phi(q) . psi(k) + q_s . k_s) / sqrt(their number), section 3.3."""

    def __init__(self, channels: int, scalars: int, heads: int):
        super().__init__()
        self.heads = heads
        self.channels, self.scalars = max(2 * channels // heads, 1), max(2 * scalars // heads, 4)
        inner, inner_scalars = heads * self.channels, heads * self.scalars
        self.project = EquiLinear(channels, 3 * inner, scalars, 3 * inner_scalars)
        # all that attention looks at, at once: every part of a tensor has a gradient as large as the tensor
        looked_at = torch.tensor([*INVARIANT, VOLUME, *COORDINATES])
        self.register_buffer("looked_at", looked_at, persistent=False)
        self.distance_weight = nn.Parameter(torch.zeros(heads, self.channels, 1))  # its logarithm
        self.last = EquiLinear(inner, channels, inner_scalars, scalars, gain=0.1)

    def forward(
        self, x: Float[Tensor, "16 nodes channels"], s: Float[Tensor, "nodes scalars"], tokens: "Tokens"
    ) -> tuple[Float[Tensor, "16 nodes channels"], Float[Tensor, "nodes scalars"]]:
        x, s = self.project(x, s)
        q, k, v = x.unflatten(2, (3, self.heads, self.channels)).permute(2, 1, 3, 4, 0).unbind()
        q_s, k_s, v_s = s.unflatten(1, (3, self.heads, self.scalars)).unbind(1)
        (q, *q_point), (k, *k_point) = (part.index_select(-1, self.looked_at).split(LENGTHS, -1) for part in (q, k))
        phi, psi = distance_features(*q_point, *k_point)
        queries = torch.cat([q.flatten(2), (self.distance_weight.exp() * phi).flatten(2), q_s], -1)
        keys = torch.cat([k.flatten(2), psi.flatten(2), k_s], -1)
        mixed = tokens.attend(queries, keys, torch.cat([v.flatten(2), v_s], -1))
        v, v_s = mixed.split([self.channels * len(BLADES), self.scalars], -1)
        return self.last(v.unflatten(-1, (self.channels, -1)).flatten(1, 2).permute(2, 0, 1), v_s.flatten(1))


def distance_features(
    w_q: Float[Tensor, "*batch 1"],
    q: Float[Tensor, "*batch 3"],
    w_k: Float[Tensor, "*batch 1"],
    k: Float[Tensor, "*batch 3"],
    epsilon: float = 1e-3,
) -> tuple[Float[Tensor, "*batch 5"], Float[Tensor, "*batch 5"]]:
    """phi and psi with phi(q) . psi(k) = -|w_k q - w_q k|^2, w being a point's homogeneous coordinate.

    Each trivector is divided by w + epsilon / w first, which makes it a point where w is not small.
    """
    (q, w_q), (k, w_k) = (
        (x * w / (w.square() + epsilon), w.square() / (w.square() + epsilon)) for w, x in ((w_q, q), (w_k, k))
    )
    phi = torch.cat([q.square().sum(-1, keepdim=True), w_q.square(), w_q * q], -1)
    psi = torch.cat([-w_k.square(), -k.square().sum(-1, keepdim=True), 2 * w_k * k], -1)
    return phi, psi


class Tokens:
    """Nodes as tokens of sequences, one a sample; shorter ones are padded and masked."""

    def __init__(self, ptr: Int[Tensor, " samples_plus_1"], batch: Int[Tensor, " nodes"]):
        sizes = ptr.diff()
        self.shape = (len(sizes), int(sizes.max()))
        self.place = batch * self.shape[1] + torch.arange(len(batch), device=batch.device) - ptr[batch]
        mask = torch.zeros(self.shape[0] * self.shape[1], dtype=torch.bool, device=batch.device)
        self.missing = ~mask.index_fill(0, self.place, True).view(self.shape)

    def attend(
        self,
        queries: Float[Tensor, "nodes heads features"],
        keys: Float[Tensor, "nodes heads features"],
        values: Float[Tensor, "nodes heads channels"],
    ) -> Float[Tensor, "nodes heads channels"]:
        """Attention of every node to those of its sample."""
        # written out, because the fused kernels have no second derivative, which training on forces needs
        q, k, v = (self.padded(x) for x in (queries * queries.shape[-1] ** -0.5, keys, values))
        logits = (q @ k.mT).masked_fill(self.missing[:, None, None], float("-inf"))
        return (logits.softmax(-1) @ v).transpose(1, 2).flatten(0, 1).index_select(0, self.place)

    def padded(self, x: Float[Tensor, "nodes heads channels"]) -> Float[Tensor, "samples heads tokens channels"]:
        rows = x.new_zeros(self.shape[0] * self.shape[1], *x.shape[1:]).index_copy(0, self.place, x)
        return rows.unflatten(0, self.shape).transpose(1, 2)


class GeometricMLP(nn.Module):
    """The geometric bilinear, gated GELU, and a linear map (figure 1)."""

    def __init__(self, choice: Kernels, channels: int, scalars: int):
        super().__init__()
        self.factors = EquiLinear(channels, 4 * channels, scalars, 0)
        with torch.no_grad():  # a right factor near 1: products start close to their left factor
            self.factors.multivectors.bias[channels : 2 * channels] = 1
        self.bilinear = Bilinear(choice, PGA)
        self.middle = EquiLinear(2 * channels, 2 * channels, scalars, 2 * scalars)
        self.last = EquiLinear(2 * channels, channels, 2 * scalars, scalars)

    def forward(
        self, x: Float[Tensor, "16 nodes channels"], s: Float[Tensor, "nodes scalars"], reference: Tensor
    ) -> tuple[Float[Tensor, "16 nodes channels"], Float[Tensor, "nodes scalars"]]:
        factors = [factor.contiguous() for factor in self.factors(x, s)[0].chunk(4, -1)]
        products = self.bilinear.product(*factors[:2]), self.bilinear.join(*factors[2:], reference)
        x, s = self.middle(torch.cat(products, -1), s)
        return self.last(gated_gelu(x), gelu(s, approximate="tanh"))
