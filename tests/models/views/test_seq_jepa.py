"""What makes seq-JEPA that paper: it sums up views under actions, predicts by the next action, and follows a teacher."""

import lightning as L
import pytest
import torch
from synthetic import synthetic_batch
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity

from erlangen.errors import UserError
from erlangen.models.views.seq_jepa import SeqJEPA
from erlangen.nn.teacher import Teacher
from erlangen.optim.schedules import Constant, Recipe
from erlangen.runs.assemble import build_data, build_paper
from erlangen.runs.averaging import WeightAverage
from erlangen.runs.config import compose_config, resolved
from erlangen.runs.pairing import complete
from erlangen.tasks.batch import TensorBatch
from erlangen.tasks.spec import Spec

ACTIONS = {"actions": ("rotation",), "augmentations": ("crop", "jitter", "blur"), "action_channels": 8}
SIZES = {
    "blocks": [1, 1],
    "channels": 8,
    "heads": 2,
    "layers": 1,
    "hidden": 16,
    "dropout": 0.0,
    "decay": 0.9,
    **ACTIONS,
}


def spec_of(views: int) -> Spec:
    overrides = ["data=3diebench", "data.source=miniature", f"data.views={views}", "data.resolution=16"]
    return build_data(resolved(*compose_config(overrides))).spec


def paper(views: int = 4, **changes: object) -> SeqJEPA:
    torch.manual_seed(0)
    built = SeqJEPA(spec_of(views), **{**SIZES, **changes}).double()
    with torch.no_grad():
        built.network.token.normal_()
    return built


def doubled(views: int = 4, samples: int = 5, seed: int = 0) -> TensorBatch:
    return synthetic_batch(spec_of(views), samples, seed).to(torch.float64)


def test_the_loss_is_the_distance_from_the_teachers_view() -> None:
    """1 - cos, and no gradient but through the prediction."""
    built, batch = paper(), doubled()
    for parameter in built.teacher.parameters():
        parameter.mul_(1.1).add_(0.1)  # another network than the student
    loss = built.loss(batch)
    predicted = built(batch)["predicted"]
    target = built.teacher(built.network.standardize(batch.images[:, -1]))
    assert not target.requires_grad
    torch.testing.assert_close(loss, (1 - cosine_similarity(predicted, target)).mean())
    changed = batch.clone()
    changed["images"] = torch.cat([batch.images[:, :-1], batch.images[:, -1:].roll(1, 0)], 1)
    torch.testing.assert_close(built.eval()(changed)["predicted"], built(batch)["predicted"])  # the last view is unseen


@pytest.mark.parametrize("step", [0, 1, 2])
def test_the_prediction_depends_on_every_action(step: int) -> None:
    """On those between the views that are seen, and on the one that leads to the view to predict."""
    built, batch = paper().eval(), doubled()
    first = built(batch)["predicted"]
    batch["rotation"] = batch.rotation.clone()
    batch.rotation[:, step] = batch.rotation[:, step].roll(1, 0)
    change = (built(batch)["predicted"] - first).norm(dim=-1) / first.norm(dim=-1)
    assert float(change.detach().min()) > 1e-3


def test_actions_may_be_colors_too() -> None:
    built, batch = paper(actions=("rotation", "color")).eval(), doubled()
    first = built(batch)["predicted"]
    batch["color"] = batch.color.flip(0)
    assert float((built(batch)["predicted"] - first).detach().norm()) > 1e-3
    assert built.between(batch.latents[:, 0], batch.latents[:, 1]).shape == (5, 6)


def test_views_are_told_apart_by_their_actions_alone() -> None:
    """Tokens have no positions: with the same action after each, the order of the views does not matter."""
    network = paper().eval().network
    z = torch.randn(3, 4, 16, dtype=torch.float64)
    zeros = torch.zeros(3, 3, 8, dtype=torch.float64)
    torch.testing.assert_close(network.aggregate(z, zeros), network.aggregate(z.flip(1), zeros))
    actions = torch.randn(3, 3, 8, dtype=torch.float64)
    assert float((network.aggregate(z, actions) - network.aggregate(z.flip(1), actions)).detach().norm()) > 1e-3


