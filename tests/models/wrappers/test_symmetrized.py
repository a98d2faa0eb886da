"""Frame averaging (arXiv:2110.03336) and learned canonicalization (arXiv:2211.06489) around plain networks."""

import itertools
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from synthetic import randomize, synthetic_batch
from torch import nn
from torch_geometric.data import Batch, Data

from erlangen import certify
from erlangen.errors import UserError
from erlangen.kernels import Kernels
from erlangen.models.atoms.gnn import GNNNetwork
from erlangen.models.wrappers.canonicalization import canonicalization
from erlangen.models.wrappers.frame_averaging import frame_averaging
from erlangen.runs.assemble import build_paper
from erlangen.runs.config import compose_config, resolved
from erlangen.runs.pairing import default_data
from erlangen.tasks.spec import Field, Spec, Target
from erlangen.tasks.symmetry import cast, symmetry_error

NBODY = default_data("nbody").spec
HULLS = default_data("hulls").spec
TENSORS = Spec(
    benchmark="tensors",
    modality="atoms",
    split="synthetic",
    source="miniature",
    fields={"pos": Field(irreps="1o", translates=True), "spin": Field(irreps="1e"), "strain": Field("graph", "2e")},
    targets=(
        Target(name="energy"),
        Target(name="handedness", irreps="0o"),
        Target(name="stress", irreps="0e+2e"),
        Target(name="torque", irreps="1e", level="node"),
    ),
)
"""Targets of every kind, parity included."""

FORCES = Spec(
    benchmark="forces",
    modality="atoms",
    split="synthetic",
    source="miniature",
    fields={"z": Field(categories=(1, 6, 8)), "pos": Field(irreps="1o", translates=True)},
    targets=(Target(name="energy"), Target(name="forces", irreps="1o", level="node", gradient_of="energy")),
)

WRAPPERS = {
    "frames": lambda network, spec, group="E": frame_averaging(network, spec, group, None),
    "learned": lambda network, spec, group="E": canonicalization(
        network, spec, group, layers=3, channels=8, dropout=0.0
    ),
}
both = pytest.mark.parametrize("wrap", WRAPPERS.values(), ids=WRAPPERS)


class MLP(nn.Module):
    """A plain multilayer perceptron on all coordinates of a sample of equally many nodes: blind to every symmetry."""

    def __init__(self, spec: Spec, nodes: int):
        super().__init__()
        self.spec, self.nodes = spec, nodes
        sizes = [len(rows(self.spec.fields, name, nodes)) for name in spec.fields]
        self.hidden = nn.Sequential(nn.Linear(sum(sizes), 32), nn.Tanh(), nn.Linear(32, 32), nn.Tanh())
        targets = {target.name: target for target in spec.targets}
        self.heads = nn.ModuleDict({name: nn.Linear(32, len(rows(targets, name, nodes))) for name in targets})

    def features(self, batch):
        samples = batch.num_graphs
        return self.hidden(torch.cat([batch[name].reshape(samples, -1) for name in self.spec.fields], -1))

    def forward(self, batch):
        h = self.features(batch)
        outputs = {}
        for target in self.spec.targets:
            value = self.heads[target.name](h)
            if target.level == "node":
                value = value.unflatten(1, (self.nodes, -1)).flatten(0, 1)
            outputs[target.name] = value[:, 0] if target.level == "graph" and value.shape[1] == 1 else value
        return outputs


def rows(fields, name: str, nodes: int) -> range:
    """As many numbers as a sample has of a field."""
    one = synthetic_batch(Spec("one", "atoms", "", "miniature", (), {name: fields[name]}), 1)[name]
    return range(one[0].numel() * (nodes if fields[name].level == "node" else 1))


def equal_batch(spec: Spec, samples: int, nodes: int, seed: int = 0) -> Batch:
    """A synthetic batch whose samples all have the same number of nodes."""
    many = synthetic_batch(spec, samples * nodes, seed)
    batch = Batch(_base_cls=Data, batch=torch.arange(samples).repeat_interleave(nodes))
    batch.ptr, batch._num_graphs = torch.arange(samples + 1) * nodes, samples
    for name, field in {**spec.fields, **{t.name: t for t in spec.targets}}.items():
        batch[name] = many[name][: samples * nodes if field.level == "node" else samples]
    return batch


