"""What makes 3D ShapeNets itself: its size, its phases, recognition by free energies, and the completion of shapes."""

import math

import lightning as L
import pytest
import torch
from point_clouds import SPEC, clouds
from synthetic import randomize
from torch import Tensor
from torch.utils.data import DataLoader
from torch_geometric.data import Batch

from erlangen.errors import UserError
from erlangen.models.points.shapenets3d import Phases, ShapeNets3D
from erlangen.optim.schedules import Cosine, Plateau, Recipe
from erlangen.runs.randomness import KeyedRandomness
from erlangen.tasks.point_classification import PointClassification
from erlangen.tasks.spec import Spec, Target

PUBLISHED = {
    "resolution": 24,
    "padding": 3,
    "convolutions": [[48, 6, 2], [160, 5, 2], [512, 4, 1]],
    "features": 1200,
    "hidden": 4000,
    "copies": 10,
    "chains": 32,
    "sparsity": [[0.01, 0.001], [0.02, 0.002]],
    "shares": [15, 30, 50, 80, 150, 200, 100],
    "rates": [1, 1, 1, 0.3, 0.3, 0.003, 1],
}
TINY = {
    **PUBLISHED,
    **ShapeNets3D.tiny,
    "copies": 3,
    "sparsity": [[0.1, 0.01]],
    "shares": [1, 2, 1, 2, 2, 2],
    "rates": [1, 1, 1, 0.5, 0.1, 1],
}
LAST = 5


def paper(spec: Spec = SPEC, **options) -> ShapeNets3D:
    made = ShapeNets3D(spec, **{**TINY, **options})
    made.task = PointClassification(spec, "none")
    made.recipe = Recipe(lambda groups: torch.optim.Adam(groups, lr=1e-2), Cosine(final_factor=0.5))
    made.log = lambda *arguments, **options: None
    return made


def batch_of(sizes: list[int], seed: int = 0) -> Batch:
    batch = clouds(sizes, seed)
    batch.pos, batch.normal = batch.pos.float(), batch.normal.float()
    return batch


def test_published_size() -> None:
    """Section 3's layers, on 30, 13, 5 and 2 cells: weights, a bias a filter, and one for every visible unit."""
    with torch.device("meta"):
        made = ShapeNets3D(SPEC, **PUBLISHED)
    assert [layer.side for layer in made.network.layers] == [30, 13, 5, 2]
    expected = 48 * 6**3 + 48 + 30**3
    expected += 160 * 48 * 5**3 + 160 + 48 * 13**3
    expected += 512 * 160 * 4**3 + 512 + 160 * 5**3
    expected += 1200 * 512 * 2**3 + 1200 + 512 * 2**3
    expected += 4000 * (1200 + 40) + 4000 + (1200 + 40)
    assert sum(parameter.numel() for parameter in made.parameters()) == expected


@pytest.mark.parametrize("shares", [(1, 0, 2, 1), (0, 3, 0, 1, 0), (15, 30, 50, 80, 150, 200, 100)])
@pytest.mark.parametrize("total", [40, 997])
def test_phases_follow_from_the_step_and_have_their_shares(shares: tuple[int, ...], total: int) -> None:
    phases = Phases(shares)
    found = [phases.at(step / total) for step in range(total)]
    assert found == sorted(found)
    assert phases.at(1.0) == found[-1]
    for phase, share in enumerate(shares):
        assert abs(found.count(phase) - total * share / sum(shares)) < 1
        start, end = phases.span(phase)
        assert math.isclose(end - start, share / sum(shares), abs_tol=1e-12)


@pytest.mark.parametrize("shares", [(0, 0), (1, -1, 1)])
def test_shares_are_some_of_a_whole(shares: tuple[int, ...]) -> None:
    with pytest.raises(UserError, match="shares"):
        Phases(shares)


def test_every_machine_needs_a_share() -> None:
    with pytest.raises(UserError, match="need 6 numbers: 3 layers"):
        paper(shares=[1, 1, 1])


class Record(L.Callback):
    """Of every step: its phase, its learning rate, and which machines moved."""

    def __init__(self):
        self.phases, self.rates, self.moved = [], [], []

    def on_train_batch_start(self, trainer, module, batch, batch_idx) -> None:
        self.before = {name: value.clone() for name, value in module.named_parameters()}
        self.phases.append(module.phase(module.global_step))
        self.rates.append(trainer.optimizers[0].param_groups[0]["lr"])

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx) -> None:
        moved = {name for name, value in module.named_parameters() if not torch.equal(value, self.before[name])}
        self.moved.append({name.rsplit(".", 1)[0].removeprefix("network.") for name in moved})


