"""On the Parameterization and Initialization of Diagonal State Space Models.

Gu, Gupta, Goel, Ré; NeurIPS 2022, arXiv:2206.11893.

S4D: x' = A x + B u, y = 2 Re C x + D u with a diagonal complex A, for each channel of a sequence on its own (section 3). Half
of the N states stand for their conjugates too. Zero-order hold with a learned step makes it discrete; unrolled, it is a
convolution with the kernel K_l = 2 Re sum_n C_n (exp(step A_n) - 1) / A_n exp(l step A_n), where B = 1. Initialisations of A
(section 4): the diagonal part of HiPPO-LegS, its approximation S4D-Inv, and the Fourier frequencies S4D-Lin.

As in the authors' code, a layer goes on with GELU, dropout of whole channels, and a gated linear map; a residual connection
and a layer norm close it. Step and A learn at a rate of their own and without weight decay, which falls on all else.
"""

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from jaxtyping import Complex, Float
from torch import Tensor, nn

from ... import kernels
from ...errors import UserError
from ...kernels import Kernels
from ...nn.long_convolution import long_convolution
from ...nn.standardize import Standardize
from ...tasks.spec import Spec
from ..paper import Paper

FASTEST, SLOWEST = 1e-3, 1e-1
"""Steps are drawn between these."""


class S4D(Paper):
    """S4D on sequences, or on images read row by row.

    Args:
        spec: the benchmark's.
        choice: which backends run its kernels.
        layers: the number of layers.
        channels: H, the width of the sequence.
        state: N, states of each channel, conjugates included.
        init: of A: lin, inv or legs.
        bidirectional: let a layer see what comes as well, by a second kernel.
        dropout: of channels, in and after every layer.
        slow_lr: the learning rate of step and A.
    """

    title = "On the Parameterization and Initialization of Diagonal State Space Models"
    arxiv = "2206.11893"
    modalities = frozenset({"sequences", "images"})
    outputs = frozenset({"graph:class"})
    tiny = {"layers": 2, "channels": 32, "state": 8, "dropout": 0.0}

    def __init__(
        self,
        spec: Spec,
        choice: Kernels,
        layers: int,
        channels: int,
        state: int,
        init: str,
        bidirectional: bool,
        dropout: float,
        slow_lr: float,
    ):
        super().__init__(spec)
        if init not in FREQUENCIES:
            raise UserError(f"model.init must be {', '.join(FREQUENCIES)}, not {init!r}")
        if state < 2 or state % 2:
            raise UserError(f"model.state={state}: states come in conjugate pairs; give an even number")
        self.slow_lr = slow_lr
        self.network = S4DNetwork(spec, choice, layers, channels, state, init, bidirectional, dropout)

    def fit_closed_form(self, train_batches: Callable[[], Iterable[Any]]) -> None:
        self.network.standardize.fit(as_sequence(batch) for batch in train_batches())

    def param_groups(self) -> list[dict[str, Any]]:
        """All that learns as the optimiser says, and steps and A, which do not."""
        slow = [p for module in self.modules() if isinstance(module, StateSpace) for p in module.slow_parameters()]
        named = {id(p) for p in slow}
        others = [p for p in self.parameters() if p.requires_grad and id(p) not in named]
        return [{"params": others}, {"params": slow, "lr": self.slow_lr, "weight_decay": 0.0}]


class S4DNetwork(nn.Module):
    """Encode, layers, mean over the sequence, head."""

    def __init__(
        self,
        spec: Spec,
        choice: Kernels,
        layers: int,
        channels: int,
        state: int,
        init: str,
        bidirectional: bool,
        dropout: float,
    ):
        super().__init__()
        (self.target,) = spec.targets
        in_channels = spec.fields["sequence"].shape[1] if "sequence" in spec.fields else spec.fields["image"].shape[0]
        self.standardize = Standardize(in_channels, axis=-1)
        self.encoder = nn.Linear(in_channels, channels)
        self.layers = nn.Sequential(
            *(Layer(choice, channels, state, init, bidirectional, dropout) for _ in range(layers))
        )
        self.feature_channels = channels
        self.head: nn.Module = nn.Linear(channels, self.target.classes)

    def features(self, batch: Any) -> Float[Tensor, "samples channels"]:
        x = self.encoder(self.standardize(as_sequence(batch)))
        return self.layers(x.mT).mean(-1)

    def forward(self, batch: Any) -> dict[str, Tensor]:
        return {self.target.name: self.head(self.features(batch))}


class Layer(nn.Module):
    """norm(x + mixed(GELU(ssm(x)))), channels before time."""

    def __init__(self, choice: Kernels, channels: int, state: int, init: str, bidirectional: bool, dropout: float):
        super().__init__()
        self.ssm = StateSpace(choice, channels, state, init, bidirectional)
        self.mix = nn.Sequential(
            nn.GELU(),
            nn.Dropout1d(dropout),
            nn.Conv1d(channels, 2 * channels, 1),
            nn.GLU(1),
            nn.Dropout1d(dropout),
        )
        self.norm = nn.LayerNorm(channels)

    def forward(self, x: Float[Tensor, "samples channels length"]) -> Float[Tensor, "samples channels length"]:
        return self.norm((x + self.mix(self.ssm(x))).mT).mT


