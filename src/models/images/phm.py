"""Beyond Fully-Connected Layers with Quaternions: Parameterization of Hypercomplex Multiplications with 1/n Parameters.

Zhang, Tay, Zhang, Chan, Luu, Hui, Fu; ICLR 2021, arXiv:2102.08597. The paper's transformer (section 4.2), whose attention and
MLPs have PHM layers for fully connected ones, here on patches of images: ViT with about 1/n of the parameters in its layers.
"""

from ...nn.hypercomplex import with_hypercomplex_linear
from ...tasks.spec import Spec
from .vit import ViT


class PHMTransformer(ViT):
    """A small vision transformer with PHM layers.

    Args:
        spec: the benchmark's.
        n: dimensions of the algebra; must divide `channels` and `hidden`.
        options: of the transformer, see ViT.
    """

    title = (
        "Beyond Fully-Connected Layers with Quaternions: Parameterization of Hypercomplex Multiplications with 1/n "
        "Parameters"
    )
    arxiv = "2102.08597"

    def __init__(
        self, spec: Spec, n: int, patch: int, layers: int, channels: int, heads: int, hidden: int, dropout: float
    ):
        super().__init__(spec, patch, layers, channels, heads, hidden, dropout)
        with_hypercomplex_linear(self.network.backbone, n)
