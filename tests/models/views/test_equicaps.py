"""What makes EquiCaps that paper: shared-out capsules, poses that turn with the object, and the losses of both."""

import math

import pytest
import torch
from synthetic import synthetic_batch

from erlangen.errors import UserError
from erlangen.geometry.rotations import quaternion_to_matrix
from erlangen.models.views.equicaps import EquiCaps, SelfRouting, cross_entropy, idleness, unit_poses
from erlangen.nn.ssl_losses import covariance, variance
from erlangen.runs.assemble import build_paper
from erlangen.runs.config import compose_config, resolved
from erlangen.runs.pairing import default_data
from erlangen.tasks.poses import base_translation, euler_to_quaternion, object_translation
from erlangen.tasks.spec import Spec

SIZES = {"blocks": [1, 1], "channels": 8, "capsules": 4}
NONE = {"sim": 0.0, "equi_factor": 0.0, "std": 0.0, "cov": 0.0}


@pytest.fixture(scope="module")
def spec() -> Spec:
    return default_data("3diebench").spec


@pytest.fixture(scope="module")
def moving() -> Spec:
    return default_data("3diebench_t").spec


def paper(spec: Spec, motion: str = "rotation", **weights: float) -> EquiCaps:
    torch.manual_seed(0)
    built = EquiCaps(spec, **SIZES, motion=motion, **{**NONE, **weights}).double()
    with torch.no_grad():  # from their start, all outputs are active alike
        built.network.routing.shares.normal_()
        built.network.routing.bias.normal_()
    return built


def doubled(spec: Spec, samples: int = 6):
    batch = synthetic_batch(spec, samples)
    return batch.to(torch.float64)


@torch.no_grad()
def test_routing_shares_every_capsule_out(generator: torch.Generator) -> None:
    """Coefficients, and so activations, add up to one; poses do not depend on how active all capsules are together."""
    routing = SelfRouting(12, 5, 9).double()
    routing.shares.normal_(generator=generator)
    routing.bias.normal_(generator=generator)
    a = torch.rand(7, 12, generator=generator, dtype=torch.float64)
    u = torch.randn(7, 12, 9, generator=generator, dtype=torch.float64)
    given = routing.coefficients(u)
    assert (given > 0).all()
    torch.testing.assert_close(given.sum(-1), torch.ones_like(a))
    active, poses = routing(a, u)
    torch.testing.assert_close(active.sum(-1), torch.ones(7, dtype=torch.float64))
    assert float(active.std(-1).min()) > 1e-3
    fainter, same = routing(a / 3, u)
    torch.testing.assert_close(fainter, active)
    torch.testing.assert_close(same, poses)


@torch.no_grad()
def test_routing_by_hand(generator: torch.Generator) -> None:
    """One sample, term by term."""
    routing = SelfRouting(3, 2, 4).double()
    routing.shares.normal_(generator=generator)
    routing.bias.normal_(generator=generator)
    a = torch.rand(1, 3, generator=generator, dtype=torch.float64)
    u = torch.randn(1, 3, 4, generator=generator, dtype=torch.float64)
    active, poses = routing(a, u)
    share = [[math.exp(float(routing.shares[i, j] @ u[0, i] + routing.bias[i, j])) for j in range(2)] for i in range(3)]
    share = [[float(a[0, i]) * value / sum(row) for value in row] for i, row in enumerate(share)]
    for j in range(2):
        received = sum(share[i][j] for i in range(3))
        assert float(active[0, j]) == pytest.approx(received / float(a.sum()))
        votes = [routing.poses[i, 4 * j : 4 * j + 4] @ u[0, i] * share[i][j] / received for i in range(3)]
        torch.testing.assert_close(poses[0, j], sum(votes))


@pytest.mark.parametrize("motion", ["rotation", "object", "base"])
def test_capsules_are_a_distribution_with_unit_poses(moving: Spec, motion: str) -> None:
    built, batch = paper(moving, motion), doubled(moving)
    outputs = built(batch)
    torch.testing.assert_close(outputs["invariant"].sum(-1), torch.ones(6, 2, dtype=torch.float64))
    size = 3 if motion == "rotation" else 4
    poses = outputs["equivariant"].unflatten(-1, (4, size, size))
    torch.testing.assert_close(torch.linalg.matrix_norm(poses), torch.ones(6, 2, 4, dtype=torch.float64))
    torch.testing.assert_close(outputs["representation"], built.network.features(batch))


@pytest.mark.parametrize("motion", ["rotation", "object", "base"])
def test_motions_act_as_a_group(moving: Spec, motion: str, generator: torch.Generator) -> None:
    """act(act(z, g), h) = act(z, g h), and nothing between a view and itself."""
    built = paper(moving, motion)
    a, b, c = torch.randn(3, 5, 10, generator=generator, dtype=torch.float64)
    z = torch.randn(5, 4 * (9 if motion == "rotation" else 16), generator=generator, dtype=torch.float64)
    direct = built.act(z, built.between(a, c))
    torch.testing.assert_close(built.act(built.act(z, built.between(a, b)), built.between(b, c)), direct)
    size = 3 if motion == "rotation" else 4
    torch.testing.assert_close(built.between(a, a), torch.eye(size, dtype=torch.float64).expand(5, -1, -1))


