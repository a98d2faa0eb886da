"""What every paper must pass. A new conf/model/x.yaml is found and tested with no new line here."""

import io
from typing import Any

import numpy as np
import pytest
import torch
from synthetic import randomize, sample, synthetic_batch, unit_statistics

from erlangen.certify import LIMITS, gradient_rows
from erlangen.datamodules.base import DataModule
from erlangen.models.paper import Paper
from erlangen.runs.assemble import build_paper
from erlangen.runs.config import available, compose_config, group_file, resolved
from erlangen.runs.pairing import complete, default_data, mismatch, model_class
from erlangen.tasks.spec import Field, Spec, Target
from erlangen.tasks.symmetry import cast, symmetry_error

DATA = {name: default_data(name) for name in available("data")}
MODELS = {name: model_class(name) for name in available("model")}


def benchmarks_of(paper: type[Paper]) -> dict[str, str]:
    """One benchmark of each modality that a paper fits; of atoms rather molecules than periodic cells."""
    found: dict[str, str] = {}
    for name, datamodule in sorted(DATA.items(), key=lambda item: "cell" in item[1].spec.fields):
        if not mismatch(paper, datamodule):
            found.setdefault(datamodule.modality, name)
    return found


def offered(data: str, model: str) -> DataModule:
    """A benchmark in the form in which a model's paper takes it."""
    return DATA[data].offered_to(MODELS[model.partition("+")[0]].modalities)


PLAIN = {"gnn": ("nbody", "qm9", "hulls"), "pointnet": ("modelnet",)}
"""Networks without symmetries of space, and a benchmark of each of their modalities, for conf/symmetrize."""


def content(model: str) -> dict[str, Any]:
    """What conf/model/MODEL.yaml says, with what it is built on."""
    own = group_file("model", model)
    based_on = (base for base in own.pop("defaults", []) if base != "_self_")
    return {key: value for base in based_on for key, value in content(base).items()} | own


def distinct() -> list[str]:
    """The models, but of files that say the same at the `tiny` size (a paper's published sizes) only the first."""
    kinds: dict[str, str] = {}
    for model, paper in MODELS.items():
        kinds.setdefault(str(sorted((content(model) | paper.tiny).items())), model)
    return list(kinds.values())


PAIRS = [
    *(
        pytest.param(model, data, id=f"{model}-{data}")
        for model in distinct()
        for data in benchmarks_of(MODELS[model]).values()
    ),
    *(
        pytest.param(f"{model}+{wrapper}", data, id=f"{model}+{wrapper}-{data}")
        for wrapper in available("symmetrize")
        for model, benchmarks in PLAIN.items()
        for data in benchmarks
    ),
]
"""Papers, or papers and a wrapper (model+symmetrize), and their benchmarks."""


def trains(pair: str) -> bool:
    return MODELS[pair.partition("+")[0]].trains


def tiny_config(pair: str, *overrides: str) -> dict[str, Any]:
    """The configuration of a paper at its `tiny` size, wrapped where a wrapper is named."""
    model, _, wrapper = pair.partition("+")
    overrides = (
        f"model={model}",
        f"symmetrize={wrapper or 'none'}",
        "kernels=reference",  # tests of the kernels compare their backends; compiling here would take minutes
        *(f"model.{key}={value}" for key, value in MODELS[model].tiny.items()),
        *overrides,
    )
    return complete(resolved(*compose_config(list(overrides))))


def tiny(model: str, data: str, spec: Spec | None = None) -> Paper:
    """The tiny paper, ready to be trained on a benchmark's task."""
    spec = spec or offered(data, model).spec
    paper = build_paper(tiny_config(model, f"data={data}"), spec)
    paper.prepare(offered(data, model).task, unit_statistics(spec), lambda: [synthetic_batch(spec, 16, seed=9)])
    return paper


@pytest.mark.parametrize("model", MODELS)
def test_fits_some_benchmark(model: str) -> None:
    assert benchmarks_of(MODELS[model]), f"conf/model/{model}.yaml fits no conf/data file"


