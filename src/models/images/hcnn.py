"""Fully Hyperbolic Convolutional Neural Networks for Computer Vision.

Bdeir, Schwethelm, Landwehr; ICLR 2024, arXiv:2303.15919.

ResNet-18 for small images on the hyperboloid of curvature -c: every convolution, batch norm, the pooling and the
classifier are Lorentzian. A feature map holds the space part of a point at every pixel, on which ReLU and the
residual connections act. Batch norms' means are points too, and are moved by Riemannian SGD whatever optimiser trains the
rest. Batch norm divides by the root of the mean squared distance from one centroid of all pixels; the authors' code divides by
the mean distance, and takes centroids of the images' centroids.
"""

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor, nn
from torch.optim import Optimizer

from ...errors import UserError
from ...kernels import Kernels
from ...nn.hyperbolic import projected_share
from ...nn.hyperbolic_lorentz import LorentzBatchNorm, LorentzConv2d, LorentzMLR, lorentz_mean
from ...nn.hypercomplex import replaced
from ...optim.lorentz import LorentzSGD
from ...tasks.spec import Spec
from .classifier import Classifier, ImageClassifier
from .resnet import ResidualStages


class HCNN(ImageClassifier):
    """A residual network on the hyperboloid.

    Args:
        spec: the benchmark's.
        choice: which backends run its kernels.
        blocks, channels, shortcut: of the residual network, see ResNet; channels are dimensions of hyperbolic spaces.
        c: minus the curvature.
        lr, momentum: of the Riemannian SGD that moves the means of batch norms; the schedule applies to it too.
    """

    title = "Fully Hyperbolic Convolutional Neural Networks for Computer Vision"
    arxiv = "2303.15919"
    tiny = {"blocks": [1, 1], "channels": 8}

    def __init__(
        self,
        spec: Spec,
        choice: Kernels,
        blocks: Sequence[int],
        channels: int,
        shortcut: str,
        c: float,
        lr: float,
        momentum: float,
    ):
        super().__init__(spec)
        if shortcut not in ("pad", "project"):
            raise UserError(f"model.shortcut must be pad or project, not {shortcut!r}")
        if c <= 0:
            raise UserError(f"model.c={c}: the curvature is -c, and c must be positive")
        stages = LorentzStages(choice, spec.fields["image"].shape[0], blocks, channels, shortcut, c, lr, momentum)
        self.network = Classifier(spec, stages)
        self.network.head = LorentzMLR(stages.feature_channels, self.network.target.classes, c)

    def on_train_epoch_end(self) -> None:
        """Logs which part of the points came to lie too far away and was brought back."""
        self.log("train/projected", projected_share(self.network), sync_dist=True)


class LorentzStages(ResidualStages):
    """A residual network's stages with Lorentzian layers; pixels are lifted to the hyperboloid.

    Args:
        in_channels: of the images.
        choice, blocks, channels, shortcut, c, lr, momentum: see HCNN.
    """

    def __init__(
        self,
        choice: Kernels,
        in_channels: int,
        blocks: Sequence[int],
        channels: int,
        shortcut: str,
        c: float,
        lr: float,
        momentum: float,
    ):
        super().__init__(in_channels, blocks, channels, shortcut)
        self.c, self.lr, self.momentum = c, lr, momentum

        def convolution(layer: nn.Conv2d) -> LorentzConv2d:
            (kernel, _), (stride, _), (padding, _) = layer.kernel_size, layer.stride, layer.padding
            return LorentzConv2d(choice, layer.in_channels, layer.out_channels, kernel, stride, padding, c)

        replaced(self, nn.Conv2d, convolution)
        replaced(self, nn.BatchNorm2d, lambda layer: LorentzBatchNorm(choice, layer.num_features, c))

    def own_optimizer(self) -> Optimizer:
        means = [module.beta for module in self.modules() if isinstance(module, LorentzBatchNorm)]
        return LorentzSGD(means, self.lr, self.momentum, self.c)

    def forward(
        self, images: Float[Tensor, "samples channels height width"]
    ) -> Float[Tensor, "samples feature_channels"]:
        return lorentz_mean(self.maps(images), self.c)
