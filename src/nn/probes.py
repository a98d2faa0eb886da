"""Small networks trained on frozen features, to see what these tell.

A probe is trained on features that were computed once, in float32, with generators of its own: the run's stay untouched.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

Probe = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class ProbeRecipe:
    """How probes are trained: Adam at a constant learning rate, one random draw an object and epoch.

    Args:
        epochs, batch_size, lr: the published 300, 256 and 1e-3 (arXiv:2302.10283, appendix C).
        width: of the two hidden layers of a regressor, published 1024.
    """

    epochs: int
    batch_size: int
    lr: float
    width: int


def train_probe(
    network: nn.Module,
    draw: Callable[[Tensor, torch.Generator], tuple[Tensor, Tensor]],
    objects: int,
    loss: Callable[[Tensor, Tensor], Tensor],
    recipe: ProbeRecipe,
    device: torch.device,
) -> Probe:
    """The trained network.

    Args:
        network: on the features' device.
        draw: indices of objects -> (inputs, targets), with random views.
        objects: how many there are.
        loss: of outputs and targets.
        recipe: see ProbeRecipe.
        device: where indices are wanted.
    """
    generator = torch.Generator().manual_seed(0)
    optimizer = torch.optim.Adam(network.parameters(), lr=recipe.lr)
    for _ in range(recipe.epochs):
        for indices in torch.randperm(objects, generator=generator).split(recipe.batch_size):
            inputs, targets = draw(indices.to(device), generator)
            optimizer.zero_grad()
            loss(network(inputs), targets).backward()
            optimizer.step()
    return network.eval().requires_grad_(False)


def seeded_network(build: Callable[[], nn.Module], device: torch.device) -> nn.Module:
    """A network with the same first weights in every run."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return build().to(device)


def mlp(inputs: int, width: int, outputs: int) -> nn.Module:
    """Two hidden layers with ReLU."""
    return nn.Sequential(
        nn.Linear(inputs, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, outputs)
    )


def ridge(
    inputs: Float[Tensor, "samples channels"], targets: Float[Tensor, "samples outputs"], penalty: float
) -> Probe:
    """The linear map of standardised inputs with the least squared error + penalty * samples * |weights|^2."""
    x, y = inputs.double(), targets.double()
    mean, scale, offset = x.mean(0), x.std(0).clamp(min=1e-8), y.mean(0)
    x = (x - mean) / scale
    gram = x.mT @ x + penalty * len(x) * torch.eye(x.shape[1], dtype=x.dtype, device=x.device)
    weights = torch.linalg.solve(gram, x.mT @ (y - offset))
    return lambda new: ((new.double() - mean) / scale) @ weights + offset


def random_features(inputs: int, outputs: int, device: torch.device) -> Probe:
    """A fixed random layer of ReLUs, on which a linear map can tell what no linear map of the inputs can."""
    generator = torch.Generator().manual_seed(0)
    weights = torch.randn(inputs, outputs, generator=generator).to(device) / inputs**0.5
    bias = torch.rand(outputs, generator=generator).to(device) - 0.5
    return lambda x: torch.relu(x @ weights + bias)
