"""WaveMix: A Resource-efficient Neural Network for Image Analysis. Jeevan, Viswanathan, Anandu, Sethi; arXiv:2205.14375.

A network that keeps its resolution, whose blocks mix pixels by wavelets (section 3): channels are reduced to a quarter, a
Haar transform of one or several levels turns each level's image into four bands of half its size, and an MLP with a
transposed convolution brings them back, each level's result read by the next finer one. With one level the block is
WaveMix-Lite; named C/L, it has C channels and L blocks. The two convolutions in front have stride 1, as the authors' code
has it for images of 32 pixels.
"""

from jaxtyping import Float
from torch import Tensor, cat, channels_last, nn

from ...errors import UserError
from ...tasks.spec import Spec
from .classifier import Classifier, ImageClassifier


class WaveMix(ImageClassifier):
    """WaveMix for small images.

    Args:
        spec: the benchmark's; 2**levels must divide the height and the width of its images.
        blocks: the number of blocks.
        channels: C, of every block; a multiple of four.
        levels: of the wavelet transform; 1 is WaveMix-Lite.
        expansion: of the hidden channels in the MLPs.
        dropout: in the MLPs.
    """

    title = "WaveMix: A Resource-efficient Neural Network for Image Analysis"
    arxiv = "2205.14375"
    tiny = {"blocks": 2, "channels": 16, "dropout": 0.0}

    def __init__(self, spec: Spec, blocks: int, channels: int, levels: int, expansion: int, dropout: float):
        super().__init__(spec)
        in_channels, height, width = spec.fields["image"].shape
        if channels < 4 or channels % 4:
            raise UserError(f"model.channels={channels} must be a multiple of 4: a quarter of them is transformed")
        if levels < 1 or height % 2**levels or width % 2**levels:
            raise UserError(
                f"model.levels={levels} must be 1 or more, and 2**levels divide the {height} x {width} pixels of "
                f"{spec.benchmark}"
            )
        self.network = Classifier(spec, WaveBlocks(in_channels, blocks, channels, levels, expansion, dropout))


class WaveBlocks(nn.Module):
    """Images to the mean over pixels after the last block."""

    def __init__(self, in_channels: int, blocks: int, channels: int, levels: int, expansion: int, dropout: float):
        super().__init__()
        self.feature_channels = channels
        self.stem = nn.Sequential(
            nn.Conv2d(in_channels, channels // 2, 3, padding=1), nn.Conv2d(channels // 2, channels, 3, padding=1)
        )
        self.blocks = nn.ModuleList(WaveBlock(channels, levels, expansion, dropout) for _ in range(blocks))

    def forward(
        self, images: Float[Tensor, "samples channels height width"]
    ) -> Float[Tensor, "samples feature_channels"]:
        x = self.stem(images.contiguous(memory_format=channels_last))
        for block in self.blocks:
            x = x + block(x)
        return x.mean((-2, -1))


class WaveBlock(nn.Module):
    """What a block adds to its input: the bands of every level, brought back to full size from the coarsest on."""

    def __init__(self, channels: int, levels: int, expansion: int, dropout: float):
        super().__init__()
        self.reduction = nn.Conv2d(channels, channels // 4, 1)
        self.mlps = nn.ModuleList()  # by level, the finest first
        for level in range(1, levels + 1):
            inputs = channels if level == levels else channels + channels // 2
            outputs = channels if level == 1 else channels // 2
            self.mlps.append(
                nn.Sequential(
                    nn.Conv2d(inputs, expansion * channels, 1),
                    nn.GELU(),
                    nn.Dropout(dropout),
                    nn.Conv2d(expansion * channels, channels, 1),
                    nn.ConvTranspose2d(channels, outputs, 4, stride=2, padding=1),
                    nn.BatchNorm2d(outputs),
                )
            )

    def forward(self, x: Float[Tensor, "samples channels h w"]) -> Float[Tensor, "samples channels h w"]:
        low, levels = self.reduction(x), []
        for _ in self.mlps:
            bands = haar(low)
            low = bands[0]
            levels.append(cat(bands, 1))
        z = self.mlps[-1](levels[-1])
        for bands, mlp in zip(levels[-2::-1], self.mlps[-2::-1], strict=True):
            z = mlp(cat([bands, z], 1))
        return z


def haar(x: Float[Tensor, "samples channels h w"]) -> tuple[Float[Tensor, "samples channels half_h half_w"], ...]:
    """The orthonormal Haar transform of even-sized images: means, and differences along rows, along columns and both.

    Nothing is lost: the four bands have as many pixels as the image and its squared norm, and the transpose is the inverse.
    """
    top, bottom = x[..., ::2, :], x[..., 1::2, :]
    bands = []
    for rows in (top + bottom, top - bottom):
        left, right = rows[..., ::2], rows[..., 1::2]
        bands += [(left + right) / 2, (left - right) / 2]
    return tuple(bands)
