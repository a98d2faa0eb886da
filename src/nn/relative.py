"""Relative representations (Moschella et al., ICLR 2023, arXiv:2209.15430): samples seen from anchors."""

from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize


def relative(
    z: Float[Tensor, "samples channels"], anchors: Float[Tensor, "anchors channels"]
) -> Float[Tensor, "samples anchors"]:
    """The cosines between each sample's features and those of the anchors, eqs. (1) and (2).

    They stay when the features of all are turned or reflected, or stretched by a common factor: what two trainings of the same
    network differ by, as the paper finds.
    """
    return normalize(z, dim=-1) @ normalize(anchors, dim=-1).mT