@pytest.mark.parametrize(("model", "data"), PAIRS)
def test_predicts_every_target_and_has_finite_gradients_of_all_that_is_trained(model: str, data: str) -> None:
    paper, spec = tiny(model, data), offered(data, model).spec
    batch = synthetic_batch(spec)
    predictions = paper.predict(batch)
    for target in spec.targets:
        expected = (*batch[target.name].shape, target.classes) if target.classes else batch[target.name].shape
        assert predictions[target.name].shape == expected
        assert predictions[target.name].isfinite().all()
    if paper.trains:
        paper.train().training_step(batch, 0).backward()
        trained = {name: p.grad for name, p in paper.named_parameters() if p.requires_grad}
        assert trained
        assert [name for name, gradient in trained.items() if gradient is None] == []  # DDP wants one of each
        assert all(gradient.isfinite().all() for gradient in trained.values())


@pytest.mark.parametrize(("model", "data"), PAIRS)
@pytest.mark.parametrize("precision", ["float64", "float32"])
def test_keeps_its_promises(model: str, data: str, precision: str, generator: torch.Generator) -> None:
    paper, spec = tiny(model, data).eval(), offered(data, model).spec
    randomize(paper)
    paper.to(getattr(torch, precision))
    batch = cast(synthetic_batch(spec, 6), spec, getattr(torch, precision))
    for symmetry in paper.symmetries:
        if symmetry.kind == "learned":
            continue
        limit = LIMITS[precision] if symmetry.kind == "exact" else symmetry.bound
        for _ in range(3):
            errors = symmetry_error(paper, batch, spec, symmetry.element, generator)
            assert max(errors.values()) <= limit, f"{symmetry.element}: {errors}"


@pytest.mark.parametrize(("model", "data"), PAIRS)
def test_a_sample_does_not_depend_on_its_batch(model: str, data: str) -> None:
    paper, spec = tiny(model, data).eval().double(), offered(data, model).spec
    randomize(paper)
    batch = cast(synthetic_batch(spec, 3), spec, torch.float64)
    together = paper.predict(batch)
    alone = [paper.predict(sample(batch, index)) for index in range(3)]
    for name, value in together.items():
        torch.testing.assert_close(torch.cat([one[name] for one in alone]), value, rtol=1e-9, atol=1e-9)


IN_MOTION = [p for p in PAIRS if DATA[p.values[1]].modality == "trajectories"]
SIZES = (5, 1, 2, 4, 3)
"""Particles of systems."""


def systems(spec: Any) -> Any:
    """Of SIZES particles; those of four are all in one place, those of three in a row."""
    whole = synthetic_batch(spec, len(SIZES))
    kept = torch.cat([torch.arange(size) + start for size, start in zip(SIZES, whole.ptr.tolist(), strict=False)])
    batch = whole.clone()
    for name in ("pos", "vel", "charge", "position", "batch"):
        batch[name] = whole[name][kept]
    batch.ptr = torch.tensor([0, *SIZES]).cumsum(0)
    batch.pos[8:12] = 1.0
    batch.pos[12:15] = torch.arange(3.0)[:, None] * torch.tensor([1.0, 2.0, 0.5])
    return batch


@pytest.mark.parametrize(("model", "data"), IN_MOTION)
def test_systems_of_several_sizes_are_those_one_by_one(model: str, data: str) -> None:
    paper = tiny(model, data).eval()
    randomize(paper.network)
    batch = systems(DATA[data].spec)
    together = paper.predict(batch)["position"]
    assert together.isfinite().all()
    for index, place in enumerate(together.split(SIZES)):
        alone = paper.predict(sample(batch, index))["position"]
        torch.testing.assert_close(alone, place, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("model", "data"), IN_MOTION)
def test_degenerate_systems_have_finite_gradients(model: str, data: str) -> None:
    paper = tiny(model, data)
    randomize(paper.network)
    batch = systems(DATA[data].spec)
    batch.pos.requires_grad_()
    parameters = [p for p in paper.parameters() if p.requires_grad]
    loss = paper(batch)["position"].square().sum()
    assert loss.isfinite()
    if loss.requires_grad:
        for gradient in torch.autograd.grad(loss, [batch.pos, *parameters], allow_unused=True):
            assert gradient is None or gradient.isfinite().all()


@pytest.mark.parametrize(("model", "data"), [pair for pair in PAIRS if trains(pair.values[0])])
def test_learns_one_batch(model: str, data: str) -> None:
    paper, spec = tiny(model, data), offered(data, model).spec
    batch = synthetic_batch(spec, 8)
    optimizer = torch.optim.Adam(paper.parameters(), lr=5e-3)
    losses = []
    for step in range(80):
        if paper.augment is not None:
            torch.manual_seed(0)  # the same views every time: what is learned is one batch
        optimizer.zero_grad()
        loss = paper.train().training_step(batch, step)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert np.mean(losses[-5:]) < 0.7 * losses[0], losses[::10]


