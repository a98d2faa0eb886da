"""What makes TFN TFN: its convolution against a sum written out, and what its products can tell apart."""

from pathlib import Path

import numpy as np
import pytest
import torch
from synthetic import randomize, synthetic_batch
from torch import Tensor

from erlangen.datamodules.gwl import GWL
from erlangen.datamodules.tetris import CHIRAL, Tetris
from erlangen.errors import UserError
from erlangen.geometry.clebsch_gordan import clebsch_gordan
from erlangen.geometry.gaunt import gaunt
from erlangen.geometry.spherical_harmonics import spherical_harmonics
from erlangen.kernels import Kernels
from erlangen.kernels.cg_product import paths
from erlangen.models.atoms.tensor_field_network import TFN, Interaction
from erlangen.tasks.spec import Field, Spec, Target
from erlangen.tasks.symmetry import cast, symmetry_error

CHOICE = Kernels("reference")
OPTIONS = {
    "product": "cg",
    "layers": 3,
    "channels": 8,
    "lmax": 1,
    "radial": 8,
    "hidden": 16,
    "cutoff": 10.0,
    "max_neighbors": 32,
}


def tfn(spec: Spec, **options) -> TFN:
    torch.manual_seed(0)
    return TFN(spec, CHOICE, **OPTIONS | options)


def tetris(modality: str = "points") -> Tetris:
    return Tetris(Path("unused"), 1, modality, test_turns=10, batch_size=8, eval_batch_size=80)


@pytest.mark.parametrize("product", ["cg", "gaunt"])
def test_the_convolution_is_its_sum(product: str) -> None:
    """Edge by edge, path by path: sum_b R(r_ab) C (V_b, Y(r_ab)), and w1 w2 w3 G in the place of C R for Gaunt."""
    channels, lmax1, lmax2, lmax3 = 2, 1, 2, 2
    layer = Interaction(CHOICE, product, channels, lmax1, lmax2, lmax3, 4, 5).double()
    randomize(layer)
    h = torch.randn(3, 4, channels, dtype=torch.float64)
    edge_index = torch.tensor([[1, 2, 0], [0, 0, 2]])
    vector, radial = torch.randn(3, 3, dtype=torch.float64), torch.randn(3, 4, dtype=torch.float64)
    envelope, harmonics = torch.rand(3, dtype=torch.float64), spherical_harmonics(vector, lmax2)
    weight = layer.radial(radial).unflatten(1, (-1, channels)) * envelope[:, None, None]
    every = paths(lmax1, lmax2, lmax3, odd=True)
    received = torch.zeros(3, 9, channels, dtype=torch.float64)
    for edge, (source, destination) in enumerate(edge_index.T.tolist()):
        for place, (l1, l2, l3) in enumerate(every):
            if product == "cg":
                count = sum(path[2] == l3 for path in every)
                coupling, own = clebsch_gordan(l1, l2, l3) / count**0.5, weight[edge, place]
            else:
                coupling = gaunt(l1, l2, l3)
                own = weight[edge, l1] * weight[edge, lmax1 + 1 + l2] * weight[edge, lmax1 + lmax2 + 2 + l3]
            pieces = (h[source, l1**2 : (l1 + 1) ** 2], harmonics[edge, l2**2 : (l2 + 1) ** 2])
            received[destination, l3**2 : (l3 + 1) ** 2] += own * torch.einsum("au,b,abc->cu", *pieces, coupling)
    mixed = layer.others(received)
    mixed[:, :4] += layer.own(h)
    torch.testing.assert_close(layer(h, harmonics, radial, envelope, edge_index), layer.nonlinearity(mixed))


def logits_of(paper: TFN, data: Tetris, split: str) -> Tensor:
    dataset = data.splits[split]
    batch = cast(dataset[np.arange(len(dataset))], data.spec, next(paper.parameters()).dtype)
    return paper(batch)["label"]


@pytest.mark.parametrize("modality", ["points", "graphs"])
@pytest.mark.parametrize("lmax", [1, 2])
def test_only_antisymmetric_couplings_tell_left_from_right(modality: str, lmax: int) -> None:
    """Random weights: to the Gaunt product mirror images are one shape, to the Clebsch-Gordan product they are two."""
    data = tetris(modality)
    for product in ("cg", "gaunt"):
        paper = tfn(data.spec, product=product, lmax=lmax).double()
        randomize(paper)
        logits = logits_of(paper, data, "train").detach()
        spread = (logits - logits.mean(0)).abs().max()
        difference = (logits[CHIRAL[0]] - logits[CHIRAL[1]]).abs().max() / spread
        assert (difference > 1e-4) if product == "cg" else (difference < 1e-12), (product, difference)