@pytest.mark.parametrize(("motion", "moved"), [("object", object_translation), ("base", base_translation)])
def test_the_relative_motion_leads_from_one_pose_to_the_other(
    moving: Spec, motion: str, moved, generator: torch.Generator
) -> None:
    """M_1^-1 M_2 by inverting matrices: M = [R, t] in the object's frame, [R, R t] in the base's."""
    a, b = torch.randn(2, 5, 10, generator=generator, dtype=torch.float64)
    poses = []
    for latents in (a, b):
        turn = quaternion_to_matrix(euler_to_quaternion(latents[:, :3]))
        pose = torch.eye(4, dtype=torch.float64).repeat(5, 1, 1)
        pose[:, :3, :3], shift = turn, latents[:, 7:, None]
        pose[:, :3, 3:] = shift if motion == "object" else turn @ shift
        poses.append(pose)
    torch.testing.assert_close(poses[1][:, :3, 3] - poses[0][:, :3, 3], moved(a, b))
    torch.testing.assert_close(paper(moving, motion).between(a, b), torch.linalg.inv(poses[0]) @ poses[1])


def test_poses_that_turn_with_the_object_cost_nothing(spec: Spec, monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted: the pose of capsule k is A_k R(view). Any other motion costs, too."""
    built, batch = paper(spec, equi_factor=1.0), doubled(spec)
    frames = torch.randn(4, 3, 3, dtype=torch.float64)
    turns = quaternion_to_matrix(euler_to_quaternion(batch.latents[..., :3]))
    planted = {
        "invariant": torch.full((6, 2, 4), 0.25, dtype=torch.float64),
        "equivariant": unit_poses(frames @ turns[:, :, None]).flatten(2),
    }
    monkeypatch.setattr(built, "forward", lambda batch: planted)
    assert float(built.loss(batch)) == pytest.approx(0, abs=1e-12)
    batch["latents"] = batch.latents.flip(1)
    assert float(built.loss(batch)) > 1e-3


def test_the_loss_is_the_sum_of_its_terms(spec: Spec) -> None:
    """Each weight alone, against the terms written out from the embeddings; ME-MAX is always there."""
    batch = doubled(spec)
    outputs = paper(spec)(batch)
    a, b = outputs["invariant"].unbind(1)
    c, d = outputs["equivariant"].unbind(1)
    turn = paper(spec).between(batch.latents[:, 0], batch.latents[:, 1])
    predicted = (c.unflatten(-1, (4, 3, 3)) @ turn[:, None]).flatten(1)  # rotations keep the norm
    usage = [view.detach().mean(0) for view in (a, b)]
    memax = sum(float((p * p.log()).sum()) + math.log(4) for p in usage)
    assert float(paper(spec).loss(batch)) == pytest.approx(memax)
    assert float(paper(spec, sim=2.0).loss(batch)) == pytest.approx(memax - 2 * float((b * a.log()).sum(-1).mean()))
    assert float(paper(spec, equi_factor=3.0).loss(batch)) == pytest.approx(
        memax + 3 * float((predicted - d).square().mean())
    )
    first, second = torch.cat([a, predicted], -1), torch.cat([b, d], -1)
    expected = (variance(first) + variance(second)) / 2
    assert float(paper(spec, std=4.0).loss(batch)) == pytest.approx(memax + 4 * float(expected))
    assert float(paper(spec, cov=5.0).loss(batch)) == pytest.approx(
        memax + 5 * float(covariance(first) + covariance(second))
    )


def test_memax_and_cross_entropy_of_known_activations() -> None:
    even = torch.full((8, 4), 0.25)
    single = torch.eye(4)
    assert float(idleness(even)) == pytest.approx(0, abs=1e-6)
    assert float(idleness(single)) == pytest.approx(0, abs=1e-6)  # each sample another capsule: all are in use
    assert float(idleness(single[:1])) == pytest.approx(math.log(4))
    assert float(cross_entropy(even[:4], single)) == pytest.approx(math.log(4))


def test_parts_and_predictions(spec: Spec) -> None:
    """Probed are the mean of the maps, and the capsules; a view's poses are predicted from those of the first."""
    built, batch = paper(spec).eval(), doubled(spec, 3)
    outputs = built.predict(batch)
    assert [outputs[name].shape[-1] for name in ("all", "invariant", "equivariant")] == [16, 4, 36]
    torch.testing.assert_close(outputs["invariant"], 4 * outputs["embedded_invariant"])
    torch.testing.assert_close(outputs["predicted_equivariant"][:, 0], outputs["equivariant"][:, 0])
    turn = built.between(batch.latents[:, 0], batch.latents[:, 1])
    expected = built.act(outputs["equivariant"][:, 0], turn)
    torch.testing.assert_close(outputs["predicted_equivariant"][:, 1], expected)
    represented = built.represent(batch)
    for name, value in represented.items():
        torch.testing.assert_close(value, outputs[name])


def test_the_recipe_has_the_published_sizes() -> None:
    """ResNet-18, and 8 x 8 places of 32 capsules that each vote for 32 of 9 numbers."""
    config = resolved(*compose_config(["experiment=equicaps_3diebench", "data.source=miniature"]))
    from erlangen.runs.assemble import build_data

    with torch.device("meta"):
        built = build_paper(config, build_data(config).spec)
    count = {name: sum(p.numel() for p in module.parameters()) for name, module in built.network.named_children()}
    assert count["backbone"] == 11_176_512
    assert count["invariant"] == 512 * 32 * 9 + 64
    assert count["equivariant"] == 512 * 288 * 9 + 2 * 288
    assert count["routing"] == 64 * 32 * (32 * 9 * 9 + 32 * 9 + 32)


def test_wrong_motions_are_named(spec: Spec) -> None:
    with pytest.raises(UserError, match="must be one of rotation, object, base, not 'shift'"):
        paper(spec, "shift")
    with pytest.raises(UserError, match="needs translations, which 3diebench lacks: use data=3diebench_t"):
        paper(spec, "object")
