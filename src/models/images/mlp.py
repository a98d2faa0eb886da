"""A multilayer perceptron on the pixels, and the linear model that every table of images begins with."""

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor, nn

from ...tasks.spec import Spec
from .classifier import Classifier, ImageClassifier


class Pixels(nn.Module):
    """The pixels through hidden layers, each followed by a ReLU; without hidden layers, the pixels themselves."""

    def __init__(self, shape: Sequence[int], hidden: Sequence[int]):
        super().__init__()
        widths = [shape[0] * shape[1] * shape[2], *hidden]
        self.feature_channels = widths[-1]
        layers = [
            layer
            for inputs, outputs in zip(widths, widths[1:], strict=False)
            for layer in (nn.Linear(inputs, outputs), nn.ReLU())
        ]
        self.layers = nn.Sequential(nn.Flatten(), *layers)

    def forward(
        self, images: Float[Tensor, "samples channels height width"]
    ) -> Float[Tensor, "samples feature_channels"]:
        return self.layers(images)


class MLP(ImageClassifier):
    """Fully connected layers on the pixels, blind to where they stand.

    Args:
        spec: the benchmark's.
        hidden: the widths of the hidden layers.
    """

    title = "Multilayer perceptron (baseline)"
    tiny = {"hidden": [16]}

    def __init__(self, spec: Spec, hidden: Sequence[int]):
        super().__init__(spec)
        self.network = Classifier(spec, Pixels(spec.fields["image"].shape, hidden))


class Linear(ImageClassifier):
    """Multinomial logistic regression on the pixels: the floor of a table of images."""

    title = "Logistic regression on pixels (floor)"

    def __init__(self, spec: Spec):
        super().__init__(spec)
        self.network = Classifier(spec, Pixels(spec.fields["image"].shape, ()))
