"""Heads: what each of them promises of its directions or subspaces, and that any backbone takes them."""

import math

import pytest
import torch
from torch.nn.functional import normalize

from erlangen.errors import UserError
from erlangen.models.heads.cosine import Cosine
from erlangen.models.heads.ebv import EquiangularBasisVectors, equiangular_basis
from erlangen.models.heads.gcr import Grassmann
from erlangen.optim.joint import Joint
from erlangen.optim.riemannian import GrassmannSGD
from erlangen.runs.assemble import build_paper
from erlangen.runs.config import available, compose_config, resolved
from erlangen.tasks.batch import TensorBatch
from erlangen.tasks.spec import Field, Spec, Target


def cosines(basis: torch.Tensor) -> torch.Tensor:
    """Between any two different vectors."""
    rows, columns = torch.triu_indices(len(basis), len(basis), 1)
    return (basis @ basis.T)[rows, columns]


def spec(classes: int = 10) -> Spec:
    return Spec(
        benchmark="pictures",
        modality="images",
        split="all",
        source="miniature",
        fields={"image": Field(level="graph", shape=(1, 8, 8))},
        targets=(Target(name="label", classes=classes),),
    )


@pytest.mark.parametrize(("count", "dim", "alpha"), [(100, 20, 0.34), (100, 64, 0.14), (40, 40, 0.0), (10, 128, 0.05)])
def test_basis_vectors_are_unit_vectors_within_alpha(count: int, dim: int, alpha: float) -> None:
    basis = equiangular_basis(count, dim, alpha)
    torch.testing.assert_close(basis.norm(dim=-1), torch.ones(count))
    assert cosines(basis).abs().max() <= alpha + 1.1e-4
    assert torch.equal(basis, equiangular_basis(count, dim, alpha))


@pytest.mark.parametrize("dim", [9, 10, 128])
def test_with_room_for_it_the_basis_is_a_simplex(dim: int) -> None:
    """All angles equal, with the cosine -1 / (N - 1): the equiangular tight frame."""
    basis = equiangular_basis(10, dim, 0.12)
    torch.testing.assert_close(cosines(basis), torch.full((45,), -1 / 9))
    assert basis.sum(0).abs().max() < 1e-5


def test_six_vectors_in_space_find_the_diagonals_of_the_icosahedron() -> None:
    """The largest set of equiangular lines in three dimensions, |cos| = 1 / sqrt(5), is the only one that is so wide."""
    found = cosines(equiangular_basis(6, 3, 1 / math.sqrt(5)))
    torch.testing.assert_close(found.abs(), torch.full((15,), 1 / math.sqrt(5)), atol=2e-3, rtol=0)


def test_an_impossible_basis_is_refused() -> None:
    with pytest.raises(UserError, match=r"head.alpha=0.1: of 100 vectors in head.dim=20.*0.2010 or more"):
        equiangular_basis(100, 20, 0.1)
    with pytest.raises(UserError, match=r"came only to 0\.\d+; use a larger head.alpha or head.dim"):
        equiangular_basis(30, 5, 0.43)


def test_a_feature_on_a_basis_vector_has_its_class() -> None:
    head = EquiangularBasisVectors(channels=9, classes=10, dim=9, alpha=0.12, temperature=0.07)
    torch.nn.init.eye_(head.embedding.weight)
    torch.nn.init.zeros_(head.embedding.bias)
    logits = head(3 * head.basis)
    torch.testing.assert_close(logits.diagonal(), torch.full((10,), 1 / 0.07))
    torch.testing.assert_close(logits[0, 1:], torch.full((9,), -1 / 9 / 0.07))
    assert [name for name, _ in head.named_parameters()] == ["embedding.weight", "embedding.bias"]
    assert "basis" in head.state_dict()


def grassmann(channels: int = 7, classes: int = 4, dim: int = 3) -> Grassmann:
    return Grassmann(channels, classes, dim, gamma=25.0, lr=0.1, momentum=0.9).double()


def orthonormalised(head: Grassmann) -> Grassmann:
    """Drawn in single precision, made orthonormal in double."""
    with torch.no_grad():
        head.subspaces.copy_(torch.linalg.qr(head.subspaces).Q)
    return head


def test_a_subspace_of_one_dimension_is_a_cosine() -> None:
    head, cosine = orthonormalised(grassmann(dim=1)), Cosine(7, 4, scale=25.0).double()
    with torch.no_grad():
        cosine.weight.copy_(3 * head.subspaces[..., 0])
    x = torch.randn(20, 7, dtype=torch.float64)
    torch.testing.assert_close(head(x), cosine(x).abs())
    # on the side of its class, the softmax is the cosine softmax
    side = x * (cosine(x).sum(-1, keepdim=True)).sign()
    same = (cosine(side) >= 0).all(-1)
    assert same.any()
    torch.testing.assert_close(head(side)[same].softmax(-1), cosine(side)[same].softmax(-1))


def test_logits_are_lengths_of_projections() -> None:
    """gamma |P x| / |x| with the projector P = S S^T, whatever the basis of the subspace and the length of x."""
    head = orthonormalised(grassmann())
    x = torch.randn(6, 7, dtype=torch.float64)
    projector = head.subspaces @ head.subspaces.mT
    expected = 25 * torch.einsum("cmn,bn->bcm", projector, normalize(x, dim=-1)).norm(dim=-1)
    before = head(x)
    torch.testing.assert_close(before, expected)
    torch.testing.assert_close(head(5 * x), before)
    with torch.no_grad():
        head.subspaces.copy_(head.subspaces @ torch.linalg.qr(torch.randn(4, 3, 3, dtype=torch.float64)).Q)
    torch.testing.assert_close(head(x), before)


def test_a_subspace_needs_room() -> None:
    with pytest.raises(UserError, match="head.dim=8: subspaces of features with 7 channels have 1 to 7 dimensions"):
        grassmann(dim=8)


@pytest.mark.parametrize("name", available("head"))
@pytest.mark.parametrize("model", ["resnet", "mlp"])
def test_any_backbone_takes_any_head_and_learns(name: str, model: str) -> None:
    overrides = [f"model={model}", "data=digits", f"head={name}", "optimizer=adam"]
    overrides += ["model.blocks=[1,1]"] if model == "resnet" else ["model.hidden=[32]"]
    paper = build_paper(resolved(*compose_config(overrides)), spec())
    optimizer = paper.recipe.optimizer(paper.param_groups())
    images, label = torch.rand(20, 1, 8, 8), torch.arange(20) % 10
    batch = TensorBatch(image=images, label=label, id=torch.arange(20))
    losses = []
    for _ in range(25):
        logits = paper.train()(batch)["label"]
        assert logits.shape == (20, 10)
        loss = torch.nn.functional.cross_entropy(logits, label)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]
    own = [part for part in getattr(optimizer, "parts", []) if isinstance(part, GrassmannSGD)]
    assert len(own) == (name == "gcr")
    trained = [p for group in optimizer.param_groups for p in group["params"]]
    assert {id(p) for p in trained} == {id(p) for p in paper.parameters()}
    assert len(trained) == len(list(paper.parameters()))
    if name == "gcr":
        assert isinstance(optimizer, Joint)
        s = paper.network.head.subspaces
        torch.testing.assert_close(s.mT @ s, torch.eye(8).expand(10, 8, 8), atol=1e-5, rtol=0)
