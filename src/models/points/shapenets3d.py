"""3D ShapeNets: A Deep Representation for Volumetric Shapes. Wu, Song, Khosla, Yu, Zhang, Tang, Xiao; CVPR 2015,
arXiv:1406.5670.

A convolutional deep belief network of voxels and labels: convolutional machines (eq. 1) without pooling, a fully connected
one, and an associative memory of the label and its 1,200 units. Each learns from the activations of those below it, by
contrastive divergence, the memory by its fast persistent kind; then all together by wake-sleep with tied weights (section 3).
The authors classify with a copy trained on by backpropagation, so that is the last phase. They put a softmax, and then a
support vector machine, in the memory's place; here the memory stays, and its exact P(label | units), from free energies, is
trained. That improves recognition and spoils completion: with a last share of 0 the model is the paper's generative one.

Voxels are those that a point of the cloud lies in; the authors' are those that meet the mesh. What else is ours: a machine's
visible biases start at the log odds of its input instead of zero, and the label's copies are sampled each for itself, so that
the chains follow the energy that is trained (the authors' code takes one sample for all).
"""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.optim import Optimizer

from ...errors import UserError
from ...nn.boltzmann import AssociativeMemory, ConvolutionalRBM, Features, Volume
from ...nn.voxels import voxelize
from ...optim.schedules import Plateau
from ...tasks.spec import Spec
from ...tasks.symmetry import exact
from ..paper import Paper, sample_count

Activations = list[Float[Tensor, "samples _ _ _ _"]]
WAKE_SLEEP_STEPS = 3
"""Gibbs steps of the chains for each update in wake-sleep, as in the authors' code; in pre-training it is one."""
ROUNDING = 1e-9
"""Of a training's progress, in the comparison with the beginnings of phases."""


@dataclass(frozen=True)
class Phases:
    """A training cut in parts by their shares of it, of which some may be 0."""

    shares: tuple[float | int, ...]

    def __post_init__(self):
        if min(self.shares) < 0 or not sum(self.shares):
            raise UserError(f"model.shares must not be negative, nor all 0: {list(self.shares)}")

    @property
    def ends(self) -> list[float]:
        *_, total = sums = list(accumulate(self.shares))
        return [end / total for end in sums]

    def at(self, progress: float) -> int:
        """The phase at a time between 0 and 1; each begins where the one before ends."""
        return min(bisect_right(self.ends, progress + ROUNDING), bisect_left(self.ends, 1.0))

    def span(self, phase: int) -> tuple[float, float]:
        return self.ends[phase] - self.shares[phase] / sum(self.shares), self.ends[phase]


