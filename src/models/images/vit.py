"""An Image is Worth 16x16 Words. Dosovitskiy et al.; ICLR 2021, arXiv:2010.11929.

Equations (1)-(4): patches, linearly embedded, behind a class token, plus learned positions; L layers of self-attention and
MLP, each on a layer norm and around a residual connection; the layer norm of the class token is the feature. In the sizes
that fit images of 32 pixels (the paper's own begin at 86M parameters and 224 pixels).
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from ...errors import UserError
from ...tasks.spec import Spec
from .classifier import Classifier, ImageClassifier


class ViT(ImageClassifier):
    """A small vision transformer.

    Args:
        spec: the benchmark's.
        patch: height and width of a patch in pixels; must divide those of the image.
        layers: L.
        channels: D, the width of a token.
        heads: of the attention; must divide `channels`.
        hidden: the width of the MLPs.
        dropout: on the embedding and after every attention and MLP.
    """

    title = "An Image is Worth 16x16 Words: Transformers for Image Recognition at Scale"
    arxiv = "2010.11929"
    tiny = {"patch": 4, "layers": 2, "channels": 16, "heads": 2, "hidden": 32}

    def __init__(self, spec: Spec, patch: int, layers: int, channels: int, heads: int, hidden: int, dropout: float):
        super().__init__(spec)
        in_channels, height, width = spec.fields["image"].shape
        if height % patch or width % patch:
            raise UserError(f"model.patch={patch} does not divide the {height} x {width} pixels of {spec.benchmark}")
        if channels % heads:
            raise UserError(f"model.heads={heads} does not divide model.channels={channels}")
        patches = (height // patch) * (width // patch)
        backbone = Transformer(in_channels, patch, patches, layers, channels, heads, hidden, dropout)
        self.network = Classifier(spec, backbone)


class Transformer(nn.Module):
    """Images to the class token of the last layer."""

    def __init__(
        self,
        in_channels: int,
        patch: int,
        patches: int,
        layers: int,
        channels: int,
        heads: int,
        hidden: int,
        dropout: float,
    ):
        super().__init__()
        self.feature_channels = channels
        self.embedding = nn.Conv2d(in_channels, channels, patch, patch)  # E of eq. (1)
        self.class_token = nn.Parameter(torch.zeros(channels))
        self.positions = nn.Parameter(0.02 * torch.randn(patches + 1, channels))
        self.dropout = nn.Dropout(dropout)
        self.layers = nn.Sequential(*(EncoderLayer(channels, heads, hidden, dropout) for _ in range(layers)))
        self.norm = nn.LayerNorm(channels)

    def forward(
        self, images: Float[Tensor, "samples channels height width"]
    ) -> Float[Tensor, "samples feature_channels"]:
        patches = self.embedding(images).flatten(2).mT
        tokens = torch.cat([self.class_token.expand(len(images), 1, -1), patches], 1)
        z = self.layers(self.dropout(tokens + self.positions))  # eqs. (1)-(3)
        return self.norm(z[:, 0])  # eq. (4)


class EncoderLayer(nn.Module):
    """Eqs. (2) and (3)."""

    def __init__(self, channels: int, heads: int, hidden: int, dropout: float):
        super().__init__()
        self.attention = nn.Sequential(nn.LayerNorm(channels), SelfAttention(channels, heads), nn.Dropout(dropout))
        self.mlp = nn.Sequential(
            nn.LayerNorm(channels),
            nn.Linear(channels, hidden),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(hidden, channels),
            nn.Dropout(dropout),
        )

    def forward(self, z: Float[Tensor, "samples tokens channels"]) -> Float[Tensor, "samples tokens channels"]:
        z = z + self.attention(z)
        return z + self.mlp(z)


class SelfAttention(nn.Module):
    """Multi-head self-attention, eqs. (5)-(8) of the appendix."""

    def __init__(self, channels: int, heads: int):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(channels, 3 * channels)
        self.out = nn.Linear(channels, channels)

    def forward(self, z: Float[Tensor, "samples tokens channels"]) -> Float[Tensor, "samples tokens channels"]:
        q, k, v = self.qkv(z).unflatten(-1, (3, self.heads, -1)).movedim(-2, 1).unbind(-2)
        return self.out(scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