def test_parts_aggregates_and_predictions() -> None:
    """The aggregate of a run of views is what training sums up; alone, a view needs no action."""
    built, batch = paper().eval(), doubled(6)
    built.network.length = 3
    outputs = built.predict(batch)
    z = outputs["equivariant"]
    torch.testing.assert_close(outputs["all"], torch.cat([z, outputs["invariant"]], -1))
    torch.testing.assert_close(z, built.network.features(batch))
    assert outputs["aggregate"].shape == (5, 4, 24)
    turns = built.between(batch.latents[:, :-1], batch.latents[:, 1:])
    embedded = built.network.embed(turns.flatten(0, 1)).unflatten(0, (5, 5))
    for start in range(4):
        expected = built.network.aggregate(z[:, start : start + 3], embedded[:, start : start + 2])
        torch.testing.assert_close(outputs["aggregate"][:, start], expected)
    torch.testing.assert_close(outputs["invariant"][:, 2], built.network.aggregate(z[:, 2:3]))
    turn = built.between(batch.latents[:, 0], batch.latents[:, 4])
    torch.testing.assert_close(outputs["predicted_equivariant"][:, 4], built.act(z[:, 0], turn))
    target = built.teacher(built.network.standardize(batch.images[:, 4]))
    torch.testing.assert_close(outputs["embedded_equivariant"][:, 4], target)


def test_two_views_are_a_sequence_of_one() -> None:
    built, batch = paper(2), doubled(2)
    outputs = built.eval().predict(batch)
    torch.testing.assert_close(outputs["aggregate"], outputs["invariant"])
    expected = built.network.predict_next(outputs["equivariant"][:, :1], batch.rotation)
    torch.testing.assert_close(built(batch)["predicted"], expected)


class Snapshots(L.Callback):
    """The student, the teacher and the steps taken, after every batch."""

    def __init__(self) -> None:
        self.rows: list[tuple[int, Tensor, Tensor]] = []

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *_: object) -> None:
        self.rows.append((trainer.global_step, flat(pl_module.network.backbone), flat(pl_module.teacher.network)))


def flat(module: nn.Module) -> Tensor:
    return torch.cat([parameter.detach().flatten().clone() for parameter in module.parameters()])


def trained(built: SeqJEPA, *callbacks: L.Callback, accumulate: int = 1) -> None:
    built.recipe = Recipe(lambda groups: torch.optim.SGD(groups, lr=0.1), Constant())
    batches = [doubled(seed=seed) for seed in range(6)]
    trainer = L.Trainer(
        max_epochs=1,
        accelerator="cpu",
        callbacks=list(callbacks),
        accumulate_grad_batches=accumulate,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(built, torch.utils.data.DataLoader(batches, batch_size=None))


def test_the_teacher_follows_after_each_step_of_the_optimiser() -> None:
    """Six batches in three steps: after each, decay * teacher + (1 - decay) * the student as the step left it."""
    built, seen = paper(decay=0.9), Snapshots()
    teacher = flat(built.teacher.network)
    torch.testing.assert_close(teacher, flat(built.network.backbone))
    trained(built, seen, accumulate=2)
    assert [row[0] for row in seen.rows] == [0, 1, 1, 2, 2, 3]
    decays = iter([0.9, 1 - 0.1 * 0.75, 1 - 0.1 * 0.25])  # along a cosine of three steps
    for before, (step, student, now) in zip([0, *[row[0] for row in seen.rows]], seen.rows, strict=False):
        if step > before:
            assert float((student - teacher).abs().max()) > 1e-4
            decay = next(decays)
            teacher = decay * teacher + (1 - decay) * student
        torch.testing.assert_close(now, teacher, rtol=1e-10, atol=1e-12)


def test_no_optimiser_holds_the_teacher() -> None:
    built = paper()
    held = {id(parameter) for group in built.param_groups() for parameter in group["params"]}
    teachers = {id(parameter) for parameter in built.teacher.parameters()}
    assert teachers
    assert not held & teachers
    assert held == {id(parameter) for parameter in built.network.parameters()}
    built.loss(doubled()).backward()
    assert all(parameter.grad is None for parameter in built.teacher.parameters())


def test_no_weight_average_holds_the_teacher() -> None:
    """The average of the weights has the student's averaged, and the teacher just as it is."""
    average, seen = WeightAverage(decay=0.5), Snapshots()
    built = paper(decay=0.5)
    trained(built, average, seen)
    kept = average._average_model.module
    torch.testing.assert_close(flat(kept.teacher.network), seen.rows[-1][2], rtol=0, atol=0)
    torch.testing.assert_close(flat(built.teacher.network), seen.rows[-1][2], rtol=0, atol=0)
    assert float((flat(kept.network.backbone) - seen.rows[-1][1]).abs().max()) > 1e-4


def test_a_teacher_is_a_copy_without_gradients() -> None:
    student = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4)).double()
    teacher = Teacher(student)
    x = torch.randn(8, 3, dtype=torch.float64, requires_grad=True)
    torch.testing.assert_close(teacher(x), student(x).detach())
    assert not teacher(x).requires_grad
    start = flat(teacher.network)
    with torch.no_grad():
        student[0].weight.add_(1)
    torch.testing.assert_close(flat(teacher.network), start)
    teacher.update(student, 0.75)
    torch.testing.assert_close(flat(teacher.network), 0.75 * start + 0.25 * flat(student))


