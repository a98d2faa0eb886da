"""Frame Averaging for Invariant and Equivariant Network Design. Puny, Atzmon, Smith et al.; ICLR 2022, arXiv:2110.03336.

Implements theorem 1 with the frames of section 3.1: the principal axes of a sample's centred positions, with every choice
of their signs. The authors' code holds the frames constant in gradients, which is the same for parameters; here they are
differentiated, so that forces are the gradient of the averaged energy.
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ...errors import UserError
from ...nn.frames import covariances, principal_axes, proper, sign_choices
from ...tasks.spec import Spec
from .symmetrized import Symmetrized, symmetrized


def frame_averaging(network: nn.Module, spec: Spec, group: str, sampled: int | None) -> nn.Module:
    """The network averaged over frames of principal axes; see `FrameAveraging`."""
    return symmetrized(network, lambda inner: FrameAveraging(inner, spec, group, sampled))


class FrameAveraging(Symmetrized):
    """The average over the 2^n frames of principal axes (2^(n-1) of them are rotations): exact wherever the axes are.

    Where principal axes are not determined, because two moments of a sample are equal, they depend on its coordinates,
    and the average is symmetric only as far as the network does not see that. A line of points, all of whose fields lie
    along it, and a single point with no vectors are such cases and come out exact nevertheless.

    Args:
        network, spec, group: see `Symmetrized`.
        sampled: how many frames of each sample to draw in a training step; None takes all, as evaluation always does.
    """

    def __init__(self, network: nn.Module, spec: Spec, group: str, sampled: int | None):
        super().__init__(network, spec, group)
        choices = 2 ** (self.dim - self.rotations)
        if sampled is not None and not 1 <= sampled <= choices:
            raise UserError(f"symmetrize.sampled must lie between 1 and {choices}, or be null, not {sampled}")
        self.sampled = sampled

    def frames(self, batch: Any) -> Float[Tensor, "frames samples dim dim"]:
        tolerance = torch.finfo(batch.pos.dtype).eps ** 0.5
        axes = principal_axes(covariances(batch.pos, batch.batch, batch.num_graphs), tolerance)
        signs = sign_choices(self.dim, self.rotations, axes)[:, None]
        if self.training and self.sampled is not None:
            chosen = torch.rand(len(axes), len(signs), device=axes.device).argsort(-1)[:, : self.sampled]
            signs = signs[:, 0][chosen.T]
        return (proper(axes) if self.rotations else axes) * signs[:, :, None]