class ShapeNets3D(Paper):
    """3D ShapeNets for the classification of point clouds, and for the completion of shapes (`network.complete`).

    The phases of a training are: one for each convolution, one for the fully connected layer, the memory, wake-sleep and
    backpropagation. Each is a training of its own: schedule and optimiser start afresh. Which one it is follows from the
    step. Until backpropagation the loss is a difference of free energies, whose value tells little.

    Args:
        spec: the benchmark's.
        resolution, padding: cells along the longest side of a shape, and empty ones around them; published 24 and 3.
        convolutions: filters, their size and stride, published (48, 6, 2), (160, 5, 2) and (512, 4, 1).
        features, hidden: units below the memory and its hidden ones, published 1,200 and 4,000.
        copies: of the label, published 10.
        chains: persistent ones of the memory, published 32.
        sparsity: for the first layers, the mean activation wanted and the weight of this wish; the paper regularises
            the first layer, its code two: (0.01, 0.001) and (0.02, 0.002).
        shares: of the whole training, for each phase.
        rates: factors of the learning rate, for each phase.
    """

    title = "3D ShapeNets: A Deep Representation for Volumetric Shapes"
    arxiv = "1406.5670"
    modalities = frozenset({"points"})
    outputs = frozenset({"graph:class"})
    tiny = {
        "resolution": 8,
        "padding": 1,
        "convolutions": [[8, 4, 2], [16, 2, 1]],
        "features": 16,
        "hidden": 32,
        "chains": 4,
        "shares": [0, 0, 0, 0, 0, 1],
        "rates": [1, 1, 1, 1, 1, 1],
    }

    network: "ShapeNets3DNetwork"

    def __init__(
        self,
        spec: Spec,
        resolution: int,
        padding: int,
        convolutions: Sequence[Sequence[int]],
        features: int,
        hidden: int,
        copies: int,
        chains: int,
        sparsity: Sequence[Sequence[float | int]],
        shares: Sequence[float | int],
        rates: Sequence[float | int],
    ):
        super().__init__(spec)
        self.network = ShapeNets3DNetwork(spec, resolution, padding, convolutions, features, hidden, copies, chains)
        layers = len(self.network.layers)
        if not len(shares) == len(rates) == layers + 3:
            raise UserError(
                f"model.shares and model.rates need {layers + 3} numbers: {layers} layers, memory, wake-sleep and "
                f"backpropagation; they have {len(shares)} and {len(rates)}"
            )
        self.sparsity, self.phases, self.rates = list(sparsity), Phases(tuple(shares)), list(rates)
        self.memory_phase, self.wake_sleep_phase, self.backpropagation = range(layers, layers + 3)
        self.total_steps = 1

    def prepare(self, *arguments: Any) -> None:
        if not isinstance(self.network, ShapeNets3DNetwork):
            raise UserError("symmetrize: 3D ShapeNets learns layer by layer from voxels, and cannot be wrapped")
        super().prepare(*arguments)

    def phase(self, step: int) -> int:
        return self.phases.at(step / self.total_steps)

    def training_step(self, batch: Any, batch_idx: int) -> Float[Tensor, ""]:
        if self.augment is not None:
            batch = self.augment(batch)
        phase = self.phase(self.global_step)
        name = "train/loss" if phase == self.backpropagation else "train/contrast"
        loss = self.loss(phase, batch)
        self.check_finite(loss, batch)
        self.log(name, loss, prog_bar=True, batch_size=sample_count(batch))
        self.log("train/phase", float(phase), batch_size=sample_count(batch))
        # DDP wants a gradient of every parameter; those of other phases' parameters are dropped before the step
        return loss + 0 * sum(parameter.sum() for parameter in self.parameters())

    def loss(self, phase: int, batch: Any) -> Float[Tensor, ""]:
        """What a phase descends."""
        if phase == self.backpropagation:
            return self.task.loss(self(batch), batch, self.normalizer)
        net = self.network
        with torch.no_grad():
            awake = net.ascend(net.voxels(batch))
        if phase < self.memory_phase:
            return self.pretraining(phase, awake[phase])
        fast = phase == self.memory_phase
        data = net.memory.units(batch[net.target], awake[-1].flatten(1))
        dream = net.memory.go_on(1 if fast else WAKE_SLEEP_STEPS, fast)
        loss = net.memory.contrast(data, dream, fast)
        return loss if fast else loss + self.wake_sleep(awake)

    def pretraining(self, layer: int, v: Volume) -> Float[Tensor, ""]:
        """One step of contrastive divergence of a layer; in the first only places that see a voxel count (section 3)."""
        machine = self.machine(layer)
        where = machine.touched(v) if layer == 0 else None
        loss = machine.contrast(v, machine.reconstruct(v), where)
        if layer < len(self.sparsity):
            target, weight = self.sparsity[layer]
            loss = loss + weight * machine.sparsity(v, target, where)
        return loss

    def wake_sleep(self, awake: Activations) -> Float[Tensor, ""]:
        """Each layer learns from what the data activate below it, and unlearns what the memory's chains do."""
        with torch.no_grad():
            _, features = self.network.memory.visible(self.network.memory.chain)
            asleep = self.network.descend(features.sigmoid())
        terms = zip(self.network.layers, awake, asleep, strict=False)
        return sum(machine.contrast(wake, sleep) for machine, wake, sleep in terms)

    def configure_optimizers(self) -> dict[str, Any]:
        steps, schedule = self.trainer.estimated_stepping_batches, self.recipe.schedule
        if steps == float("inf"):
            raise UserError("3D ShapeNets cuts a training into phases, which needs an end: give trainer.max_epochs")
        if isinstance(schedule, Plateau):
            raise UserError("schedule=plateau: most phases of 3D ShapeNets do not train what is validated; use another")
        self.total_steps = steps

        def phased(epoch: float, epochs: float) -> float:
            phase = self.phases.at(epoch / epochs)
            start, end = self.phases.span(phase)
            return self.rates[phase] * schedule(max(epoch - start * epochs, 0.0), (end - start) * epochs)

        self.recipe, recipe = replace(self.recipe, schedule=phased), self.recipe
        try:
            return super().configure_optimizers()
        finally:
            self.recipe = recipe

    def machine(self, phase: int) -> ConvolutionalRBM | AssociativeMemory:
        """What a phase of pre-training trains."""
        return self.network.memory if phase == self.memory_phase else self.network.layers[phase]

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        step = self.global_step
        phase = self.phase(step)
        if step and phase == self.phase(step - 1):
            return
        self.optimizers(use_pl_optimizer=False).state.clear()
        if phase <= self.memory_phase:
            self.start(phase, self.trainer.strategy.reduce(self.log_odds(phase, batch), reduce_op="mean"))

    @torch.no_grad()
    def log_odds(self, phase: int, batch: Any) -> Float[Tensor, "..."]:
        """Of a machine's inputs in a batch, as if half a sample more were on and half a one off."""
        v = self.network.ascend(self.network.voxels(batch))[phase]
        return torch.logit((v.sum(0) + 0.5) / (len(v) + 1))

    @torch.no_grad()
    def start(self, phase: int, odds: Float[Tensor, "..."]) -> None:
        """Sets the visible biases, so that hidden units explain deviations only; else they die while the biases learn."""
        bias = self.machine(phase).visible_bias
        bias.flatten()[-odds.numel() :] = odds.flatten()  # all but the labels'

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        phase = self.phase(self.global_step)
        if phase > self.memory_phase:
            return
        if phase == self.memory_phase:
            self.network.memory.learn_fast(optimizer.param_groups[0]["lr"])
        kept = {id(parameter) for parameter in self.machine(phase).parameters()}
        for parameter in self.parameters():
            if id(parameter) not in kept:
                parameter.grad = None