def test_the_recipe_has_the_published_sizes() -> None:
    """ResNet-18, tokens of 512 + 128, three layers, and a predictor from 768 over 1024 to 512."""
    config = resolved(*compose_config(["experiment=seq_jepa_3diebench", "data.source=miniature"]))
    with torch.device("meta"):
        built = build_paper(config, build_data(config).spec)
    count = {name: sum(p.numel() for p in module.parameters()) for name, module in built.network.named_children()}
    assert count["backbone"] == 11_176_512
    assert sum(p.numel() for p in built.teacher.parameters()) == 11_176_512
    assert count["embed"] == 4 * 128
    assert count["predictor"] == (640 + 128) * 1024 + 2 * 1024 + 1024 * 512 + 512
    attention, feedforward = 4 * (640**2 + 640), 2 * 4 * 640**2 + 4 * 640 + 640
    assert count["transformer"] == 3 * (attention + feedforward + 4 * 640) + 2 * 640
    assert built.network.length == 3


def test_wrong_actions_are_named() -> None:
    with pytest.raises(UserError, match=r"model.actions must be some of rotation, color, not \['light'\]"):
        paper(actions=("light",))
    with pytest.raises(UserError, match="model.heads must divide 24"):
        paper(2, heads=5)
    with pytest.raises(UserError, match="model.augmentations must be some of crop, jitter, blur"):
        paper(augmentations=())


def test_on_single_images_it_acts_by_the_augmentation() -> None:
    """Its views come with what was done, chosen by itself; another augmentation does not tell."""
    overrides = ["model=seq_jepa", "data=cifar10", *(f"model.{key}={value}" for key, value in SeqJEPA.tiny.items())]
    config = complete(resolved(*compose_config(overrides)))
    assert config["choices"]["augment"] == "known"
    built = build_paper(config, build_data(config).spec).eval()
    batch = synthetic_batch(built.spec, 5)
    assert set(built.predict(batch)) == {"all", "invariant", "equivariant"}
    seen = built.augment(batch)
    first = built(seen)["predicted"]
    for name in ("crop", "jitter", "blur"):
        changed = seen.clone()
        changed[name] = seen[name].flip(0)
        assert float((built(changed)["predicted"] - first).detach().norm()) > 1e-4
    built.augment = nn.Identity()
    with pytest.raises(UserError, match="acts by crop, jitter, blur, which no augmentation tells: use augment=known"):
        built.training_step(batch, 0)
