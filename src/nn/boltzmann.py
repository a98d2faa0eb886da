"""Restricted Boltzmann machines with binary hidden units: convolutional ones, and a memory of labels and features.

Visible units v and hidden units h have P(v, h) = exp(-E(v, h)) / Z, and F(v) = -log sum_h exp(-E(v, h)). The gradient of
-log P(v) is that of F at the data minus that of its mean under the model. Contrastive divergence puts samples close to the
model's in the place of this mean, and they are constants: so the gradient of F(data) - F(samples) is the whole of it, and
`contrast` is a loss like any other. Visible units may also be probabilities.
"""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn.functional import conv3d, conv_transpose3d, max_pool3d, one_hot, softplus

from ..errors import UserError

Volume = Float[Tensor, "samples channels side side side"]
Hidden = Float[Tensor, "samples filters places places places"]
Places = Bool[Tensor, "samples 1 places places places"]
Model = Float[Tensor, "chains channels side side side"]
Units = Float[Tensor, "samples units"]
Features = Float[Tensor, "samples features"]


class ConvolutionalRBM(nn.Module):
    """E(v, h) = - sum_fj h_fj ((W_f * v)_j + c_f) - sum_l b_l v_l on volumes, without padding (arXiv:1406.5670, eq. 1).

    Each visible unit has a bias of its own, hidden units have one for each filter. With filters as large as the volume it
    is the ordinary, fully connected machine.

    Args:
        channels, side: of the visible volume.
        filters, size, stride: of the convolution, whose last place must end where the volume does.
    """

    def __init__(self, channels: int, side: int, filters: int, size: int, stride: int):
        super().__init__()
        if not 1 <= size <= side or not 1 <= stride <= size or (side - size) % stride:
            raise UserError(
                f"filters of size {size} and stride {stride} do not cover {side} cells: need stride <= size <= {side}, and "
                "a whole number of strides"
            )
        self.size, self.stride, self.side = size, stride, side
        self.places = (side - size) // stride + 1
        self.weight = nn.Parameter(torch.empty(filters, channels, size, size, size))
        self.hidden_bias = nn.Parameter(torch.zeros(filters))
        self.visible_bias = nn.Parameter(torch.zeros(channels, side, side, side))
        nn.init.xavier_uniform_(self.weight)

    def hidden(self, v: Volume) -> Hidden:
        """The log odds of each hidden unit, given the visible ones."""
        return conv3d(v, self.weight, self.hidden_bias, self.stride)

    def visible(self, h: Hidden) -> Volume:
        """The log odds of each visible unit, given the hidden ones."""
        return conv_transpose3d(h, self.weight, stride=self.stride) + self.visible_bias

    def energy(self, v: Volume, h: Hidden) -> Float[Tensor, " samples"]:
        return -(self.hidden(v) * h).flatten(1).sum(1) - (self.visible_bias * v).flatten(1).sum(1)

    def free_energy(self, v: Volume) -> Float[Tensor, " samples"]:
        return -softplus(self.hidden(v)).flatten(1).sum(1) - (self.visible_bias * v).flatten(1).sum(1)

    @torch.no_grad()
    def reconstruct(self, v: Volume) -> Volume:
        """One step of contrastive divergence: hidden units are sampled, visible ones stay probabilities."""
        return self.visible(torch.bernoulli(self.hidden(v).sigmoid())).sigmoid()

    def touched(self, v: Volume) -> Places:
        """The places whose receptive field is not empty."""
        return max_pool3d(v.amax(1, keepdim=True), self.size, self.stride) > 0

    def contrast(self, data: Volume, model: Model, where: Places | None = None) -> Float[Tensor, ""]:
        """F(data) - F(model), averaged over samples, and over places as in the authors' code.

        There the gradients of weights and hidden biases are means over places, and those of visible biases are divided by
        the places along one axis.

        Args:
            data, model: visible units; those of the model are constants.
            where: places that count; those of the data hold for the model too. All by default.
        """
        return self.mean_free_energy(data, where) - self.mean_free_energy(model.detach(), where)

    def mean_free_energy(self, v: Volume, where: Places | None = None) -> Float[Tensor, ""]:
        filters = softplus(self.hidden(v)).sum(1, keepdim=True)
        filters = filters.mean() if where is None else (filters * where).sum() / where.sum()
        return -filters - (self.visible_bias * v.mean(0)).sum() / self.places

    def sparsity(self, v: Volume, target: float, where: Places | None = None) -> Float[Tensor, ""]:
        """A loss that moves hidden biases so that units are on with the probability `target` (Lee et al. 2008).

        Its gradient is the filters' mean activation, over places and samples, minus the target. Places that do not count
        are taken to be on target.
        """
        with torch.no_grad():
            excess = self.hidden(v).sigmoid() - target
            excess = (excess if where is None else excess * where).mean((0, 2, 3, 4))
        return (excess * self.hidden_bias).sum()