def test_left_from_right_takes_three_layers() -> None:
    """A triple product needs three vectors: with two layers even the Clebsch-Gordan product has no pseudoscalar."""
    data = tetris()
    paper = tfn(data.spec, layers=2).double()
    randomize(paper)
    logits = logits_of(paper, data, "train").detach()
    torch.testing.assert_close(logits[CHIRAL[0]], logits[CHIRAL[1]], atol=1e-12, rtol=1e-10)


@pytest.mark.parametrize(("product", "accuracy", "chiral"), [("cg", 100.0, 100.0), ("gaunt", 87.5, 50.0)])
def test_tetris_is_learned_from_one_orientation(product: str, accuracy: float, chiral: float) -> None:
    data = tetris()
    paper, task = tfn(data.spec, product=product, channels=16), data.task
    optimizer = torch.optim.Adam(paper.parameters(), lr=1e-2)
    label = data.splits["train"][np.arange(8)].label
    for _ in range(120):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(logits_of(paper, data, "train"), label).backward()
        optimizer.step()
    with torch.no_grad():
        test = data.splits["test"][np.arange(80)]
        task.update("test", {"label": paper.eval()(test)["label"]}, test)
    found = task.compute("test")
    assert found["acc_chiral"] == chiral
    assert found["acc"] == pytest.approx(accuracy, abs=0 if product == "cg" else 1e-9)


def test_reflections_are_promised_and_kept_with_the_gaunt_product_only(generator: torch.Generator) -> None:
    spec = tetris().spec
    batch = cast(synthetic_batch(spec, 4), spec, torch.float64)
    for product in ("cg", "gaunt"):
        paper = tfn(spec, product=product).double()
        randomize(paper)
        promised = "reflection" in {symmetry.element for symmetry in paper.symmetries}
        error = symmetry_error(paper, batch, spec, "reflection", generator)["label"]
        assert promised == (product == "gaunt")
        assert error < 1e-8 if promised else error > 1e-4


def test_a_label_without_a_representation_is_read_from_all_degrees() -> None:
    """GWL's spokes differ by a turn: only a readout that is not invariant sees it, from lmax = fold on."""
    options = {"structures": "spokes", "k": 4, "fold": 2, "batch_size": 1, "eval_batch_size": 2}
    data = GWL(Path("unused"), 1, **options)
    for lmax, apart in ((1, False), (2, True)):
        paper = tfn(data.spec, lmax=lmax).double()
        randomize(paper)
        batch = cast(data.splits["train"][np.arange(2)], data.spec, torch.float64)
        first, second = paper(batch)["structure"].detach()
        assert ((first - second).abs().max() > 1e-6) == apart


def three_classes(modality: str) -> Spec:
    edges = {"edge_index": Field(level="edge", shape=(2,))} if modality == "graphs" else {}
    return Spec(
        benchmark="classes",
        modality=modality,
        split="synthetic",
        source="miniature",
        fields={"pos": Field(irreps="1o", translates=True), **edges},
        targets=(Target(name="shape", classes=3),),
    )


def test_edges_of_a_benchmark_count_at_any_length() -> None:
    spec = three_classes("graphs")
    paper = tfn(spec, cutoff=2.0)
    randomize(paper)
    batch = synthetic_batch(spec, 1)
    batch.pos = 50 * batch.pos
    joined = paper(batch)["shape"]
    batch.edge_index = batch.edge_index[:, :0]
    assert not torch.allclose(paper(batch)["shape"], joined)


def test_points_beyond_the_cutoff_are_alone() -> None:
    spec = three_classes("points")
    paper = tfn(spec, cutoff=2.0)
    randomize(paper)
    batch = synthetic_batch(spec, 1)
    near, pos = paper(batch)["shape"], 1e4 * batch.pos
    far = []
    for batch.pos in (pos, 2 * pos):
        far.append(paper(batch)["shape"])
    assert torch.equal(*far)
    assert not torch.allclose(near, far[0])


def test_points_in_one_place_have_finite_gradients() -> None:
    spec = three_classes("points")
    paper = tfn(spec)
    randomize(paper)
    batch = synthetic_batch(spec, 2)
    batch.pos = torch.zeros_like(batch.pos).requires_grad_()
    paper(batch)["shape"].square().sum().backward()
    assert batch.pos.grad.isfinite().all()
    assert all(parameter.grad.isfinite().all() for parameter in paper.parameters())


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"product": "tensor"}, "model.product"),
        ({"layers": 0}, "model.layers"),
        ({"channels": 0}, "model.channels"),
        ({"lmax": -1}, "model.lmax"),
        ({"max_neighbors": 0}, "model.max_neighbors"),
        ({"cutoff": 0.0}, "GaussianBasis|cutoff"),
        ({"radial": 1}, "GaussianBasis"),
    ],
)
def test_mistakes_are_named(options: dict, words: str) -> None:
    with pytest.raises(UserError, match=words):
        tfn(tetris().spec, **options)