def worst(network, batch, spec, element: str, generator: torch.Generator) -> float:
    return max(max(symmetry_error(network, batch, spec, element, generator).values()) for _ in range(4))


@both
@pytest.mark.parametrize("spec", [NBODY, HULLS, TENSORS], ids=lambda spec: spec.benchmark)
def test_a_plain_mlp_becomes_symmetric_in_every_target(wrap, spec: Spec, generator: torch.Generator) -> None:
    """Scalars, vectors, pseudovectors, tensors and positions, in three dimensions and in five."""
    nodes = 8 if spec is HULLS else 5
    network = wrap(MLP(spec, nodes), spec)
    randomize(network)
    for dtype, limit in ((torch.float64, 1e-10), (torch.float32, 1e-5)):
        batch = cast(equal_batch(spec, 6, nodes), spec, dtype)
        network.to(dtype)
        assert worst(MLP(spec, nodes).to(dtype), batch, spec, "rotation", generator) > 0.1
        for element in ("rotation", "reflection"):
            assert worst(network, batch, spec, element, generator) < limit
        # ten units away, the coordinates themselves are rounded to ten times less
        assert worst(network, batch, spec, "translation", generator) < 10 * limit


@both
def test_a_plain_gnn_becomes_equivariant(wrap, generator: torch.Generator) -> None:
    network = wrap(GNNNetwork(NBODY, Kernels("reference"), layers=2, channels=16), NBODY)
    randomize(network)
    for dtype, limit in ((torch.float64, 1e-10), (torch.float32, 1e-5)):
        batch = cast(synthetic_batch(NBODY, 12), NBODY, dtype)
        for element in ("rotation", "reflection", "permutation"):
            assert worst(network.to(dtype), batch, NBODY, element, generator) < limit
        assert worst(network, batch, NBODY, "translation", generator) < 10 * limit


@both
def test_groups_promise_no_more_than_they_keep(wrap, generator: torch.Generator) -> None:
    """SE tells mirror images apart, O tells places apart, and neither promises otherwise."""
    spec, plain = HULLS, MLP(HULLS, 8).double()
    batch = cast(equal_batch(spec, 12, 8), spec, torch.float64)
    for group in ("E", "SE", "O", "SO"):
        network = wrap(plain, spec, group).double()
        promised = {symmetry.element for symmetry in network.symmetries}
        assert promised == {
            "rotation",
            *({"translation"} if "E" in group else {}),
            *({"reflection"} if "S" not in group else {}),
        }
        for element in ("rotation", "reflection", "translation"):
            error = worst(network, batch, spec, element, generator)
            assert error < 1e-10 if element in promised else error > 1e-2, (group, element)


@both
def test_an_equivariant_network_stays_as_it_is(wrap) -> None:
    """Both are the identity on functions that are equivariant already (arXiv:2110.03336, section 2)."""
    config = resolved(*compose_config(["model=egnn", "data=nbody", "kernels=reference", "model.channels=16"]))
    network = build_paper(config, NBODY).network.double()
    randomize(network)
    batch = cast(synthetic_batch(NBODY, 4), NBODY, torch.float64)
    wrapped = wrap(network, NBODY).double()
    torch.testing.assert_close(wrapped(batch), network(batch))
    torch.testing.assert_close(wrapped.features(batch), network.features(batch))
    assert any(symmetry.element == "permutation" for symmetry in wrapped.symmetries)


def test_frame_averaging_is_the_mean_over_the_signs_of_numpys_axes() -> None:
    """Theorem 1, one frame after the other, with another eigensolver."""
    network = MLP(HULLS, 8).double()
    batch = cast(equal_batch(HULLS, 1, 8), HULLS, torch.float64)
    centred = batch.pos - batch.pos.mean(0)
    axes = torch.linalg.svd(centred).Vh.T
    copies = []
    for signs in itertools.product((1.0, -1.0), repeat=5):
        seen = batch.clone()
        seen.pos = centred @ (axes * torch.tensor(signs, dtype=torch.float64)).flip(1)
        copies.append(network(seen)["volume"])
    torch.testing.assert_close(frame_averaging(network, HULLS, "E", None)(batch)["volume"], torch.stack(copies).mean(0))