class AssociativeMemory(nn.Module):
    """A machine whose visible units are copies of a label, each one of K, and binary features (arXiv:1406.5670, section 3).

    E(y, x, h) = - h (U sum_k y_k + W x + c) - a sum_k y_k - b x over copies y_k that share weights, so that U sees how often
    each class was drawn. `visible` units are these counts and then the features.

    It keeps Markov chains that go on from step to step, and fast weights for them to mix, which learn with the weights and
    decay (fast persistent contrastive divergence, Tieleman and Hinton 2009).

    Args:
        classes, copies: labels, and how often each of them stands among the visible units.
        features, hidden: numbers of units.
        chains: how many chains it keeps.
    """

    FAST_DECAY = 0.95
    """Of the fast weights at each step, as published."""

    chain: Tensor

    def __init__(self, classes: int, copies: int, features: int, hidden: int, chains: int):
        super().__init__()
        self.classes, self.copies = classes, copies
        self.weight = nn.Parameter(torch.empty(hidden, classes + features))
        self.hidden_bias = nn.Parameter(torch.zeros(hidden))
        self.visible_bias = nn.Parameter(torch.zeros(classes + features))
        nn.init.xavier_uniform_(self.weight)
        for name, parameter in list(self.named_parameters()):
            self.register_buffer(f"fast_{name}", torch.zeros_like(parameter))
        self.register_buffer("chain", torch.zeros(chains, hidden))

    def parts(self, fast: bool) -> tuple[Tensor, Tensor, Tensor]:
        """Weights, hidden and visible biases, the fast ones added if asked for."""
        slow = (self.weight, self.hidden_bias, self.visible_bias)
        if not fast:
            return slow
        quick = (self.fast_weight, self.fast_hidden_bias, self.fast_visible_bias)
        return tuple(a + b for a, b in zip(slow, quick, strict=True))

    def units(self, label: Int[Tensor, " samples"], features: Features) -> Units:
        """The visible units of a label, which is that of all copies, and features."""
        return torch.cat([self.copies * one_hot(label, self.classes).to(features.dtype), features], 1)

    def hidden(self, visible: Units, fast: bool = False) -> Float[Tensor, "samples hidden"]:
        """The log odds of each hidden unit, given the visible ones."""
        weight, bias, _ = self.parts(fast)
        return visible @ weight.T + bias

    def visible(
        self, h: Float[Tensor, "samples hidden"], fast: bool = False
    ) -> tuple[Float[Tensor, "samples classes"], Features]:
        """Given the hidden units, the logits of each copy of the label, and the log odds of each feature."""
        weight, _, bias = self.parts(fast)
        return (h @ weight + bias).tensor_split([self.classes], 1)

    def energy(self, visible: Units, h: Float[Tensor, "samples hidden"]) -> Float[Tensor, " samples"]:
        return -(self.hidden(visible) * h).sum(1) - visible @ self.visible_bias

    def free_energy(self, visible: Units, fast: bool = False) -> Float[Tensor, " samples"]:
        return -softplus(self.hidden(visible, fast)).sum(1) - visible @ self.parts(fast)[2]

    def label_logits(self, features: Features) -> Float[Tensor, "samples classes"]:
        """log P(y | x) up to a constant, for labels that all copies agree on: -F without what all labels share."""
        label_weight, weight = self.weight.tensor_split([self.classes], 1)
        given = features @ weight.T + self.hidden_bias
        hidden = given[:, :, None] + self.copies * label_weight
        return softplus(hidden).sum(1) + self.copies * self.visible_bias[: self.classes]

    def sample_visible(self, h: Float[Tensor, "samples hidden"], fast: bool = False) -> Units:
        label, features = self.visible(h, fast)
        drawn = torch.multinomial(label.softmax(1), self.copies, replacement=True)
        counts = one_hot(drawn, self.classes).sum(1).to(h.dtype)
        return torch.cat([counts, torch.bernoulli(features.sigmoid())], 1)

    @torch.no_grad()
    def go_on(self, steps: int, fast: bool) -> Float[Tensor, "chains units"]:
        """The chains' visible units after so many steps of Gibbs sampling, which they go on from the next time."""
        for _ in range(steps):
            visible = self.sample_visible(self.chain, fast)
            self.chain.copy_(torch.bernoulli(self.hidden(visible, fast).sigmoid()))
        return visible

    def contrast(self, data: Units, model: Float[Tensor, "chains units"], fast: bool) -> Float[Tensor, ""]:
        """F(data) - F(model), averaged over samples; the model's with the fast weights that it was sampled with."""
        return self.free_energy(data).mean() - self.free_energy(model.detach(), fast).mean()

    @torch.no_grad()
    def learn_fast(self, rate: float) -> None:
        """A step of the fast weights along the gradient that the weights have, and their decay."""
        for name, parameter in self.named_parameters():
            getattr(self, f"fast_{name}").mul_(self.FAST_DECAY).sub_(parameter.grad, alpha=rate)
