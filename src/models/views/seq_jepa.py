"""seq-JEPA: Autoregressive Predictive Learning of Invariant-Equivariant World Models. Ghaemi, Muller, Bakhtiari; NeurIPS 2025.

arXiv:2505.03176: a sequence of views, each encoded and joined with the embedding of the action that leads to the
next one, is summed up by a transformer, and from that and the last action the next view's representation is predicted.
The target comes from a teacher; the loss is one minus the cosine. No term asks for equivariance or invariance: the
encoder's representation becomes equivariant to the actions, the aggregate invariant. Tokens have no positions, and the
last view's has zeros in the place of an action, as in the authors' code. That code also has residual branches that start
at zero, and standardises the last actions of a batch by themselves, not together with the others.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity, pad

from ...errors import UserError
from ...nn.gather import gather
from ...nn.standardize import Standardize
from ...nn.teacher import Teacher
from ...tasks.poses import relative_color, relative_rotation
from ...tasks.spec import Spec
from .self_supervised import SMALL, SelfSupervised, Views, each_view, make_backbone

ACTIONS = {"rotation": relative_rotation, "color": relative_color}
"""Fields of the batch that may be acted by where views are rendered, and the same between any two views' latents."""
AUGMENTATIONS = ("crop", "jitter", "blur")
"""Those where views are augmentations of an image (nn.known_views)."""
SIZES = {"rotation": 4, "color": 2, "crop": 4, "jitter": 4, "blur": 1}


class SeqJEPA(SelfSupervised):
    """Sees all views but the last, under the actions between them, and predicts the last.

    Its parts are the encoder's representation of a view (equivariant) and the aggregate of that view alone (invariant).
    Aggregates of as many views as it was trained on are given beside them, for a score of their own.

    Args:
        spec: the benchmark's; data.views, or augment.views, is one more than the views that are summed up.
        blocks, channels: of the encoder, see JointEmbedding.
        actions: which fields of the batch make the action where views are rendered, of ACTIONS.
        augmentations: which do where they are augmentations, of AUGMENTATIONS.
        action_channels: of an action's embedding; published 128.
        heads, layers, dropout: of the transformer; published 4, 3 and 0.1.
        hidden: width of the predictor; published 1024.
        decay: of the teacher at the start, from where it rises to 1 along a cosine; published 0.996.
    """

    title = "seq-JEPA: Autoregressive Predictive Learning of Invariant-Equivariant World Models"
    arxiv = "2505.03176"
    tiny = {"blocks": [1, 1], "channels": 8, "action_channels": 8, "hidden": 16, "heads": 2, "layers": 1}
    views_by = "known"
    network: "SequenceNetwork"

    def __init__(
        self,
        spec: Spec,
        blocks: Sequence[int],
        channels: int,
        actions: Sequence[str],
        augmentations: Sequence[str],
        action_channels: int,
        heads: int,
        layers: int,
        dropout: float,
        hidden: int,
        decay: float,
    ):
        super().__init__(spec)
        for option, chosen, known in (("actions", actions, ACTIONS), ("augmentations", augmentations, AUGMENTATIONS)):
            if not chosen or not set(chosen) <= set(known):
                raise UserError(f"model.{option} must be some of {', '.join(known)}, not {list(chosen)}")
        self.rendered, self.decay = "latents" in spec.fields, decay
        actions = list(actions if self.rendered else augmentations)
        self.network = SequenceNetwork(spec, blocks, channels, actions, action_channels, heads, layers, dropout, hidden)
        self.teacher = Teacher(self.network.backbone)

    def loss(self, batch: Any) -> Float[Tensor, ""]:
        target = self.teacher(self.network.standardize(batch.images[:, -1]))
        return gather(1 - cosine_similarity(self(batch)["predicted"], target)).mean()

    def between(
        self, source: Float[Tensor, "*batch latents"], target: Float[Tensor, "*batch latents"]
    ) -> Float[Tensor, "*batch size"]:
        return torch.cat([ACTIONS[name](source, target) for name in self.network.actions], -1)

    def act(
        self, z: Float[Tensor, "*batch channels"], g: Float[Tensor, "*batch size"]
    ) -> Float[Tensor, "*batch channels"]:
        """The representation that is predicted after the action g, from that of one view."""
        return self.network.predict_next(z.flatten(0, -2)[:, None], g.flatten(0, -2)[:, None]).view_as(z)

    def represent(self, batch: Any) -> dict[str, Views]:
        z = self.network.features(batch)
        alone = each_view(lambda rows: self.network.aggregate(rows[:, None]), z)
        return {"all": torch.cat([z, alone], -1), "invariant": alone, "equivariant": z}

    def predict(self, batch: Any) -> dict[str, Tensor]:
        """See SelfSupervised; the embedding that is predicted is the teacher's. Of single images, the parts alone."""
        parts = self.represent(batch)
        if not self.rendered:
            return parts
        z, latents = parts["equivariant"], batch.latents
        return {
            **parts,
            "aggregate": self.network.aggregates(z, self.between(latents[:, :-1], latents[:, 1:])),
            "embedded_invariant": parts["invariant"],
            "embedded_equivariant": each_view(lambda x: self.teacher(self.network.standardize(x)), batch.images),
            "predicted_equivariant": self.act(
                z[:, :1].expand_as(z), self.between(latents[:, :1].expand_as(latents), latents)
            ),
        }

    def optimizer_step(self, *arguments: Any, **options: Any) -> None:
        super().optimizer_step(*arguments, **options)
        part = self.trainer.global_step / self.trainer.estimated_stepping_batches
        rise = (1 + math.cos(math.pi * min(1, part))) / 2
        self.teacher.update(self.network.backbone, 1 - (1 - self.decay) * rise)