def test_training_samples_frames_and_evaluation_takes_all(generator: torch.Generator) -> None:
    batch = cast(equal_batch(HULLS, 6, 8), HULLS, torch.float64)
    network = MLP(HULLS, 8).double()
    sampled, every = (frame_averaging(network, HULLS, "SE", number) for number in (3, None))
    assert len(sampled.train().frames(batch)) == 3
    frames = sampled.frames(batch)
    torch.testing.assert_close(torch.linalg.det(frames), torch.ones_like(frames[..., 0, 0]))
    assert len(frames[:, 0].flatten(1).unique(dim=0)) == 3  # drawn without replacement
    draws = torch.stack([sampled(batch)["volume"] for _ in range(300)])
    deviation = (draws.mean(0) - every(batch)["volume"]).abs() / (draws.std(0) / 300**0.5)
    assert deviation.max() < 5  # unbiased
    assert torch.equal(sampled.eval()(batch)["volume"], every(batch)["volume"])


def test_dropout_varies_frames_in_training_and_keeps_them_equivariant(generator: torch.Generator) -> None:
    """With the same vectors left out, frames of a turned sample are turned; evaluation leaves none out."""
    batch = cast(equal_batch(HULLS, 6, 8), HULLS, torch.float64)
    network = MLP(HULLS, 8).double()
    learned = canonicalization(network, HULLS, "E", layers=3, channels=8, dropout=0.5)
    randomize(learned)
    turn = torch.linalg.qr(torch.randn(5, 5, generator=generator, dtype=torch.float64))[0]
    turned = batch.clone()
    turned.pos = batch.pos @ turn.T
    seen = []
    for seed, sample in ((0, batch), (0, turned), (1, batch)):
        torch.manual_seed(seed)
        seen.append(learned.frames(sample))
    first, of_turned, other = seen
    torch.testing.assert_close(of_turned, turn @ first, rtol=1e-8, atol=1e-8)
    assert (first - other).abs().max() > 0.1
    learned.eval()
    assert torch.equal(learned.frames(batch), learned.frames(batch))


@pytest.mark.parametrize("share", [-0.1, 1.0])
def test_dropout_is_a_share(share: float) -> None:
    with pytest.raises(UserError, match="symmetrize.dropout=.* from 0 to less than 1"):
        canonicalization(MLP(HULLS, 8), HULLS, "E", layers=3, channels=8, dropout=share)


@both
def test_what_the_network_offers_is_offered(wrap) -> None:
    network = MLP(HULLS, 8)
    network.head, network.feature_channels = nn.Linear(32, 1), 32
    wrapped = wrap(network, HULLS)
    assert wrapped.head is network.head
    assert wrapped.feature_channels == 32
    assert wrapped.features(equal_batch(HULLS, 3, 8)).shape == (3, 32)
    assert not hasattr(wrapped, "no_such_thing")


@both
def test_samples_without_positions_and_unknown_groups_are_refused(wrap) -> None:
    with pytest.raises(UserError, match="no|none"):
        wrap(nn.Identity(), default_data("cifar10").spec)
    with pytest.raises(UserError, match="group must be one of"):
        wrap(MLP(HULLS, 8), HULLS, "U")


@pytest.mark.parametrize("wrapper", ["frame_averaging", "canonicalization"])
def test_forces_are_the_gradient_of_the_symmetrised_energy(
    wrapper: str, monkeypatch, generator: torch.Generator
) -> None:
    """Through the frames, which turn quickly where axes are hardly determined: hence the small step."""
    monkeypatch.setattr(certify, "STEP", 1e-5)
    overrides = ["model=gnn", f"symmetrize={wrapper}", "kernels=reference", "model.layers=2", "model.channels=16"]
    paper = build_paper(resolved(*compose_config(overrides)), FORCES)
    randomize(paper)
    (row,) = certify.gradient_rows(paper, synthetic_batch(FORCES, 3), seed=0)
    assert row["error"] < 1e-5
    batch = cast(synthetic_batch(FORCES, 3), FORCES, torch.float64)
    for element in ("rotation", "reflection", "translation", "permutation"):
        assert worst(paper.double(), batch, FORCES, element, generator) < 1e-8