def fit(made: ShapeNets3D, folder, epochs: int = 10, resume=None) -> Record:
    """Trains on two batches an epoch, and leaves a checkpoint of every epoch."""
    record = Record()
    keep = L.pytorch.callbacks.ModelCheckpoint(folder, "{epoch}", save_top_k=-1)
    trainer = L.Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        logger=False,
        callbacks=[KeyedRandomness(1), record, keep],
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    data = DataLoader([batch_of([30, 40, 50], seed) for seed in range(2)], batch_size=None)
    trainer.fit(made, data, ckpt_path=resume)
    return record


def test_each_phase_trains_its_own_machine_at_its_own_rate(tmp_path) -> None:
    record = fit(paper(), tmp_path)
    assert record.phases == [0] * 2 + [1] * 4 + [2] * 2 + [3] * 4 + [4] * 4 + [LAST] * 4
    machines = ["layers.0", "layers.1", "layers.2", "memory"]
    for phase, moved in zip(record.phases, record.moved, strict=True):
        assert moved == ({machines[phase]} if phase < 4 else set(machines))
    halves = [1.0, 0.75]  # the schedule's, in a phase of two steps
    quarters = [Cosine(final_factor=0.5)(float(done), 4.0) for done in range(4)]
    factors = [*halves, *quarters, *halves, *(0.5 * f for f in quarters), *(0.1 * f for f in quarters), *quarters]
    assert record.rates == pytest.approx([1e-2 * factor for factor in factors])


def test_a_resumed_training_is_the_same_training(tmp_path) -> None:
    whole = paper()
    record = fit(whole, tmp_path / "whole")
    for epoch in (0, 3, 6, 8):  # at a phase's end and in one; the memory's chains and fast weights; wake-sleep
        again = paper()
        rest = fit(again, tmp_path / f"again{epoch}", resume=tmp_path / "whole" / f"epoch={epoch}.ckpt")
        assert rest.phases == record.phases[2 * (epoch + 1) :]
        for name, value in whole.state_dict().items():
            assert torch.equal(again.state_dict()[name], value), (epoch, name)
    assert whole.network.memory.fast_weight.abs().max() > 0


def test_what_cannot_be_cut_into_phases_is_refused(tmp_path) -> None:
    with pytest.raises(UserError, match="needs an end"):
        fit(paper(), tmp_path, epochs=-1)
    stubborn = paper()
    stubborn.recipe = Recipe(stubborn.recipe.optimizer, Plateau(0.5, 1))
    with pytest.raises(UserError, match="plateau"):
        fit(stubborn, tmp_path)
    wrapped = paper()
    wrapped.network = torch.nn.Identity()
    with pytest.raises(UserError, match="cannot be wrapped"):
        wrapped.prepare(wrapped.task, {}, list)


def test_a_machine_starts_from_the_log_odds_of_its_input() -> None:
    made, batch = paper(), batch_of([60] * 200)
    for phase in range(4):
        made.start(phase, made.log_odds(phase, batch))
        inputs = made.network.ascend(made.network.voxels(batch))[phase]
        bias = made.machine(phase).visible_bias
        bias = bias if phase < 3 else bias[SPEC.targets[0].classes :].view(inputs.shape[1:])
        torch.testing.assert_close(bias.sigmoid(), inputs.mean(0), rtol=0, atol=0.01)
    assert made.network.memory.visible_bias[: SPEC.targets[0].classes].abs().max() == 0


def test_the_label_is_recognised_by_free_energies() -> None:
    made = paper().double()
    randomize(made)
    net, batch = made.network, clouds([40] * 5)
    logits, features = net(batch)["label"], net.features(batch)
    energies = [net.memory.free_energy(net.memory.units(torch.full((5,), name), features)) for name in range(40)]
    expected = (-torch.stack(energies, 1)).softmax(1)
    assert expected.std(0).max() > 1e-3
    torch.testing.assert_close(logits.softmax(1), expected)


def test_wake_sleep_is_the_sum_of_all_machines_contrasts() -> None:
    made = paper()
    randomize(made)
    net, batch = made.network, batch_of([50] * 6)
    torch.manual_seed(5)
    loss = made.loss(made.wake_sleep_phase, batch)
    chain = net.memory.chain.clone()
    net.memory.chain.zero_()
    torch.manual_seed(5)
    model = net.memory.go_on(3, fast=False)
    assert torch.equal(net.memory.chain, chain)
    awake = net.ascend(net.voxels(batch))
    data = net.memory.units(batch.label, awake[-1].flatten(1))
    expected = net.memory.free_energy(data).mean() - net.memory.free_energy(model).mean()
    volume = net.memory.visible(chain)[1].sigmoid()[:, :, None, None, None]
    for layer, wake in zip(reversed(net.layers), reversed(awake[:-1]), strict=True):
        volume = layer.visible(volume).sigmoid()
        expected = expected + layer.mean_free_energy(wake) - layer.mean_free_energy(volume)
    torch.testing.assert_close(loss, expected)


