"""What classifiers of images share: inputs standardised with the training split's statistics, a backbone, and a head."""

from collections.abc import Callable, Iterable
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from ...nn.standardize import Standardize
from ...tasks.spec import Spec
from ..paper import Paper


class Classifier(nn.Module):
    """Logits of a linear head on the features of a backbone.

    Attributes:
        head: features (samples, feature_channels) to logits (samples, classes); may be replaced by any module that does.
        feature_channels: what the head reads.

    Args:
        spec: of a benchmark of images with one target, a class.
        backbone: standardised images to features (samples, backbone.feature_channels).
    """

    def __init__(self, spec: Spec, backbone: nn.Module):
        super().__init__()
        (self.target,) = spec.targets
        self.standardize = Standardize(spec.fields["image"].shape[0])
        self.backbone = backbone
        self.feature_channels: int = backbone.feature_channels
        self.head: nn.Module = nn.Linear(self.feature_channels, self.target.classes)

    def features(self, batch: Any) -> Float[Tensor, "samples feature_channels"]:
        return self.backbone(self.standardize(batch.image))

    def forward(self, batch: Any) -> dict[str, Tensor]:
        return {self.target.name: self.head(self.features(batch))}


class ImageClassifier(Paper):
    """A paper on images with a class each; every Standardize in its network is fitted to the training split first."""

    modalities = frozenset({"images"})
    outputs = frozenset({"graph:class"})

    def fit_closed_form(self, train_batches: Callable[[], Iterable[Any]]) -> None:
        for module in self.network.modules():
            if isinstance(module, Standardize):
                module.fit(batch.image for batch in train_batches())