def cube() -> torch.Tensor:
    return torch.tensor(list(itertools.product((-1.0, 1.0), repeat=3)))


CLOUDS = {
    "one particle": torch.ones(1, 3),
    "two particles": torch.tensor([[0.0, 0.0, 0.0], [1.0, 2.0, 3.0]]),
    "coincident": torch.ones(4, 3),
    "collinear": torch.arange(5.0)[:, None].square() * torch.tensor([[1.0, -2.0, 0.5]]),
    "planar": torch.randn(6, 3, generator=torch.Generator().manual_seed(0)) * torch.tensor([1.0, 1.0, 0.0]),
    "cube": cube(),
    "square": cube()[:4],
    "octahedron": torch.cat([torch.eye(3), -torch.eye(3)]),
}


def cloud(pos: torch.Tensor) -> Batch:
    """The cloud beside a generic one, at rest."""
    other = torch.randn(5, 3, generator=torch.Generator().manual_seed(1))
    pos = torch.cat([pos, other])
    batch = Batch(
        _base_cls=Data, pos=pos, vel=torch.zeros_like(pos), charge=torch.ones(len(pos), 1), id=torch.arange(2)
    )
    batch.ptr = torch.tensor([0, len(pos) - 5, len(pos)])
    batch.batch, batch._num_graphs = torch.repeat_interleave(batch.ptr.diff()), 2
    return batch


@both
@pytest.mark.parametrize("name", CLOUDS)
def test_degenerate_clouds_have_finite_values_and_gradients(wrap, name: str) -> None:
    network = wrap(GNNNetwork(NBODY, Kernels("reference"), layers=2, channels=8), NBODY)
    batch = cloud(CLOUDS[name])
    batch.pos.requires_grad_()
    batch.vel.requires_grad_()
    predicted = network(batch)["position"]
    inputs = [batch.pos, batch.vel, *network.parameters()]
    gradients = torch.autograd.grad(predicted.square().sum(), inputs, allow_unused=True)
    assert predicted.isfinite().all()
    assert all(gradient.isfinite().all() for gradient in gradients if gradient is not None)


@both
@pytest.mark.parametrize("name", ["one particle", "coincident", "collinear", "planar"])
def test_flat_clouds_are_seen_alike_from_everywhere(wrap, name: str, generator: torch.Generator) -> None:
    """Axes that are not determined are ones along which nothing lies: features stay invariant."""
    network = wrap(GNNNetwork(NBODY, Kernels("reference"), layers=2, channels=8).double(), NBODY).double()
    batch = cast(cloud(CLOUDS[name]), NBODY, torch.float64)

    def features(batch):
        return {"position": network.features(batch)}

    invariant = Spec("", "trajectories", "", "official", (Target(name="position", level="node"),), NBODY.fields)
    for element in ("rotation", "reflection", "translation"):
        assert worst(features, batch, invariant, element, generator) < 1e-8


@pytest.mark.slow
def test_wrapped_networks_compile_as_one_graph() -> None:
    """In a process of its own: the checks of shapes that tests live under cannot be traced."""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run([sys.executable, __file__], env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-2000:]


def compare() -> None:
    """Gradients, traced whole and eager, on batches of two sizes; tracing is what may fail, so no code is generated."""
    from erlangen.nn.compiled import Compiled

    torch.manual_seed(0)
    for wrap in WRAPPERS.values():
        network = wrap(GNNNetwork(NBODY, Kernels("reference"), layers=1, channels=8), NBODY).double()
        compiled = Compiled(network)
        compiled.run = torch.compile(compiled.evaluate, dynamic=True, fullgraph=True, backend="aot_eager")
        for samples in (3, 5):
            batch = cast(synthetic_batch(NBODY, samples), NBODY, torch.float64)
            results = []
            for run in (compiled, network):
                network.zero_grad()
                run(batch)["position"].square().sum().backward()
                results.append([parameter.grad.clone() for parameter in network.parameters()])
            torch.testing.assert_close(*results, rtol=1e-9, atol=1e-12)


if __name__ == "__main__":
    compare()
