"""torch.compile changes the speed and nothing else, for energies and their forces together.

The comparison runs in a process of its own, since the checks of shapes that the other tests live under cannot be traced,
and in float64: in float32 two orders of one sum can fall on both sides of a ReLU's kink, and its gradient jumps there.
"""

import copy
import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
@pytest.mark.parametrize("what", ["energy", "forces", "positions"])
def test_compiled_networks_train_as_the_eager_ones_do(what: str) -> None:
    run(what)


@pytest.mark.slow
@pytest.mark.parametrize("model", ["hcnn", "poincare_resnet"])
def test_hyperbolic_networks_are_traced_as_one_graph(model: str) -> None:
    """Without the compiler, which takes minutes for them."""
    run(model)


def run(what: str) -> None:
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
    from erlangen.runs.pairing import default_data
    from erlangen.tasks.spec import Field, Spec, Target
    from erlangen.tasks.symmetry import cast

    energy = Target(name="energy", unit="eV")
    forces = Target(name="forces", unit="eV/Å", irreps="1o", level="node", gradient_of="energy")
    spec = (
        default_data("nbody").spec
        if what == "positions"
        else Spec(
            benchmark="forces",
            modality="atoms",
            split="synthetic",
            source="miniature",
            fields={"z": Field(categories=(1, 6, 8)), "pos": Field(irreps="1o", translates=True)},
            targets=(energy, forces) if what == "forces" else (energy,),
        )
    )
    eager = build_paper(resolved(*compose_config(["model=egnn", "model.layers=1", "model.channels=8"])), spec)
    randomize(eager.double())
    compiled = copy.deepcopy(eager)
    compiled.compiled = Compiled(compiled.network)
    for seed in range(3):
        batch = cast(synthetic_batch(spec, 4, seed), spec, torch.float64)
        for paper in (eager, compiled):
            paper.train().zero_grad()
            sum(value.square().mean() for value in paper(batch).values()).backward()
        for one, other in zip(eager.parameters(), compiled.parameters(), strict=True):
            if one.grad is not None:
                torch.testing.assert_close(other.grad, one.grad, rtol=1e-9, atol=1e-12)
        with torch.no_grad():
            for name, value in eager.eval()(batch).items():
                torch.testing.assert_close(compiled.eval()(batch)[name], value, rtol=1e-9, atol=1e-12)


def trace(model: str) -> None:
    """Outputs and gradients of the traced graph, in training and on batches of two sizes, and those of the network."""
    import torch
    from torch.nn.functional import cross_entropy

    from erlangen.kernels import Kernels
    from erlangen.nn.compiled import Compiled
    from erlangen.runs.assemble import build
    from erlangen.runs.config import compose_config, resolved
    from erlangen.tasks.batch import TensorBatch
    from erlangen.tasks.spec import Field, Spec, Target

    torch.manual_seed(0)
    torch.set_default_dtype(torch.float64)
    image = {"image": Field(level="graph", shape=(3, 32, 32))}
    spec = Spec("pictures", "images", "all", "miniature", (Target(name="label", classes=10),), image)
    config = resolved(*compose_config([f"model={model}", "data=cifar10"]))["model"]
    paper = build({**config, **build(config, spec=spec, choice=Kernels()).tiny}, spec=spec, choice=Kernels()).train()
    traced = Compiled(paper.network)
    traced.run = torch.compile(traced.evaluate, dynamic=True, fullgraph=True, backend="aot_eager")
    for count in (4, 6):
        label = torch.arange(count)
        batch = TensorBatch(image=torch.randn(count, 3, 32, 32), label=label, id=label)
        found = []
        for network in (traced, paper.network):
            paper.zero_grad()
            outputs = network(batch)["label"]
            cross_entropy(outputs, label).backward()
            found.append([outputs.detach(), *(p.grad.clone() for p in paper.parameters())])
        torch.testing.assert_close(*found, rtol=1e-9, atol=1e-12)


if __name__ == "__main__":
    (trace if sys.argv[1] in ("hcnn", "poincare_resnet") else compare)(sys.argv[1])