class SequenceNetwork(nn.Module):
    """Encodes views, sums them up under the actions between them, and predicts the view after the last action.

    Args:
        spec, blocks, channels, actions, action_channels, heads, layers, dropout, hidden: see SeqJEPA.
    """

    def __init__(
        self,
        spec: Spec,
        blocks: Sequence[int],
        channels: int,
        actions: Sequence[str],
        action_channels: int,
        heads: int,
        layers: int,
        dropout: float,
        hidden: int,
    ):
        super().__init__()
        views, inputs, *sides = spec.fields["images"].shape
        self.length, self.actions, self.action_channels = views - 1, actions, action_channels
        self.standardize = Standardize(inputs)
        self.backbone = make_backbone(inputs, blocks, channels, max(sides) <= SMALL)
        self.feature_channels = self.backbone.feature_channels
        size = sum(SIZES[name] for name in actions)
        self.embed = nn.Sequential(
            nn.Linear(size, action_channels, bias=False), nn.BatchNorm1d(action_channels, affine=False)
        )
        width = self.feature_channels + action_channels
        if width % heads:
            raise UserError(
                f"model.heads must divide {width}, the channels of the encoder and of an action, which {heads} does not"
            )
        self.token = nn.Parameter(torch.zeros(width))
        layer = nn.TransformerEncoderLayer(width, heads, 4 * width, dropout, batch_first=True)
        self.transformer = nn.TransformerEncoder(layer, layers, nn.LayerNorm(width), enable_nested_tensor=False)
        self.predictor = nn.Sequential(
            nn.Linear(width + action_channels, hidden, bias=False),
            nn.BatchNorm1d(hidden),
            nn.ReLU(),
            nn.Linear(hidden, self.feature_channels),
        )

    def features(self, batch: Any) -> Views:
        """The encoder's representation of every view."""
        return self.encode(batch.images)

    def encode(self, images: Float[Tensor, "samples views colors height width"]) -> Views:
        return each_view(lambda x: self.backbone(self.standardize(x)), images)

    def taken(self, batch: Any) -> Float[Tensor, "samples steps size"]:
        """The actions between each view and the next."""
        if missing := [name for name in self.actions if name not in batch]:
            raise UserError(f"seq-JEPA acts by {', '.join(missing)}, which no augmentation tells: use augment=known")
        return torch.cat([batch[name] for name in self.actions], -1)

    def forward(self, batch: Any) -> dict[str, Tensor]:
        """The last view's representation as `predicted` from the others."""
        return {"predicted": self.predict_next(self.encode(batch.images[:, :-1]), self.taken(batch))}

    def predict_next(
        self, z: Float[Tensor, "samples views channels"], actions: Float[Tensor, "samples views size"]
    ) -> Float[Tensor, "samples channels"]:
        embedded = each_view(self.embed, actions)
        return self.predictor(torch.cat([self.aggregate(z, embedded[:, :-1]), embedded[:, -1]], -1))

    def aggregate(
        self,
        z: Float[Tensor, "samples views channels"],
        embedded: Float[Tensor, "samples steps embedding"] | None = None,
    ) -> Float[Tensor, "samples width"]:
        """One representation of several views and of the actions between them; of a view alone, without any."""
        if embedded is None:
            embedded = z.new_zeros(len(z), 0, self.action_channels)
        tokens = torch.cat([z, pad(embedded, (0, 0, 0, 1))], -1)  # nothing is done after the last view
        token = self.token.expand(len(z), 1, -1)
        return self.transformer(torch.cat([token, tokens], 1))[:, 0]

    def aggregates(
        self, z: Float[Tensor, "samples views channels"], actions: Float[Tensor, "samples steps size"]
    ) -> Float[Tensor, "samples windows width"]:
        """Of all runs of as many successive views as training sums up, or of all views if there are fewer."""
        length = min(self.length, z.shape[1])
        first = torch.arange(z.shape[1] - length + 1, device=z.device)[:, None]
        steps = torch.arange(length, device=z.device)
        windows, embedded = z[:, first + steps], each_view(self.embed, actions)[:, first + steps[:-1]]
        return self.aggregate(windows.flatten(0, 1), embedded.flatten(0, 1)).unflatten(0, windows.shape[:2])