class StateSpace(nn.Module):
    """A diagonal state space for each channel, computed as a convolution by FFT."""

    def __init__(self, choice: Kernels, channels: int, state: int, init: str, bidirectional: bool):
        super().__init__()
        self.vandermonde = kernels.get("vandermonde", choice)
        self.directions = 2 if bidirectional else 1
        span = math.log(SLOWEST) - math.log(FASTEST)
        self.log_step = nn.Parameter(math.log(FASTEST) + span * torch.rand(channels))
        self.log_decay = nn.Parameter(torch.full((channels, state // 2), 0.5).log())  # Re A = -1/2
        self.frequency = nn.Parameter(FREQUENCIES[init](state).float().repeat(channels, 1))
        # a complex number is a last axis of two, for optimisers and for precisions without complex numbers
        self.c = nn.Parameter(math.sqrt(0.5) * torch.randn(self.directions, channels, state // 2, 2))
        self.d = nn.Parameter(torch.randn(channels))

    def slow_parameters(self) -> list[nn.Parameter]:
        return [self.log_step, self.log_decay, self.frequency]

    def forward(self, u: Float[Tensor, "samples channels length"]) -> Float[Tensor, "samples channels length"]:
        length = u.shape[-1]
        with torch.autocast(u.device.type, enabled=False):  # neither powers nor FFTs bear half precision
            kernel = around(self.kernel(length))
            y = long_convolution(u.to(kernel.dtype), kernel)
        return y.to(u.dtype) + u * self.d.unsqueeze(-1)

    def kernel(self, length: int) -> Float[Tensor, "directions channels length"]:
        """The response to an impulse, forwards in time and, where there are two, backwards."""
        coefficient, exponent = self.discrete()
        heads = coefficient.flatten(0, 1), exponent.repeat(self.directions, 1)
        return self.vandermonde(*heads, length).unflatten(0, (self.directions, -1))

    def discrete(self) -> tuple[Complex[Tensor, "directions channels states"], Complex[Tensor, "channels states"]]:
        """C B and the logarithm of A after zero-order hold: C (exp(step A) - 1) / A, and step A."""
        log_step, log_decay, frequency, c = map(at_least_single, (*self.slow_parameters(), self.c))
        a = torch.complex(-log_decay.exp(), frequency)
        exponent = log_step.exp().unsqueeze(-1) * a
        return torch.view_as_complex(c) * expm1(exponent) / a, exponent


def around(kernel: Float[Tensor, "directions channels length"]) -> Float[Tensor, "channels twice"]:
    """One circular kernel of twice the length: forwards from lag 0 on, backwards from lag -1 down."""
    forwards, *backwards = kernel
    other = backwards[0].flip(-1) if backwards else torch.zeros_like(forwards)
    return torch.cat([forwards, other], -1)


def expm1(z: Complex[Tensor, "*shape"]) -> Complex[Tensor, "*shape"]:
    """exp(z) - 1 without cancellation at small z."""
    x, y = z.real, z.imag
    return torch.complex(torch.expm1(x) * y.cos() - 2 * (y / 2).sin().square(), x.exp() * y.sin())


def at_least_single(x: Tensor) -> Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float32))


def as_sequence(batch: Any) -> Float[Tensor, "samples length channels"]:
    """The batch's sequences, or the pixels of its images row by row."""
    return batch.sequence if "sequence" in batch else batch.image.flatten(2).mT


def lin(state: int) -> Float[Tensor, " half"]:
    """Im A of S4D-Lin: pi n."""
    return math.pi * torch.arange(state // 2, dtype=torch.float64)


def inv(state: int) -> Float[Tensor, " half"]:
    """Im A of S4D-Inv: N / pi (N / (2 n + 1) - 1)."""
    return state / math.pi * (state / (2 * torch.arange(state // 2, dtype=torch.float64) + 1) - 1)


def legs(state: int) -> Float[Tensor, " half"]:
    """Im A of S4D-LegS: the eigenvalues of the normal part of HiPPO-LegS, -1/2 + i times these and minus these.

    HiPPO-LegS is A_nk = -sqrt(2n+1) sqrt(2k+1) below the diagonal and -(n+1) on it. With P_n = sqrt(n + 1/2), A + P P^T is -1/2
    plus a skew-symmetric matrix.
    """
    with torch.device("cpu"):
        root = (2 * torch.arange(state, dtype=torch.float64) + 1).sqrt()
        lower = torch.outer(root, root).tril(-1) / 2
        return torch.linalg.eigvalsh(1j * (lower - lower.T))[state // 2 :]


FREQUENCIES = {"lin": lin, "inv": inv, "legs": legs}
