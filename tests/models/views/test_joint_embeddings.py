"""What makes each self-supervised paper that paper: identities between them, published sizes, predictions by rotation."""

import dataclasses

import pytest
import torch
from synthetic import synthetic_batch

from erlangen.errors import UserError
from erlangen.models.views.self_supervised import JointEmbedding
from erlangen.models.views.sie import SIE, Hypernetwork
from erlangen.models.views.vicreg import VICReg
from erlangen.nn.ssl_losses import variance
from erlangen.runs.assemble import build_paper
from erlangen.runs.config import compose_config, resolved
from erlangen.runs.pairing import default_data
from erlangen.tasks.poses import relative_rotation
from erlangen.tasks.spec import Spec

SIZES = {"blocks": [1, 1], "channels": 8, "projector": [24, 16]}
WEIGHTS = {"sim": 10.0, "std": 10.0, "cov": 1.0}
NONE = {"sim": 0.0, "std": 0.0, "cov": 0.0, "equi_factor": 0.0}


@pytest.fixture(scope="module")
def spec() -> Spec:
    return default_data("3diebench").spec


def test_sie_without_an_equivariant_part_is_vicreg(spec: Spec) -> None:
    """The same loss and the same gradients from the same weights."""
    sie = SIE(spec, **SIZES, equivariant=0, **WEIGHTS, equi_factor=0.45)
    vicreg = VICReg(spec, **SIZES, **WEIGHTS)
    vicreg.load_state_dict(sie.state_dict())
    batch = synthetic_batch(spec, 6)
    losses = [paper.loss(batch) for paper in (sie, vicreg)]
    assert losses[0] > 0
    torch.testing.assert_close(losses[0], losses[1], rtol=1e-6, atol=0)
    for loss in losses:
        loss.backward()
    for name, parameter in sie.named_parameters():
        torch.testing.assert_close(parameter.grad, dict(vicreg.named_parameters())[name].grad, rtol=1e-5, atol=1e-6)


def test_sie_is_the_sum_of_its_terms(spec: Spec) -> None:
    """Each weight alone, against the terms written out from the embeddings."""
    batch = synthetic_batch(spec, 6)

    def paper(**weights: float) -> SIE:
        torch.manual_seed(0)
        return SIE(spec, **SIZES, equivariant=8, **{**NONE, **weights}).double()

    for name in ("images", "latents", "rotation"):
        batch[name] = batch[name].double()
    outputs = paper()(batch)
    a, b = outputs["invariant"].unbind(1)
    c, d = outputs["equivariant"].unbind(1)
    sie = paper()
    matrices = torch.einsum("nk,koi->noi", batch.rotation[:, 0], sie.predictor.matrices)
    predicted = (matrices @ c[..., None]).squeeze(-1)
    kept, moved = (a - b).square().mean(), (predicted - d).square().mean()
    torch.testing.assert_close(paper(sim=2.0, equi_factor=3.0).loss(batch), 2 * kept + 6 * moved)
    first, second = torch.cat([a, c], -1), torch.cat([b, d], -1)
    expected = (variance(first) + variance(second) + variance(predicted)) / 2
    torch.testing.assert_close(paper(std=4.0).loss(batch), 4 * expected)
    joint = [torch.cov(z.mT, correction=1) for z in (first, second)]
    off = sum((m.square().sum() - m.diagonal().square().sum()) / len(m) for m in joint)
    torch.testing.assert_close(paper(cov=1.0).loss(batch), off)


def test_the_hypernetwork_is_linear_in_the_quaternion(generator: torch.Generator) -> None:
    net = Hypernetwork(6).double()
    z, g, h = (torch.randn(5, size, generator=generator, dtype=torch.float64) for size in (6, 4, 4))
    torch.testing.assert_close(net(z, 2 * g + h), 2 * net(z, g) + net(z, h))
    torch.testing.assert_close(net(z, -g), -net(z, g))  # q and -q are one rotation and two inputs
    identity = torch.tensor([1.0, 0, 0, 0], dtype=torch.float64).expand(5, 4)
    torch.testing.assert_close(net(z, identity), z @ net.matrices[0].mT)


def test_a_hypernetwork_can_learn_the_rotations_of_vectors(generator: torch.Generator) -> None:
    """z -> q z, the left multiplication of quaternions, is linear in q: it is among what SIE's predictor can be."""
    from erlangen.tasks.poses import quaternion_product

    net = Hypernetwork(4).double()
    with torch.no_grad():
        for k in range(4):
            unit = torch.eye(4, dtype=torch.float64)[k].expand(4, 4)
            net.matrices[k] = quaternion_product(unit, torch.eye(4, dtype=torch.float64)).mT
    q, z = (torch.randn(7, 4, generator=generator, dtype=torch.float64) for _ in range(2))
    torch.testing.assert_close(net(z, q), quaternion_product(q, z))


def test_predictions_start_at_the_first_view(spec: Spec) -> None:
    """What is retrieved with: act(embedding of view 0, rotation from view 0 to view v), for every v."""
    paper = SIE(spec, **SIZES, equivariant=8, **WEIGHTS, equi_factor=0.45).eval()
    batch = synthetic_batch(spec, 3)
    outputs = paper.predict(batch)
    source = outputs["embedded_equivariant"][:, 0]
    for view in range(2):
        turn = relative_rotation(batch.latents[:, 0], batch.latents[:, view])
        torch.testing.assert_close(outputs["predicted_equivariant"][:, view], paper.act(source, turn))
    parts = paper.represent(batch)
    torch.testing.assert_close(torch.cat([parts["invariant"], parts["equivariant"]], -1), parts["all"])
    assert [parts[name].shape[-1] for name in ("all", "invariant", "equivariant")] == [16, 8, 8]


def test_the_recipe_has_the_published_sizes() -> None:
    """ResNet-18's 11,176,512 parameters, two projectors of half of 2048-2048-2048, and a predictor of 4 x 1024 x 1024."""
    config = resolved(*compose_config(["experiment=sie_3diebench", "data.source=miniature"]))
    spec = dataclasses.replace(default_data("3diebench").spec, fields=default_data("3diebench").spec.fields)
    with torch.device("meta"):
        paper = build_paper(config, spec)
    count = {name: sum(p.numel() for p in module.parameters()) for name, module in paper.network.named_children()}
    assert count["backbone"] == 11_176_512
    assert paper.network.feature_channels == 512
    assert paper.network.split == 256
    half = 256 * 1024 + 2 * 1024 + 1024 * 1024 + 2 * 1024 + 1024 * 1024
    assert count["invariant"] == count["equivariant"] == half
    assert paper.predictor.matrices.numel() == 4 * 1024**2


def test_wrong_sizes_are_named(spec: Spec) -> None:
    with pytest.raises(UserError, match="model.equivariant must lie between 0 and 15"):
        JointEmbedding(spec, [1, 1], 8, [16], equivariant=16)
    with pytest.raises(UserError, match="use data.views=2"):
        VICReg(spec, **SIZES, **WEIGHTS).loss(synthetic_batch(default_views(3)))


def default_views(views: int) -> Spec:
    config = resolved(*compose_config(["data=3diebench", f"data.views={views}", "data.source=miniature"]))
    from erlangen.runs.assemble import build_data

    return build_data(config).spec