@pytest.mark.parametrize(("model", "data"), PAIRS)
def test_a_checkpoint_brings_everything_back(model: str, data: str) -> None:
    paper, spec = tiny(model, data).eval(), offered(data, model).spec
    randomize(paper)
    file = io.BytesIO()
    torch.save({"state": paper.state_dict(), "spec": spec.to_dict()}, file)
    file.seek(0)
    kept = torch.load(file, weights_only=True)
    assert Spec.from_dict(kept["spec"]) == spec
    again = tiny(model, data, Spec.from_dict(kept["spec"])).eval()
    again.load_state_dict(kept["state"])
    batch = synthetic_batch(spec)
    for name, value in paper.predict(batch).items():
        assert torch.equal(again.predict(batch)[name], value)


FORCES = Spec(
    benchmark="forces",
    modality="atoms",
    split="synthetic",
    source="miniature",
    fields={"z": Field(categories=(1, 6, 8)), "pos": Field(irreps="1o", translates=True)},
    targets=(
        Target(name="energy", unit="eV"),
        Target(name="forces", unit="eV/Å", irreps="1o", level="node", gradient_of="energy"),
    ),
)
"""An energy whose gradient is asked for too."""


POTENTIALS = [
    name
    for name, paper in MODELS.items()
    if "atoms" in paper.modalities and "graph:0e" in paper.outputs and paper.trains
]


@pytest.mark.parametrize("model", POTENTIALS)
def test_forces_are_the_gradient_of_the_energy(model: str, generator: torch.Generator) -> None:
    paper = build_paper(tiny_config(model), FORCES)
    randomize(paper)
    batch = synthetic_batch(FORCES, 3)
    for row in gradient_rows(paper, batch, seed=0):
        assert row["holds"], row
    paper.double().eval()
    batch = cast(batch, FORCES, torch.float64)
    for symmetry in paper.symmetries:
        if symmetry.kind == "exact":
            errors = symmetry_error(paper, batch, FORCES, symmetry.element, generator)
            assert max(errors.values()) < LIMITS["float64"], errors


def test_the_symmetry_test_sees_a_planted_asymmetry(generator: torch.Generator) -> None:
    """A network that adds a little of x_0 to every energy must be caught, in float32 too."""
    paper = tiny("egnn", "qm9").eval()
    randomize(paper)
    spec = DATA["qm9"].spec
    batch = synthetic_batch(spec, 6)

    def crooked(batch):
        return {name: value + 1e-3 * batch.pos[batch.ptr[:-1], 0] for name, value in paper(batch).items()}

    for element in ("rotation", "reflection", "translation", "permutation"):
        honest = symmetry_error(paper, batch, spec, element, generator)["gap"]
        assert honest < LIMITS["float32"] < symmetry_error(crooked, batch, spec, element, generator)["gap"]


def test_a_constant_network_is_not_called_symmetric(generator: torch.Generator) -> None:
    spec = DATA["qm9"].spec
    batch = synthetic_batch(spec)
    assert symmetry_error(lambda b: {"gap": torch.ones(4)}, batch, spec, "rotation", generator)["gap"] == float("inf")


def test_ties_leave_out_the_worst_samples_but_never_what_is_no_number(generator: torch.Generator) -> None:
    spec = DATA["qm9"].spec
    batch = synthetic_batch(spec, 6)
    energies, calls = torch.arange(6.0), iter((0.0, 2.5, 0.0, 2.5, 0.0, float("nan")))

    def one_off(batch):
        return {"gap": energies + torch.tensor([0, 0, 0, 0, 0, next(calls)])}

    errors = [symmetry_error(one_off, batch, spec, "rotation", generator, left_out)["gap"] for left_out in (0, 1, 1)]
    assert errors[:2] == [1.0, 0.0]
    assert not errors[2] <= LIMITS["float32"]


def test_default_data_reads_nothing(tmp_path) -> None:
    """Specs are known before anything is downloaded."""
    for name in DATA:
        datamodule: DataModule = default_data(name)
        assert "splits" not in datamodule.__dict__, name
