"""What makes PONITA (arXiv:2310.02970) that paper."""

import math

import torch
from synthetic import randomize, synthetic_batch

from erlangen.geometry.orientations import spread_directions
from erlangen.geometry.rotations import random_orthogonal, random_rotations
from erlangen.kernels import Kernels
from erlangen.models.atoms.ponita import Convolution, Kernel, Ponita, spatial_invariants
from erlangen.runs.pairing import default_data
from erlangen.tasks.symmetry import Motion, act, cast, symmetry_error

NBODY, QM9 = default_data("nbody").spec, default_data("qm9").spec


def ponita(spec, **options) -> Ponita:
    sizes = {"layers": 2, "channels": 16, "orientations": 12, "basis": 16, "degree": 3, "widening": 2}
    flags = {"layer_scale": None, "multiple_readouts": True, "random_grids": False}
    return Ponita(spec, Kernels("reference"), **{**sizes, **flags, **options})


def test_published_size() -> None:
    """5 layers of 128 channels on N-body: the parameters of the authors' network, counted layer by layer."""
    c, b, w = 128, 256, 4
    spatial, fibre = (2 + 4 + 8) * c + c + c * b + b, 3 * c + c + c * b + b
    block = 2 * b * c + c + 2 * c + (c * w * c + w * c) + (w * c * c + c) + c  # convolution, norm, perceptron, scale
    readout = c + 1
    expected = spatial + fibre + 2 * c + 5 * (block + readout)
    sizes = {"layers": 5, "channels": c, "orientations": 16, "basis": b, "widening": w, "layer_scale": 1e-6}
    assert sum(p.numel() for p in ponita(NBODY, **sizes).parameters()) == expected == 1_058_181


def test_invariants_identify_pairs_up_to_motions(generator: torch.Generator) -> None:
    """Motions leave them alone, and they determine the distance: along^2 + across^2 = |x_j - x_i|^2."""
    pos = torch.randn(6, 3, generator=generator, dtype=torch.float64)
    o = spread_directions(5).expand(6, -1, -1)
    edges = torch.tensor([[0, 1, 2, 5], [1, 0, 4, 5]])
    along, across = spatial_invariants(pos, o, edges)
    turn = random_orthogonal(generator=generator)
    again = spatial_invariants(pos @ turn.mT + 3, o @ turn.mT, edges)
    torch.testing.assert_close((along, across), again)
    distance = (pos[edges[0]] - pos[edges[1]]).norm(dim=-1)[:, None].expand_as(along)
    torch.testing.assert_close((along.square() + across.square()).sqrt(), distance)


def test_convolution_is_the_papers_double_sum(generator: torch.Generator) -> None:
    """f'(x_i, o) = sum_j sum_o' k2(o, o') k1(x_j - x_i, o') f(x_j, o') / |O| + bias, j = i included, as loops."""
    nodes, count, channels, basis = 4, 3, 5, 6
    layer = Convolution(Kernels("reference"), channels, basis).double()
    pairs = [(j, i) for i in range(nodes) for j in range(nodes) if i != j]
    draw = {"generator": generator, "dtype": torch.float64}
    kernel = Kernel(
        torch.tensor(pairs).T,
        torch.randn(len(pairs), count, basis, **draw),
        torch.randn(1, basis, **draw),
        torch.randn(count, count, basis, **draw),
    )
    f = torch.randn(nodes, count, channels, **draw)
    found = layer(f, kernel)
    for i in range(nodes):
        spatial = torch.zeros(count, channels, dtype=torch.float64)
        for o in range(count):
            spatial[o] = layer.spatial(kernel.itself[0]) * f[i, o]
            for edge, (j, to) in enumerate(pairs):
                if to == i:
                    spatial[o] += layer.spatial(kernel.edges[edge, o]) * f[j, o]
        for p in range(count):
            mixed = sum(layer.fibre(kernel.fibre[o, p]) * spatial[o] for o in range(count)) / count
            torch.testing.assert_close(found[i, p], mixed + layer.bias)


