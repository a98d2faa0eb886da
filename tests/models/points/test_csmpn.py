"""What makes CSMPN (arXiv:2402.10011) that paper."""

import pytest
import torch
from synthetic import randomize, synthetic_batch

from erlangen.errors import UserError
from erlangen.kernels import Kernels
from erlangen.models.points.csmpn import CSMPN
from erlangen.runs.pairing import default_data
from erlangen.tasks.spec import Spec
from erlangen.tasks.symmetry import cast, symmetry_error

CHOICE = Kernels("reference")
OPTIONS = {"lift": "hull", "radius": 2.0, "dimension": 2, "layers": 2, "channels": 3}
HULLS, NBODY = default_data("hulls").spec, default_data("nbody").spec


def csmpn(spec: Spec, **options) -> CSMPN:
    paper = CSMPN(spec, CHOICE, **OPTIONS | options).double().eval()
    randomize(paper)
    return paper


@pytest.mark.parametrize("element", ["rotation", "reflection", "translation", "permutation"])
@pytest.mark.parametrize(
    ("spec", "lift"), [(HULLS, "hull"), (NBODY, "rips"), (NBODY, "hull")], ids=["hulls", "rips", "nbody-hull"]
)
def test_it_commutes_with_motions_to_rounding(spec: Spec, lift: str, element: str, generator: torch.Generator) -> None:
    paper = csmpn(spec, lift=lift)
    batch = cast(synthetic_batch(spec, 4), spec, torch.float64)
    errors = symmetry_error(paper, batch, spec, element, generator)
    assert max(errors.values()) < 1e-10, errors


def test_simplices_of_every_dimension_change_the_answer() -> None:
    """The same weights without edges or triangles, which a graph network is, say something else."""
    batch = cast(synthetic_batch(HULLS, 3), HULLS, torch.float64)
    whole, found = csmpn(HULLS), []
    for dimension in (0, 1, 2):
        part = csmpn(HULLS, dimension=dimension)
        own = part.state_dict()
        for name, value in whole.state_dict().items():
            if name in own and own[name].shape == value.shape:
                own[name] = value
        part.load_state_dict(own)
        found.append(part(batch)["volume"])
    assert not torch.allclose(found[0], found[1])
    assert not torch.allclose(found[1], found[2])


def test_a_vertex_alone_is_embedded_linearly_and_an_edge_in_both_orders(generator: torch.Generator) -> None:
    network = csmpn(HULLS).network
    x = torch.randn(32, 6, 1, generator=generator, dtype=torch.float64)
    vertex, edge = network.embeddings[0], network.embeddings[1]
    nodes = torch.arange(6)[:, None]
    bias = vertex(torch.zeros_like(x), nodes)
    torch.testing.assert_close(vertex(2 * x, nodes) - bias, 2 * (vertex(x, nodes) - bias))
    there, back = torch.tensor([[0, 1]]), torch.tensor([[1, 0]])
    torch.testing.assert_close(edge(x, there), edge(x, back))
    one_order = edge.network(x[:, [0, 1]].flatten(1)[:, None])
    assert not torch.allclose(one_order * 2, edge(x, there))


def test_the_published_size() -> None:
    """The authors' program has 254,325 parameters in use; here a vertex has a matrix for each of 6 grades, there one."""
    with torch.device("meta"):
        paper = CSMPN(HULLS, CHOICE, "hull", 1.0, 2, 3, 28)
    assert sum(parameter.numel() for parameter in paper.parameters()) == 254_325 + 5 * 28


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"lift": "alpha"}, "model.lift"),
        ({"radius": 0.0}, "model.radius"),
        ({"dimension": 3}, "model.dimension"),
        ({"channels": 0}, "model.channels"),
    ],
)
def test_mistakes_are_named(options: dict, words: str) -> None:
    with pytest.raises(UserError, match=words):
        CSMPN(HULLS, CHOICE, **OPTIONS | options)


def test_coincident_particles_and_a_single_one_are_fine() -> None:
    batch = cast(synthetic_batch(NBODY, 3), NBODY, torch.float64)
    batch.pos[:5] = 1.0
    assert csmpn(NBODY, lift="rips")(batch)["position"].isfinite().all()
    alone = batch.clone()
    for name in ("pos", "vel", "charge", "batch", "position"):
        alone[name] = batch[name][:1]
    alone.ptr, alone._num_graphs = torch.tensor([0, 1]), 1
    assert csmpn(NBODY, lift="rips")(alone)["position"].isfinite().all()
