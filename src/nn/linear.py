"""A linear layer whose product is chosen by config, for networks whose time goes into large products of matrices."""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import linear

from .. import kernels
from ..kernels import Kernels


class Linear(nn.Linear):
    """`nn.Linear` by the operation `linear`; under autocast, which has products in a precision of its own, as it is.

    Args:
        choice: which backend multiplies.
        channels_in, channels_out: of rows before and after.
        bias: whether there is one.
    """

    def __init__(self, choice: Kernels, channels_in: int, channels_out: int, bias: bool = True):
        super().__init__(channels_in, channels_out, bias)
        self.multiply = kernels.get("linear", choice)

    def forward(
        self, x: Float[Tensor, "*rows channels_in"], scale: Float[Tensor, " channels_out"] | None = None
    ) -> Float[Tensor, "*rows channels_out"]:
        """The product, times `scale` channel by channel: this goes to the weights, which are fewer than the rows."""
        weight, bias = self.weight, self.bias
        if scale is not None:
            weight, bias = scale[:, None] * weight, None if bias is None else scale * bias
        multiply = linear if torch.is_autocast_enabled(x.device.type) else self.multiply
        return multiply(x, weight, bias)
