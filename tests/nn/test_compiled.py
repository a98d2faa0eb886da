"""torch.compile changes the speed and nothing else, for energies and their forces together.

The comparison runs in a process of its own, since the checks of shapes that the other tests live under cannot be traced.
"""

import copy
import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
@pytest.mark.parametrize("what", ["energy", "forces"])
def test_compiled_networks_train_as_the_eager_ones_do(what: str) -> None:
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    result = subprocess.run(
        [sys.executable, __file__, what], env=environment, capture_output=True, text=True, timeout=600
    )
    assert result.returncode == 0, result.stderr[-2000:]


def compare(what: str) -> None:
    """Gradients of three training steps on batches of different sizes, compiled and eager."""
    import torch
    from synthetic import randomize, synthetic_batch

    from erlangen.nn.compiled import Compiled
    from erlangen.runs.assemble import build_paper
    from erlangen.runs.config import compose_config, resolved
    from erlangen.tasks.spec import Field, Spec, Target

    energy = Target(name="energy", unit="eV")
    forces = Target(name="forces", unit="eV/Å", irreps="1o", level="node", gradient_of="energy")
    spec = Spec(
        benchmark="forces",
        modality="atoms",
        split="synthetic",
        source="miniature",
        fields={"z": Field(categories=(1, 6, 8)), "pos": Field(irreps="1o", translates=True)},
        targets=(energy, forces) if what == "forces" else (energy,),
    )
    eager = build_paper(resolved(*compose_config(["model=egnn", "model.layers=1", "model.channels=8"])), spec)
    randomize(eager)
    compiled = copy.deepcopy(eager)
    compiled.compiled = Compiled(compiled.network)
    for seed in range(3):
        batch = synthetic_batch(spec, 4, seed)
        for paper in (eager, compiled):
            paper.train().zero_grad()
            sum(value.square().mean() for value in paper(batch).values()).backward()
        for one, other in zip(eager.parameters(), compiled.parameters(), strict=True):
            if one.grad is not None:
                torch.testing.assert_close(other.grad, one.grad, rtol=1e-4, atol=1e-5)
        with torch.no_grad():
            for name, value in eager.eval()(batch).items():
                torch.testing.assert_close(compiled.eval()(batch)[name], value, rtol=1e-4, atol=1e-5)


if __name__ == "__main__":
    compare(sys.argv[1])
