"""Random predictions and labels that the golden numbers in oc20_evaluator.json are of (see test_oc20.py)."""

import numpy as np
import torch

SEED = 2010_09990


def inputs(number: int) -> dict[str, torch.Tensor]:
    """200 structures of 3 to 12 atoms, at least one of them free; errors from well within the thresholds to far beyond."""
    rng = np.random.default_rng([SEED, number])
    sizes = rng.integers(3, 13, 200)
    batch = np.repeat(np.arange(200), sizes)
    fixed = rng.random(len(batch)) < 0.5
    fixed[np.concatenate([[0], np.cumsum(sizes)[:-1]])] = False
    energy = rng.normal(-0.75, 2.9, 200)
    forces = rng.normal(0, 0.4, (len(batch), 3))
    good = rng.random(200) < 0.5
    return {
        "batch": torch.from_numpy(batch),
        "fixed": torch.from_numpy(fixed),
        "energy": torch.from_numpy(energy).float(),
        "forces": torch.from_numpy(forces).float(),
        "predicted_energy": torch.from_numpy(energy + np.where(good, 0.015, 0.5) * rng.normal(size=200)).float(),
        "predicted_forces": torch.from_numpy(
            forces + np.where(good, 0.01, 0.2)[batch, None] * rng.normal(size=forces.shape)
        ).float(),
    }