def icosahedral_turn(generator: torch.Generator) -> torch.Tensor:
    """The rotation that takes two neighbouring corners of the grid to two others."""
    points = spread_directions(12)
    neighbours = ((points @ points.T - 1 / math.sqrt(5)).abs() < 1e-6).nonzero()
    first, second = neighbours[torch.randperm(len(neighbours), generator=generator)[:2]]

    def frame(i, j):
        return torch.stack([points[i], points[j], torch.linalg.cross(points[i], points[j])], -1)

    return frame(*second) @ frame(*first).inverse()


def test_rotations_that_map_the_grid_to_itself_are_exact(generator: torch.Generator) -> None:
    """Twelve orientations are an icosahedron: its turns are symmetries to rounding, others to the grid's fineness."""
    paper = ponita(NBODY).double().eval()
    randomize(paper)
    batch = cast(synthetic_batch(NBODY, 8), NBODY, torch.float64)
    before = paper(batch)["position"] - batch.pos
    zero = torch.zeros(3, dtype=torch.float64)
    errors = {}
    for name, turn in (("icosahedral", icosahedral_turn(generator)), ("any", random_rotations(generator=generator))):
        torch.testing.assert_close(turn @ turn.mT, torch.eye(3, dtype=torch.float64))
        moved = act(batch, Motion(turn, zero), NBODY)
        after = paper(moved)["position"] - moved.pos
        errors[name] = ((after - before @ turn.mT).abs().max() / before.abs().max()).item()
    assert errors["icosahedral"] < 1e-7 < 1e-4 < errors["any"], errors  # the grid itself is known to 1e-9


def test_more_orientations_mean_a_smaller_error() -> None:
    """The approximate symmetry under rotations has a curve: from 4 to 64 orientations it falls by more than 5."""
    errors = []
    for count in (4, 16, 64):
        worst = []
        for seed in range(3):
            torch.manual_seed(seed)
            paper = ponita(QM9, orientations=count).double().eval()
            randomize(paper, seed)
            batch = cast(synthetic_batch(QM9, 16), QM9, torch.float64)
            worst.append(symmetry_error(paper, batch, QM9, "rotation", torch.Generator().manual_seed(seed))["gap"])
        errors.append(sum(worst) / len(worst))
    assert errors[0] > 2 * errors[1] > 3 * errors[2], errors


def test_calibration_keeps_the_spread_of_a_convolution() -> None:
    paper = ponita(NBODY)
    batch = synthetic_batch(NBODY, 8)
    paper.fit_closed_form(lambda: [batch])
    f, kernel, _ = paper.network.lifted(batch)
    for block in paper.network.blocks:
        torch.testing.assert_close((block.convolution(f, kernel) - block.convolution.bias).std(), f.std())
        f = block(f, kernel)


def test_training_turns_every_samples_grid_and_evaluation_none(generator: torch.Generator) -> None:
    paper = ponita(NBODY, random_grids=True)
    like = torch.zeros(1)
    grids = paper.network.grid.train()(4, like)
    cosines = paper.network.grid.cosines(like)
    assert (grids[0] - grids[1]).abs().max() > 0.1
    torch.testing.assert_close(grids @ grids.mT, cosines.expand(4, -1, -1))
    assert torch.equal(paper.network.grid.eval()(4, like)[2], spread_directions(12).float())


def test_coincident_and_single_particles_are_defined() -> None:
    paper = ponita(NBODY)
    batch = synthetic_batch(NBODY, 2)
    batch.pos[:] = 1.0
    batch.pos.requires_grad_()
    position = paper(batch)["position"]
    (gradient,) = torch.autograd.grad(position.square().sum(), batch.pos)
    assert position.isfinite().all()
    assert gradient.isfinite().all()
    alone = synthetic_batch(NBODY, 1)
    for name in ("pos", "vel", "charge", "batch"):
        alone[name] = alone[name][:1]
    alone.ptr = torch.tensor([0, 1])
    assert paper(alone)["position"].isfinite().all()
