"""Deep Residual Learning for Image Recognition. He, Zhang, Ren, Sun; CVPR 2016, arXiv:1512.03385.

The networks of section 4.2 for CIFAR: a 3 x 3 convolution, three stages of n blocks of two 3 x 3 convolutions with 16, 32
and 64 channels, the mean over pixels; 6n + 2 layers with weights (n = 3: ResNet-20, 0.27M parameters; n = 5: ResNet-32,
0.46M). A shortcut into a wider stage takes every second pixel and fills the new channels with zeros (option A). ResNet-18
is the network of table 1 as it is commonly used on CIFAR: the same stem, four stages of two blocks with 64 to 512
channels, and projections as shortcuts (option B).
"""

from collections.abc import Sequence
from typing import Literal

from jaxtyping import Float
from torch import Tensor, channels_last, nn
from torch.nn.functional import pad, relu

from ...errors import UserError
from ...tasks.spec import Spec
from .classifier import Classifier, ImageClassifier

Shortcut = Literal["pad", "project"]


class ResNet(ImageClassifier):
    """A residual network for small images.

    Args:
        spec: the benchmark's.
        blocks: the number of blocks of each stage; every stage but the first halves the resolution.
        channels: of the first stage; every other stage doubles them.
        shortcut: into a wider stage, pad (option A, no parameters) or project (option B).
    """

    title = "Deep Residual Learning for Image Recognition"
    arxiv = "1512.03385"
    tiny = {"blocks": [1, 1], "channels": 8}

    def __init__(self, spec: Spec, blocks: Sequence[int], channels: int, shortcut: str):
        super().__init__(spec)
        if shortcut not in ("pad", "project"):
            raise UserError(f"model.shortcut must be pad or project, not {shortcut!r}")
        self.network = Classifier(spec, ResidualStages(spec.fields["image"].shape[0], blocks, channels, shortcut))


class ResidualStages(nn.Module):
    """Images to the mean over pixels of the last stage, of basic blocks or of bottlenecks."""

    def __init__(
        self, in_channels: int, blocks: Sequence[int], channels: int, shortcut: Shortcut, bottleneck: bool = False
    ):
        super().__init__()
        block = Bottleneck if bottleneck else BasicBlock
        self.stem = nn.Sequential(conv3x3(in_channels, channels), nn.BatchNorm2d(channels), nn.ReLU())
        layers, inputs = [], channels
        for stage, count in enumerate(blocks):
            outputs = channels * 2**stage * block.expansion
            for number in range(count):
                stride = 2 if stage and not number else 1
                layers.append(block(inputs, outputs, stride, shortcut))
                inputs = outputs
        self.layers = nn.Sequential(*layers)
        self.feature_channels = inputs
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(
        self, images: Float[Tensor, "samples channels height width"]
    ) -> Float[Tensor, "samples feature_channels"]:
        return self.maps(images).mean((-2, -1))

    def maps(
        self, images: Float[Tensor, "samples channels height width"]
    ) -> Float[Tensor, "samples feature_channels rows columns"]:
        """The last stage, before the mean."""
        # channels last: a quarter quicker on a CPU
        return self.layers(self.stem(images.contiguous(memory_format=channels_last)))


class BasicBlock(nn.Module):
    """ReLU(F(x) + shortcut(x)), F two convolutions of 3 x 3 (eqs. 1 and 2, figure 2)."""

    expansion = 1

    def __init__(self, inputs: int, outputs: int, stride: int, shortcut: Shortcut):
        super().__init__()
        self.residual = self.branch(inputs, outputs, stride)
        if stride == 1 and inputs == outputs:
            self.shortcut: nn.Module = nn.Identity()
        elif shortcut == "pad":
            self.shortcut = SubsampleAndPad(stride, outputs - inputs)
        else:
            self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def branch(self, inputs: int, outputs: int, stride: int) -> nn.Sequential:
        return nn.Sequential(
            conv3x3(inputs, outputs, stride),
            nn.BatchNorm2d(outputs),
            nn.ReLU(),
            conv3x3(outputs, outputs),
            nn.BatchNorm2d(outputs),
        )

    def forward(self, x: Float[Tensor, "samples inputs h w"]) -> Float[Tensor, "samples outputs h_out w_out"]:
        return relu(self.residual(x) + self.shortcut(x))


class Bottleneck(BasicBlock):
    """F narrows to a quarter by 1 x 1, convolves by 3 x 3 (with the stride, as is common) and widens again (figure 5)."""

    expansion = 4

    def branch(self, inputs: int, outputs: int, stride: int) -> nn.Sequential:
        narrow = outputs // self.expansion
        return nn.Sequential(
            nn.Conv2d(inputs, narrow, 1, bias=False),
            nn.BatchNorm2d(narrow),
            nn.ReLU(),
            conv3x3(narrow, narrow, stride),
            nn.BatchNorm2d(narrow),
            nn.ReLU(),
            nn.Conv2d(narrow, outputs, 1, bias=False),
            nn.BatchNorm2d(outputs),
        )


class SubsampleAndPad(nn.Module):
    """Option A: every `stride`-th pixel, and `channels` more channels of zeros."""

    def __init__(self, stride: int, channels: int):
        super().__init__()
        self.stride, self.channels = stride, channels

    def forward(self, x: Float[Tensor, "samples inputs h w"]) -> Float[Tensor, "samples outputs h_out w_out"]:
        return pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.channels))


def conv3x3(inputs: int, outputs: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
