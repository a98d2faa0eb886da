"""What makes GATr (arXiv:2305.18415) that paper."""

import pytest
import torch
from synthetic import randomize, sample, synthetic_batch

from erlangen.geometry.clifford import grade_involution, reverse
from erlangen.kernels import Kernels
from erlangen.kernels.geometric_product import geometric_product
from erlangen.models.atoms.gatr import (
    COORDINATES,
    PGA,
    SIGNS,
    VOLUME,
    Block,
    EquiLinear,
    GATr,
    Tokens,
    distance_features,
    point,
    translation,
)
from erlangen.runs.pairing import default_data
from erlangen.tasks.symmetry import cast, symmetry_error

NBODY = default_data("nbody").spec


def plane(normal: torch.Tensor, offset: float) -> torch.Tensor:
    """The plane normal . x = offset as a unit vector of the algebra."""
    u = torch.zeros(16, 1, 1, dtype=torch.float64)
    u[1:5, 0, 0] = torch.cat([torch.tensor([-offset], dtype=torch.float64), normal / normal.norm()])
    return u


def sandwich(versors: list[torch.Tensor], x: torch.Tensor) -> torch.Tensor:
    """Reflections one after the other, with the grade involution of odd versors."""
    for u in versors:
        u = u.expand_as(x).contiguous()
        x = geometric_product(geometric_product(u, grade_involution(x, PGA), signature=PGA), u, signature=PGA)
    return x


def planes(count: int, generator: torch.Generator) -> list[torch.Tensor]:
    normals = torch.randn(count, 3, generator=generator, dtype=torch.float64)
    return [plane(normal, 0.5 * number) for number, normal in enumerate(normals)]


def coordinates(x: torch.Tensor) -> torch.Tensor:
    return (x[COORDINATES] * torch.tensor(SIGNS, dtype=x.dtype)[:, None] / x[VOLUME]).T


def test_planes_reflect_points(generator: torch.Generator) -> None:
    """The versor of a plane takes a point to its mirror image, with the homogeneous coordinate -1."""
    x = torch.randn(5, 3, generator=generator, dtype=torch.float64)
    normal = torch.randn(3, generator=generator, dtype=torch.float64)
    n = normal / normal.norm()
    found = sandwich([plane(normal, 0.7)], point(x)[..., None])[..., 0]
    torch.testing.assert_close(coordinates(found), x - 2 * ((x @ n) - 0.7)[:, None] * n)
    torch.testing.assert_close(found[VOLUME], -torch.ones(5, dtype=torch.float64))


def test_translators_translate_points(generator: torch.Generator) -> None:
    x, v = torch.randn(2, 5, 3, generator=generator, dtype=torch.float64)
    t = translation(v)
    moved = geometric_product(geometric_product(t, point(x), signature=PGA), reverse(t, PGA), signature=PGA)
    torch.testing.assert_close(coordinates(moved), x + v)


@pytest.mark.parametrize("reflections", [1, 2, 3, 4])
def test_the_transformer_commutes_with_the_pin_group(reflections: int, generator: torch.Generator) -> None:
    """Attention, bilinear, norms and all, to 1e-10 in float64, for even and odd versors."""
    versors = planes(reflections, generator)
    ptr = torch.tensor([0, 4, 9])
    batch = torch.repeat_interleave(ptr.diff())
    layers = [EquiLinear(2, 4, 3, 8), *(Block(Kernels("reference"), 4, 8, 2) for _ in range(3)), EquiLinear(4, 2, 8, 3)]
    network = torch.nn.ModuleList(layers).double()
    randomize(network)
    x = torch.randn(16, 9, 2, generator=generator, dtype=torch.float64)
    s = torch.randn(9, 3, generator=generator, dtype=torch.float64)

    def run(x):
        reference = x.mean(-1, keepdim=True)
        y, t = network[0](x, s)
        for block in network[1:-1]:
            y, t = block(y, t, reference, Tokens(ptr, batch))
        return network[-1](y, t)

    (y, t), (y_moved, t_moved) = run(x), run(sandwich(versors, x))
    scale = y.abs().max()
    assert ((y_moved - sandwich(versors, y)).abs().max() / y_moved.abs().max().clamp(min=scale)) < 1e-10
    assert (t_moved - t).abs().max() / t.abs().max() < 1e-10
    assert t.std() > 1e-3


