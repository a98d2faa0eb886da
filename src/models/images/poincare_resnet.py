"""Poincaré ResNet. van Spengler, Berkhout, Mettes; ICCV 2023, arXiv:2303.14027.

The residual network of CIFAR (three stages of n blocks, 6n + 2 layers with weights) in the Poincaré ball of curvature -c:
Poincaré convolutions that begin as identities, midpoint batch norm, Möbius addition for residual connections, and ReLU and
pooling in the tangent space at the origin. A shortcut into a wider stage is a 1 x 1 convolution. All parameters are
Euclidean, so that any optimiser trains them; what the paper's manual backward passes are for is done here by never
going through the ball (see nn/hyperbolic_poincare.py).
"""

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor, channels_last, nn

from ...errors import UserError
from ...kernels import Kernels
from ...nn.hyperbolic import projected_share
from ...nn.hyperbolic_poincare import (
    PoincareBatchNorm,
    PoincareConv2d,
    PoincareMLR,
    PoincareReLU,
    PoincareSum,
    ToSpace,
)
from ...tasks.spec import Spec
from .classifier import Classifier, ImageClassifier


class PoincareResNet(ImageClassifier):
    """A residual network in the Poincaré ball.

    Args:
        spec: the benchmark's.
        choice: which backends run its kernels.
        blocks, channels: of each stage; every stage but the first halves the resolution.
        c: minus the curvature.
    """

    title = "Poincaré ResNet"
    arxiv = "2303.14027"
    tiny = {"blocks": [1, 1], "channels": [4, 8]}

    def __init__(self, spec: Spec, choice: Kernels, blocks: Sequence[int], channels: Sequence[int], c: float):
        super().__init__(spec)
        if len(blocks) != len(channels):
            raise UserError(
                f"model.blocks={blocks} and model.channels={channels}: need one number each for every stage"
            )
        if c <= 0:
            raise UserError(f"model.c={c}: the curvature is -c, and c must be positive")
        stages = PoincareStages(choice, spec.fields["image"].shape[0], blocks, channels, c)
        self.network = Classifier(spec, stages)
        self.network.head = PoincareMLR(channels[-1], self.network.target.classes, c)

    def on_train_epoch_end(self) -> None:
        """Logs which part of the points came to lie beyond the ball's edge and was brought back."""
        self.log("train/projected", projected_share(self.network), sync_dist=True)


class PoincareStages(nn.Module):
    """Images, as tangent vectors, to the mean tangent vector of the last stage's pixels."""

    def __init__(self, choice: Kernels, in_channels: int, blocks: Sequence[int], channels: Sequence[int], c: float):
        super().__init__()
        self.feature_channels = channels[-1]
        self.stem = nn.Sequential(
            PoincareConv2d(choice, in_channels, channels[0], 3, 1, 1, c),
            PoincareBatchNorm(choice, channels[0], c),
            PoincareReLU(choice, c),
        )
        layers, inputs = [], channels[0]
        for stage, (count, outputs) in enumerate(zip(blocks, channels, strict=True)):
            for number in range(count):
                layers.append(PoincareBlock(choice, inputs, outputs, 2 if stage and not number else 1, c))
                inputs = outputs
        self.layers = nn.Sequential(*layers)

    def forward(
        self, images: Float[Tensor, "samples channels height width"]
    ) -> Float[Tensor, "samples feature_channels"]:
        return self.layers(self.stem(images.contiguous(memory_format=channels_last))).mean((-2, -1))


class PoincareBlock(nn.Module):
    """ReLU(F(x) + shortcut(x)), the sum Möbius's, of tangent vectors."""

    def __init__(self, choice: Kernels, inputs: int, outputs: int, stride: int, c: float):
        super().__init__()
        self.residual = nn.Sequential(
            PoincareConv2d(choice, inputs, outputs, 3, stride, 1, c),
            PoincareBatchNorm(choice, outputs, c),
            PoincareReLU(choice, c),
            PoincareConv2d(choice, outputs, outputs, 3, 1, 1, c),
            PoincareBatchNorm(choice, outputs, c),
        )
        same = stride == 1 and inputs == outputs
        self.shortcut = ToSpace(choice, c) if same else PoincareConv2d(choice, inputs, outputs, 1, stride, 0, c)
        self.sum, self.relu = PoincareSum(choice, c), PoincareReLU(choice, c)

    def forward(self, x: Float[Tensor, "samples inputs h w"]) -> Float[Tensor, "samples outputs h_out w_out"]:
        return self.relu(self.sum(self.residual(x), self.shortcut(x)))
