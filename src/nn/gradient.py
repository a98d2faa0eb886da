"""Forces as the negative gradient of a predicted energy."""

from typing import Any

import torch
from torch import Tensor, nn

from ..tasks.spec import Spec, Target


class ForcesFromEnergy(nn.Module):
    """Adds F = -dE/dx to the outputs of a network that predicts the energy.

    The gradient is taken of the normalised energy, and a force's scale is its energy's, so that both stay consistent
    after denormalisation. Energy and forces are computed together, and so are compiled together or not at all.
    """

    def __init__(self, network: nn.Module, targets: tuple[Target, ...]):
        super().__init__()
        self.network = network
        self.targets = targets
        self.symmetries = getattr(network, "symmetries", ())

    def features(self, batch: Any) -> Tensor:
        return self.network.features(batch)

    def forward(self, batch: Any) -> dict[str, Tensor]:
        with torch.enable_grad():
            return self.differentiate(with_free_positions(batch))

    def differentiate(self, batch: Any) -> dict[str, Tensor]:
        """Energy and forces of a batch whose positions require a gradient."""
        outputs = self.network(batch)
        for target in self.targets:
            energy = outputs[target.gradient_of].sum()
            (gradient,) = torch.autograd.grad(energy, batch.pos, create_graph=self.training, retain_graph=True)
            outputs[target.name] = -gradient
        return outputs


def with_free_positions(batch: Any) -> Any:
    """The batch with positions that are a leaf of their own and require a gradient."""
    batch = batch.clone()
    batch.pos = batch.pos.detach().requires_grad_()
    return batch


def with_forces(network: nn.Module, spec: Spec) -> nn.Module:
    """The network itself, or the network with every gradient target of the spec added."""
    gradients = tuple(target for target in spec.targets if target.gradient_of)
    return ForcesFromEnergy(network, gradients) if gradients else network