def test_observed_voxels_never_change() -> None:
    made = paper()
    randomize(made)
    observed = made.network.voxels(batch_of([60] * 8))
    mask = torch.rand(observed.shape) < 0.5
    voxels, label = made.network.complete(observed, mask, steps=3)
    assert torch.equal(voxels[mask], observed[mask])
    assert ((voxels[~mask] > 0) & (voxels[~mask] < 1)).all()
    torch.testing.assert_close(label.sum(1), torch.ones(8))
    torch.manual_seed(1)
    garbage = torch.where(mask, observed, 7.0)
    first = made.network.complete(garbage, mask, steps=3).voxels
    torch.manual_seed(1)
    assert torch.equal(made.network.complete(observed, mask, steps=3).voxels, first)
    with pytest.raises(UserError, match="at least one step"):
        made.network.complete(observed, mask, steps=0)


PRIMITIVES = Spec(**{**vars(SPEC), "targets": (Target(name="label", classes=4),)})


def primitives(count: int, generator: torch.Generator, points: int = 1500) -> Batch:
    """Surfaces of boxes, spheres, cylinders and cones of random proportions, round about z or square."""
    batch = batch_of([points] * count)
    shapes = []

    def uniform(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator)

    for kind in range(count):
        angle, height, end = 2 * math.pi * uniform(points), 2 * uniform(points) - 1, uniform(points) < 1 / 3
        circle = torch.stack([angle.cos(), angle.sin()], 1)
        if kind % 4 == 0:
            shape = 2 * uniform(points, 3) - 1
            face = torch.randint(3, (points, 1), generator=generator)
            shape.scatter_(1, face, shape.gather(1, face).sign())
        elif kind % 4 == 1:
            shape = torch.nn.functional.normalize(torch.randn(points, 3, generator=generator), dim=1)
        else:
            side = torch.ones(()) if kind % 4 == 2 else (1 - height) / 2
            radius = torch.where(end, uniform(points).sqrt(), side)
            height = torch.where(end, height.sign() if kind % 4 == 2 else torch.tensor(-1.0), height)
            shape = torch.cat([radius[:, None] * circle, height[:, None]], 1)
        wide, high = (0.5 + 0.5 * uniform(2)).tolist()
        shapes.append(shape * torch.tensor([wide, wide, high]))
    batch.pos, batch.label = torch.cat(shapes), torch.arange(count) % 4
    return batch


@pytest.fixture(scope="module")
def trained() -> ShapeNets3D:
    """A small network, each of its machines trained for a few seconds on 400 primitives; no wake-sleep, no backpropagation."""
    torch.manual_seed(0)
    options = {"resolution": 12, "padding": 2, "convolutions": [[16, 4, 2], [32, 3, 2]], "features": 48, "hidden": 96}
    made = paper(PRIMITIVES, **options, chains=16)
    batch = primitives(400, torch.Generator().manual_seed(1))
    voxels = made.network.voxels(batch)
    made.network.voxels = lambda rows: voxels[rows.id]
    rows = Batch()
    for phase, (steps, rate) in enumerate([(150, 1e-2), (150, 3e-3), (150, 3e-3), (300, 3e-3)]):
        rows.id = torch.randint(400, (96,))
        made.start(phase, made.log_odds(phase, rows))
        optimizer = torch.optim.Adam(made.machine(phase).parameters(), rate)
        for step in range(steps):
            optimizer.param_groups[0]["lr"] = rate * Cosine()(float(step), float(steps))
            rows.id = torch.randint(400, (32,))
            rows.label = batch.label[rows.id]
            optimizer.zero_grad()
            made.loss(phase, rows).backward()
            if phase == made.memory_phase:
                made.network.memory.learn_fast(optimizer.param_groups[0]["lr"])
            optimizer.step()
    del made.network.voxels
    return made


@pytest.mark.slow
def test_primitives_are_completed_better_than_by_the_mean_shape(trained: ShapeNets3D) -> None:
    """From their lower halves: the upper ones are closer than the mean shape, and than completions of other kinds."""
    net = trained.network
    mean = net.voxels(primitives(400, torch.Generator().manual_seed(1))).mean(0)
    shapes = net.voxels(primitives(80, torch.Generator().manual_seed(2)))
    mask = torch.zeros_like(shapes, dtype=torch.bool)
    mask[..., :8] = True

    def error(guess: Tensor) -> float:
        return float((guess - shapes)[~mask].square().mean())

    completed = net.complete(shapes, mask, steps=15).voxels
    assert error(completed) < 0.92 * error(mean.expand_as(shapes))
    for shift in (1, 2, 3):
        assert error(completed) < 0.95 * error(completed.roll(shift, 0))


@pytest.mark.slow
def test_primitives_are_recognised_without_backpropagation(trained: ShapeNets3D) -> None:
    batch = primitives(80, torch.Generator().manual_seed(2))
    right = trained.network(batch)["label"].argmax(1) == batch.label
    assert right.float().mean() > 0.6  # chance is 0.25