def of_point(position: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The homogeneous coordinate and the others."""
    blades = point(position).T
    return blades[:, [VOLUME]], blades[:, COORDINATES]


def test_distance_features_are_squared_distances(generator: torch.Generator) -> None:
    a, b = torch.randn(2, 6, 3, generator=generator, dtype=torch.float64)
    phi, psi = distance_features(*of_point(a), *of_point(b), epsilon=0.0)
    torch.testing.assert_close((phi * psi).sum(-1), -(a - b).square().sum(-1))
    zero = torch.zeros(2, 4, dtype=torch.float64, requires_grad=True)
    phi, psi = distance_features(zero[:, :1], zero[:, 1:], zero[:, :1], zero[:, 1:])
    (gradient,) = torch.autograd.grad((phi * psi).sum(), zero)
    assert gradient.isfinite().all()


def test_attention_is_torchs_sample_by_sample(generator: torch.Generator) -> None:
    ptr = torch.tensor([0, 3, 4, 9])
    q, k = torch.randn(2, 9, 2, 7, generator=generator, dtype=torch.float64)
    v = torch.randn(9, 2, 5, generator=generator, dtype=torch.float64)
    found = Tokens(ptr, torch.repeat_interleave(ptr.diff())).attend(q, k, v)
    for start, stop in ((0, 3), (3, 4), (4, 9)):
        one = [x[start:stop].transpose(0, 1) for x in (q, k, v)]
        expected = torch.nn.functional.scaled_dot_product_attention(*one).transpose(0, 1)
        torch.testing.assert_close(found[start:stop], expected)


def test_published_size() -> None:
    """10 blocks of 16 multivectors and 128 scalars: the authors' network on N-body, counted linear map by linear map."""

    def linear(i, o, s, t):
        return 9 * i * o + o + s * o + (i * t + s * t + t if t else 0)

    c, s, heads = 16, 128, 8
    attention = linear(c, 3 * 2 * c, s, 3 * 2 * s) + heads * 2 * c // heads + linear(2 * c, c, 2 * s, s)
    perceptron = 4 * linear(c, c, s, 0) + linear(2 * c, 2 * c, s, 2 * s) + linear(2 * c, c, 2 * s, s)
    expected = linear(2, c, 2, s) + 10 * (attention + perceptron) + linear(c, 1, s, 1)
    paper = GATr(NBODY, Kernels(), blocks=10, channels=c, scalars=s, heads=heads)
    assert sum(p.numel() for p in paper.parameters()) == expected


def test_a_particle_may_stand_alone_or_with_others_in_one_place() -> None:
    paper = GATr(NBODY, Kernels("reference"), blocks=2, channels=4, scalars=8, heads=2)
    batch = synthetic_batch(NBODY, 2)
    batch.pos[:] = 1.0
    batch.pos.requires_grad_()
    position = paper(batch)["position"]
    (gradient,) = torch.autograd.grad(position.square().sum(), batch.pos)
    assert position.isfinite().all()
    assert gradient.isfinite().all()
    alone = sample(synthetic_batch(NBODY, 1), 0)
    for name in ("pos", "vel", "charge", "batch"):
        alone[name] = alone[name][:1]
    alone.ptr = torch.tensor([0, 1])
    assert paper(alone)["position"].isfinite().all()


def test_far_from_the_origin_nothing_changes(generator: torch.Generator) -> None:
    """In float32, a thousand units away, to the rounding of the positions themselves."""
    paper = GATr(NBODY, Kernels("reference"), blocks=2, channels=4, scalars=8, heads=2)
    randomize(paper)
    batch = synthetic_batch(NBODY, 6)
    near = paper(batch)["position"] - batch.pos
    batch.pos += 1000
    far = paper(batch)["position"] - batch.pos
    assert (far - near).abs().max() < 1e-3 * near.abs().max()


def test_mirror_images_are_told_apart_as_the_docstring_says(generator: torch.Generator) -> None:
    paper = GATr(NBODY, Kernels("reference"), blocks=2, channels=4, scalars=8, heads=2).double()
    randomize(paper)
    batch = cast(synthetic_batch(NBODY, 6), NBODY, torch.float64)
    assert symmetry_error(paper, batch, NBODY, "rotation", generator)["position"] < 1e-10
    assert symmetry_error(paper, batch, NBODY, "reflection", generator)["position"] > 1e-7