class Completion(NamedTuple):
    """Shapes with what was not observed filled in, and what they were taken for."""

    voxels: Volume
    label: Float[Tensor, "samples classes"]


class ShapeNets3DNetwork(nn.Module):
    """The network of figure 2(a): recognition upwards, generation downwards, the memory on top."""

    symmetries = exact("permutation")

    def __init__(
        self,
        spec: Spec,
        resolution: int,
        padding: int,
        convolutions: Sequence[Sequence[int]],
        features: int,
        hidden: int,
        copies: int,
        chains: int,
    ):
        super().__init__()
        (target,) = spec.targets
        self.target, self.resolution, self.padding = target.name, resolution, padding
        self.layers = nn.ModuleList()
        channels, side = 1, resolution + 2 * padding
        for filters, size, stride in convolutions:
            self.layers.append(ConvolutionalRBM(channels, side, filters, size, stride))
            channels, side = filters, self.layers[-1].places
        self.layers.append(ConvolutionalRBM(channels, side, features, size=side, stride=1))
        self.memory = AssociativeMemory(target.classes, copies, features, hidden, chains)
        self.feature_channels = features

    def voxels(self, batch: Any) -> Float[Tensor, "samples 1 side side side"]:
        return voxelize(batch.pos, batch.ptr, self.resolution, self.padding)

    def ascend(self, voxels: Volume) -> Activations:
        """The voxels and the activations (probabilities) of every layer, the last ones in one place."""
        volumes = [voxels]
        for layer in self.layers:
            volumes.append(layer.hidden(volumes[-1]).sigmoid())
        return volumes

    def descend(self, features: Features) -> Activations:
        """What the features generate at every layer, from the voxels up to the features themselves."""
        volumes = [features[:, :, None, None, None]]
        for layer in reversed(self.layers):
            volumes.insert(0, layer.visible(volumes[0]).sigmoid())
        return volumes

    def features(self, batch: Any) -> Float[Tensor, "samples channels"]:
        return self.ascend(self.voxels(batch))[-1].flatten(1)

    def forward(self, batch: Any) -> dict[str, Tensor]:
        """log P(label | features), up to a constant of each sample, from the memory's free energies."""
        return {self.target: self.memory.label_logits(self.features(batch))}

    @torch.no_grad()
    def complete(
        self,
        observed: Float[Tensor, "samples 1 side side side"],
        mask: Bool[Tensor, "samples 1 side side side"],
        label: Int[Tensor, " samples"] | None = None,
        steps: int = 50,
    ) -> Completion:
        """Samples the voxels that were not observed, given those that were (section 4, figure 4).

        They start at random. In each step the features are sampled from the voxels, a label from the features, the memory's
        hidden units from both, and what these generate takes the place of unobserved voxels. With nothing observed this
        generates shapes. Of several solutions, each call gives one; the generator is torch's own.

        Args:
            observed: 1 for occupied voxels; what it says outside of the mask does not matter.
            mask: which voxels are observed.
            label: the class, where it is known.
            steps: up and down, published 50.

        Returns:
            Voxels, observed ones as they are and probabilities elsewhere; and P(label | voxels).
        """
        if steps < 1:
            raise UserError(f"a completion takes at least one step, not {steps}")
        density = torch.rand_like(observed[:, :, :1, :1, :1])  # the authors' samples have densities from 0.1 to 0.9
        voxels = torch.where(mask, observed, torch.bernoulli(density.expand_as(observed)))
        for _ in range(steps):
            features = torch.bernoulli(self.ascend(voxels)[-1].flatten(1))
            given = (
                torch.multinomial(self.memory.label_logits(features).softmax(1), 1)[:, 0] if label is None else label
            )
            hidden = torch.bernoulli(self.memory.hidden(self.memory.units(given, features)).sigmoid())
            _, features = self.memory.visible(hidden)
            voxels = torch.where(mask, observed, self.descend(features.sigmoid())[0])
        logits = self.memory.label_logits(self.ascend(voxels)[-1].flatten(1))
        return Completion(voxels, logits.softmax(1))
